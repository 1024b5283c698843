"""Whether a checkpoint belongs to this robot, base policy and configuration; both sides are named."""

from typing import Any

from resfit_ros.core.errors import MismatchError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.networks import NETWORK_SETTINGS, ObservationShape

# Settings that the shapes of the networks and of their outputs follow from.
CRITIC_SETTINGS = ("critic_ensemble", "critic_kind", "value_bins", "value_min", "value_max")


def require_same_policy(
    manifest: dict[str, Any], normaliser: Normaliser | None, base_policy_sha256: str, where: str
) -> None:
    """Joints, base policy and scaling; None or an empty hash (not known) fits all of them.

    Raises MismatchError.
    """
    theirs = Normaliser.from_dict(manifest["normaliser"])
    joints = joint_difference(theirs.joint_names, normaliser.joint_names) if normaliser else ""
    if joints:
        raise MismatchError(
            f"{where}: made for other joints or another order of them: {joints}; use the "
            "configuration it was trained with"
        )
    policy = manifest["base_policy_sha256"]
    if policy and base_policy_sha256 and policy != base_policy_sha256:
        raise MismatchError(
            f"{where}: learnt on top of base policy {policy[:12]}, here it is "
            f"{base_policy_sha256[:12]}; use the base policy it was trained with"
        )
    if normaliser is not None and theirs.sha256 != normaliser.sha256:
        raise MismatchError(
            f"{where}: made for normaliser {theirs.sha256[:12]}, the base policy has "
            f"{normaliser.sha256[:12]}; use the base policy it was trained with"
        )


def require_same_networks(
    manifest: dict[str, Any], shape: ObservationShape, config: LearningConfig, where: str
) -> None:
    """Sizes of observation and networks. Raises MismatchError."""
    theirs = ObservationShape.from_dict(manifest["shape"])
    for name, there, here in (
        ("state numbers", theirs.state_dim, shape.state_dim),
        ("actions", theirs.action_dim, shape.action_dim),
        ("cameras (height, width)", list(theirs.cameras), list(shape.cameras)),
        ("image features", theirs.features, shape.features),
        ("features of", theirs.features_of[:12] or "nothing", shape.features_of[:12] or "nothing"),
    ):
        if there != here:
            raise MismatchError(
                f"{where}: made for {name}: {there}, here: {here}; use the configuration it was "
                "trained with"
            )
    for name in (*NETWORK_SETTINGS, *CRITIC_SETTINGS):
        there, here = manifest["config"].get(name, "not known"), getattr(config, name)
        if there != here:
            raise MismatchError(
                f"{where}: {name} is {there} there and {here} here; use the configuration it was "
                "trained with, or another run directory"
            )


def require_same_stage(manifest: dict[str, Any], config: LearningConfig, where: str) -> None:
    """Pretraining goes before fine-tuning, and with the same discount: the critics' values mean nothing else.

    Raises MismatchError.
    """
    if config.pretrain_updates and manifest["env_steps"]:
        raise MismatchError(
            f"{where}: fine-tuned for {manifest['env_steps']} environment steps already; pretraining comes "
            "first: use another run directory"
        )
    there, here = manifest["config"].get("discount"), config.discount
    if manifest.get("pretraining", {}).get("updates") and there != here:
        raise MismatchError(
            f"{where}: pretrained with discount {there}, here it is {here}: its values are of other returns; "
            "use the configuration it was pretrained with, or pretrain again"
        )
