"""What of an observation a policy from elsewhere is shown: blocks of the state, cameras by its own names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.schema import param, validate
from resfit_ros.core.types import Float32, Observation
from resfit_ros.policies.protocol import Camera, Robot

UInt8 = np.typing.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Options that every policy from elsewhere has."""

    state: tuple[str, ...] = param(
        (), doc="blocks of the robot's state that the policy sees, in its order; empty: the whole state"
    )
    cameras: tuple[str, ...] = param(
        (), doc="cameras the policy sees, in its order; THEIRS=OURS renames one; empty: all, as they are called"
    )
    without_cameras: bool = param(False, doc="the policy sees no camera")
    control_hz: float = param(0.0, ge=0.0, doc="rate the policy was trained at; 0: not checked", unit="Hz")

    def __post_init__(self) -> None:
        validate(self)
        if self.without_cameras and self.cameras:
            raise ConfigError("without_cameras contradicts cameras; leave one of them out")


class PolicyInputs:
    """Picks a policy's inputs out of observations."""

    def __init__(self, options: InputOptions, robot: Robot, where: str) -> None:
        """Raises ConfigError on a state block or camera that the robot does not have."""
        self._slices = [robot.layout.slice_of(b) for b in _known_blocks(options.state, robot, where)]
        self._cameras = _renamed(options, robot, where)

    @property
    def state_dim(self) -> int:
        """Numbers in `state`."""
        return sum(s.stop - s.start for s in self._slices)

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The policy's names of its cameras."""
        return tuple(self._cameras)

    def cameras(self, robot: Robot) -> tuple[Camera, ...]:
        """The robot's cameras that are used, by the robot's names."""
        return tuple(robot.cameras[index] for index in self._cameras.values())

    def size(self, camera: str, robot: Robot) -> tuple[int, int]:
        """(height, width) of what the policy sees under its own name `camera`."""
        ours = robot.cameras[self._cameras[camera]]
        return ours.height, ours.width

    def state(self, observation: Observation) -> Float32:
        """float32 (S,), a copy."""
        if not self._slices:
            return np.zeros(0, np.float32)
        return np.concatenate([observation.state[s] for s in self._slices]).astype(np.float32, copy=False)

    def images(self, observation: Observation) -> Mapping[str, UInt8]:
        """uint8 (H, W, 3) by the policy's own names, in the policy's order."""
        return {name: observation.images[index] for name, index in self._cameras.items()}


def _known_blocks(blocks: Sequence[str], robot: Robot, where: str) -> tuple[str, ...]:
    for block in blocks:
        if block not in robot.layout.blocks:
            raise ConfigError(
                f"{where}: state block '{block}' is not in the robot's state; "
                f"{nearest(block, robot.layout.blocks)}"
            )
    return tuple(blocks) or robot.layout.blocks


def _renamed(options: InputOptions, robot: Robot, where: str) -> dict[str, int]:
    """The policy's name of each camera to its index among the robot's."""
    if options.without_cameras:
        return {}
    ours = [camera.name for camera in robot.cameras]
    chosen = {}
    for entry in options.cameras or ours:
        theirs, equals, name = (part.strip() for part in entry.partition("="))
        name = name if equals else theirs
        if not theirs:
            raise ConfigError(f"{where}: camera '{entry}' has no name; write THEIRS=OURS, or OURS alone")
        if theirs in chosen:
            raise ConfigError(f"{where}: camera '{theirs}' is listed twice; give each picture a name of its own")
        if name not in ours:
            known = nearest(name, ours) if ours else "the robot has no camera_names; set them"
            raise ConfigError(f"{where}: camera '{name}' is not among the robot's; {known}")
        chosen[theirs] = ours.index(name)
    return chosen
