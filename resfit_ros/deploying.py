"""What `deploy.launch.py` starts: the tuned policy without a learner, checked before any node runs."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resfit_ros import graphs
from resfit_ros.bringup import NodeSpec, RunConfig, node_parameters
from resfit_ros.core import run_layout
from resfit_ros.core.actor_settings import actor_settings
from resfit_ros.core.errors import ConfigError, MismatchError, ResfitError
from resfit_ros.learning.exported_file import SUFFIXES, is_exported
from resfit_ros.learning.hashes import SHOWN
from resfit_ros.policies.identity import controller_identity

if TYPE_CHECKING:
    from resfit_ros.launching import Values
    from resfit_ros.learning.actor_record import ActorRecord

BAGS = "bags"  # below the launch's directory


@dataclass(frozen=True)
class Deployment:
    """A checked combination of base policy and actor; actor None: base policy alone."""

    config: RunConfig
    policy: str  # empty: an existing controller
    identity: str  # SHA-256 of the base policy; empty: it does not say, or cannot be asked yet
    actor: "ActorRecord | None"
    words: str

    def specs(self, simulate: bool, bag_dir: Path | None = None) -> tuple[NodeSpec, ...]:
        """The control path, and the recorder where there is a directory for its bags."""
        path = self.actor.path if self.actor else None
        return graphs.deploy_graph(self.config, self.policy, path, simulate, bag_dir)


def deployment(values: "Values") -> Deployment:
    """Reads and checks what launch arguments name.

    Raises ConfigError or DataError where something is missing or damaged, MismatchError where the actor is of
    another robot, other settings or another base policy.
    """
    config = values.config()
    actor = _given_actor(values, config)
    policy = _policy(values, config, actor)
    if actor is None:
        found = values.beside_policy("checkpoint", run_layout.CHECKPOINTS, policy)
        actor = _read(found, config) if found else None
    identity, words = _identity(config, policy)
    if actor is not None:
        nodes = [node_parameters(config, name) for name in ("aggregator", "residual")]
        actor.require(actor_settings(*nodes), identity)
    return Deployment(config, policy, identity, actor, f"{words}; {_actor_words(actor)}")


def _given_actor(values: "Values", config: RunConfig) -> "ActorRecord | None":
    """The one that `checkpoint` names; None: it is auto or none."""
    from resfit_ros.launching import AUTO, NONE

    given = values.text("checkpoint")
    if given in (AUTO, NONE):
        return None
    path = Path(given)
    if not path.exists():
        raise ConfigError(
            f"checkpoint:={given}: no such directory or file ({' or '.join(SUFFIXES)}); give another, or "
            f"checkpoint:={NONE}"
        )
    return _read(path.resolve(), config)


def _read(path: Path, config: RunConfig) -> "ActorRecord":
    from resfit_ros.learning.actor_record import read_actor  # PyTorch

    inside = path / run_layout.CHECKPOINTS  # a whole run
    if not is_exported(path) and inside.is_dir():
        path = inside
    return read_actor(path, graphs.feature_extractor(config))


def _policy(values: "Values", config: RunConfig, actor: "ActorRecord | None") -> str:
    """The base policy; auto: the configuration's, else the one the actor was trained on, if it is there."""
    from resfit_ros.launching import AUTO

    kept = (actor.base_policy.get("config") or {}).get("location", "") if actor else ""
    if values.text("policy") == AUTO and kept and Path(kept).exists() and not graphs.base_from_topic(config):
        try:
            return graphs.base_policy_of(config)
        except ConfigError:
            return graphs.base_policy_of(config, kept)
    return values.policy(config)


def _identity(config: RunConfig, policy: str) -> tuple[str, str]:
    """(SHA-256 of the base policy, which one it is in words)."""
    from resfit_ros.cli.what_to_run import look_at

    if not policy:
        name = node_parameters(config, "residual").base_name
        identity = controller_identity(name)
        shown = identity[:SHOWN] or "not known"
        return identity, f"base policy: controller '{name or 'without a name'}' ({shown})"
    try:
        _, identity = look_at(config, policy)
    except MismatchError:
        raise
    except ResfitError as error:
        # A server may come up later than the robot; the residual node checks whose chunks it gets.
        return "", f"base policy {policy}, which cannot be asked who it is yet ({error})"
    return identity, f"base policy {policy} ({identity[:SHOWN]})"


def _actor_words(actor: "ActorRecord | None") -> str:
    if actor is None:
        return "without a residual"
    learnt_on = actor.base_policy["sha256"][:SHOWN] or "a base policy that is not known"
    passed_over = "".join(f"; passed over: {problem}" for problem in actor.problems)
    return f"residual of {actor.words}, learnt on {learnt_on}{passed_over}"


def changed(spec: NodeSpec, **parameters: Any) -> NodeSpec:
    """The same node with other parameters."""
    return dataclasses.replace(spec, parameters={**spec.parameters, **parameters})
