"""The one protocol every base policy is adapted to, and what robot and policy must agree on."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.parameters import BasePolicyParameters, LearnerParameters
from resfit_ros.core.types import Float32, Observation

RATE_TOLERANCE = 0.01  # relative


@dataclass(frozen=True)
class Camera:
    """One camera's pictures in an observation; height and width 0: any size."""

    name: str
    height: int = 0  # [px]
    width: int = 0  # [px]

    def __str__(self) -> str:
        size = f" ({self.height} x {self.width})" if self.height else ""
        return f"'{self.name}'{size}"


@dataclass(frozen=True)
class Robot:
    """What the robot's configuration offers a base policy."""

    joint_names: tuple[str, ...]
    layout: StateLayout
    cameras: tuple[Camera, ...] = ()
    control_hz: float = 20.0

    @property
    def action_dim(self) -> int:
        return len(self.joint_names)

    @classmethod
    def of(cls, p: BasePolicyParameters | LearnerParameters) -> "Robot":
        """As a node's parameters describe it."""
        cameras = tuple(Camera(n, p.image_height, p.image_width) for n in p.camera_names)
        return cls(p.joint_names, p.layout, cameras, p.control_hz)


@dataclass(frozen=True)
class PolicySpec:
    """What a base policy needs and gives. Empty or zero: the policy does not say."""

    name: str  # for people: kind and the beginning of its identity
    action_dim: int
    horizon: int  # actions per chunk
    identity: str  # SHA-256 over all that its actions depend on: weights, server, options
    state_dim: int = 0  # numbers it takes from the state; 0: it does not look at it, or does not say
    joint_names: tuple[str, ...] = ()
    cameras: tuple[Camera, ...] = ()
    control_hz: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)  # plain JSON: kind, location, options


class BasePolicy(Protocol):
    """A frozen policy: observation in, chunk of joint targets out.

    `infer` is called from one thread at a time and may take as long as it needs; whatever it raises
    is reported with the policy's name, and the robot holds. A policy that has something to free also
    has `close()`. One that looks back has `history`, the number of observations before the newest that
    it wants, and `recall(earlier)`, called right before `infer` with so many of them or fewer, oldest
    first, of the steps right before.
    """

    spec: PolicySpec

    def reset(self, episode_id: int) -> None:
        """Forgets everything about the previous episode."""

    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A), joint units; row i is meant for step + i."""


class History:
    """The newest observations of an episode, for policies that look back."""

    def __init__(self, length: int) -> None:
        self._seen: deque[Observation] = deque(maxlen=length + 1)

    def see(self, observation: Observation) -> None:
        """Takes every observation, in order; one that comes again is kept once."""
        last = self._seen[-1] if self._seen else None
        if last is not None and last.episode_id != observation.episode_id:
            self._seen.clear()
        elif last is not None and last.step >= observation.step:
            return
        self._seen.append(observation)

    def before(self, observation: Observation) -> tuple[Observation, ...]:
        """Those before `observation`, oldest first."""
        return tuple(o for o in self._seen if o.step < observation.step and o.episode_id == observation.episode_id)


def history_of(policy: BasePolicy) -> int:
    """How many observations before the newest a policy wants to see."""
    return int(getattr(policy, "history", 0))


def close_policy(policy: BasePolicy) -> None:
    """Frees what a policy holds, where it holds anything."""
    close = getattr(policy, "close", None)
    if close is not None:
        close()


def check_fits(spec: PolicySpec, robot: Robot, least_horizon: int) -> None:
    """Raises ConfigError naming what of the policy does not fit the robot's configuration."""
    who = f"base policy '{spec.name}'"
    difference = joint_difference(spec.joint_names, robot.joint_names) if spec.joint_names else ""
    if difference:
        raise ConfigError(
            f"{who} was made for other joints than the robot's joint_names: {difference}; use the "
            "policy's own robot configuration or train it anew"
        )
    if spec.action_dim != robot.action_dim:
        raise ConfigError(
            f"{who} gives actions of {spec.action_dim} numbers, but joint_names lists "
            f"{robot.action_dim} joints; correct joint_names, or use a policy of this robot"
        )
    _check_cameras(who, spec, robot)
    rate = spec.control_hz
    if rate and abs(rate - robot.control_hz) > RATE_TOLERANCE * rate:
        raise ConfigError(
            f"{who} gives actions at {rate:g} Hz, but control_hz is {robot.control_hz:g}; set control_hz "
            f"to {rate:g}"
        )
    if spec.horizon < least_horizon:
        raise ConfigError(
            f"execute_steps + prefetch_steps + blend_steps is {least_horizon}, longer than the chunks of {who} "
            f"({spec.horizon}); lower one of them"
        )


def _check_cameras(who: str, spec: PolicySpec, robot: Robot) -> None:
    offered = {camera.name: camera for camera in robot.cameras}
    for needed in spec.cameras:
        camera = offered.get(needed.name)
        if camera is None:
            known = ", ".join(map(str, robot.cameras)) or "none"
            raise ConfigError(
                f"{who} needs camera {needed}, but camera_names offers {known}; add it, or name the "
                "camera to use in the policy's description"
            )
        if needed.height and (needed.height, needed.width) != (camera.height, camera.width):
            raise ConfigError(
                f"{who} needs pictures of camera {needed} (height x width), but image_height and image_width "
                f"give {camera.height} x {camera.width}; set them alike"
            )


def check_state(spec_name: str, expected: int, given: int) -> None:
    """Raises ConfigError when a policy takes another number of state entries than it is given."""
    if expected != given:
        raise ConfigError(
            f"base policy '{spec_name}' expects a state of {expected} numbers, but the configured state "
            f"layout gives {given}; check the 'state' entries"
        )
