"""What the verbs that run a graph check before they start anything."""

from pathlib import Path
from typing import Any

from resfit_ros.core.errors import ConfigError


def load_robot_config(name: str, timing: str | None = None, robot: bool = False) -> Any:
    """A configuration by path or name; timing None: its own, or realtime on a robot. Raises ConfigError."""
    from resfit_ros.bringup import load_config, with_timing
    from resfit_ros.paths import find_config

    config = load_config(find_config(name))
    if robot and timing is None:
        timing = "realtime"
    if timing is not None and timing not in ("lockstep", "realtime"):
        raise ConfigError(f"--timing {timing}: use lockstep or realtime")
    return with_timing(config, timing) if timing else config


def require_fit(
    config: Any, policy: str | None, checkpoint: Path | None = None, demos: Path | None = None
) -> str | None:
    """Refuses what is missing or does not fit before anything is written or started.

    Returns the base policy to use; None: an existing controller.
    """
    from resfit_ros.data.read_bags import bag_paths
    from resfit_ros.graphs import base_policy_of

    reference = base_policy_of(config, policy)
    normaliser, identity = (None, "") if not reference else look_at(config, reference)
    if checkpoint is not None:
        _require_actor(config, checkpoint, normaliser, identity)
    if demos is not None:
        bag_paths(demos)
    return reference or None


def _require_actor(config: Any, path: Path, normaliser: Any, identity: str) -> None:
    """Refuses a checkpoint or exported file that is damaged, or of another robot or base policy."""
    from resfit_ros.bringup import node_parameters
    from resfit_ros.core.actor_settings import actor_settings
    from resfit_ros.graphs import feature_extractor
    from resfit_ros.learning.actor_record import read_actor
    from resfit_ros.learning.checkpoint import load_run_actor
    from resfit_ros.learning.exported_file import is_exported

    if is_exported(path):
        nodes = [node_parameters(config, name) for name in ("aggregator", "residual")]
        read_actor(path).require(actor_settings(*nodes), identity)
    else:
        load_run_actor(path, normaliser, identity, feature_extractor(config))


def look_at(config: Any, reference: str) -> tuple[Any, str]:
    """(scaling that the base policy brings along, if any; its identity), once it has been loaded."""
    from resfit_ros.bringup import node_parameters
    from resfit_ros.graphs import camera_settings
    from resfit_ros.policies.loading import load_base_policy
    from resfit_ros.policies.protocol import close_policy

    values = camera_settings(config) | {"policy": reference}
    policy = load_base_policy(node_parameters(config, "base_policy", values))
    try:
        return getattr(policy, "normaliser", None), policy.spec.identity
    finally:
        close_policy(policy)
