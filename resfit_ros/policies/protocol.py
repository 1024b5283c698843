"""The one protocol every base policy is adapted to."""

from dataclasses import dataclass
from typing import Protocol

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.types import Float32, Observation


@dataclass(frozen=True)
class PolicySpec:
    """What a base policy needs and gives."""

    name: str
    state_dim: int
    joint_names: tuple[str, ...]
    horizon: int  # actions per chunk


class BasePolicy(Protocol):
    """A frozen policy: observation in, chunk of joint targets out."""

    spec: PolicySpec

    def reset(self, episode_id: int) -> None:
        """Forgets everything about the previous episode."""

    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A), joint units; row i is meant for step + i."""


def check_fits(spec: PolicySpec, joint_names: tuple[str, ...], state_dim: int) -> None:
    """Raises ConfigError naming what of the policy does not fit the robot's configuration."""
    difference = joint_difference(spec.joint_names, joint_names)
    if difference:
        raise ConfigError(
            f"base policy '{spec.name}' was made for other joints than the robot's joint_names: "
            f"{difference}; use the policy's own robot configuration or train it anew"
        )
    if spec.state_dim != state_dim:
        raise ConfigError(
            f"base policy '{spec.name}' expects a state of {spec.state_dim} numbers, but the "
            f"configured state layout gives {state_dim}; check the 'state' entries"
        )
