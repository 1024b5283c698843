"""What base policies that lie in a file share: what they are shown, what they give, and a trial at load."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.schema import param, to_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.policies.identity import identity_of, shown_name
from resfit_ros.policies.inputs import InputOptions, PolicyInputs
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.policies.reference import PolicyReference

UINT8_HWC, FLOAT_CHW = "uint8_hwc", "float_chw"
TRIALS = 3  # TorchScript optimises in its second and third run: better now than on the robot
LONGEST_REASON = 300  # characters of somebody else's error message
REMEDY = (
    "choose its inputs with the options state, without_state, cameras, without_cameras and images, or export it for "
    "this robot"
)
Array = np.typing.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class FileOptions(InputOptions):
    """Options of a policy in a TorchScript or torch.export file."""

    images: str = param(
        UINT8_HWC,
        choices=(UINT8_HWC, FLOAT_CHW),
        doc="a picture as the policy takes it: uint8 (1, H, W, 3), or float32 (1, 3, H, W) in [0, 1]",
    )
    without_state: bool = param(False, doc="the policy does not see the state")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.without_state and self.state:
            raise ConfigError("without_state contradicts state; leave one of them out")


@dataclass(frozen=True)
class ProgramInput:
    """An input as a file declares it. Empty dtype or no shape: the file does not say."""

    name: str
    dtype: str = ""
    shape: tuple[int | str, ...] | None = None  # a word where any size goes
    optional: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.name, self.dtype, _shape_words(self.shape))))

    def takes(self, array: Array) -> bool:
        """Whether the array has the declared type and shape."""
        if self.dtype and self.dtype != array.dtype.name:
            return False
        if self.shape is None:
            return True
        return len(self.shape) == array.ndim and all(
            isinstance(wanted, str) or wanted == size for wanted, size in zip(self.shape, array.shape, strict=True)
        )


class Program(Protocol):
    """A loaded file, ready to be run."""

    inputs: Sequence[ProgramInput]
    by_name: bool  # False: by position

    def run(self, arrays: Mapping[str, Array]) -> Array:
        """The output that holds the chunk. May raise anything."""


class FileInputs:
    """The arrays that a policy in a file is called with: the state, then each camera."""

    def __init__(self, options: FileOptions, robot: Robot, where: str, state_name: str = "state") -> None:
        """Raises ConfigError on what the robot does not have."""
        self._options, self._robot = options, robot
        self._picked = PolicyInputs(options, robot, where)
        self._state_name = "" if options.without_state else state_name
        self.cameras = self._picked.cameras(robot)
        self.state_dim = 0 if options.without_state else self._picked.state_dim
        for camera in self.cameras:
            if not camera.height or not camera.width:
                raise ConfigError(f"{where}: size of camera {camera} unknown; set image_height and image_width")
        if state_name in self._picked.camera_names and self._state_name:
            raise ConfigError(f"{where}: '{state_name}' is the name of the state and of a camera; rename one")
        if not self.state_dim and not self.cameras:
            raise ConfigError(f"{where}: it would see neither state nor cameras; remove without_state")

    def arrays(self, observation: Observation) -> dict[str, Array]:
        """Copies: state float32 (1, S), pictures uint8 (1, H, W, 3) or float32 (1, 3, H, W)."""
        arrays: dict[str, Array] = {}
        if self.state_dim:
            arrays[self._state_name] = self._picked.state(observation)[None]
        for name, image in self._picked.images(observation).items():
            if self._options.images == FLOAT_CHW:
                arrays[name] = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32) / np.float32(255)
            else:
                arrays[name] = np.array(image[None])
        return arrays

    def zeros(self) -> dict[str, Array]:
        """The arrays of an observation that is zero throughout."""
        images = tuple(np.zeros((c.height, c.width, 3), np.uint8) for c in self._robot.cameras)
        return self.arrays(Observation(0, 0, 0, np.zeros(self._robot.layout.size, np.float32), images))

    def identity(self, kind: str, files: Iterable[Path]) -> str:
        """Changes with the files, the options, and what the robot's configuration makes of them."""
        about = {
            "kind": kind,
            "options": to_mapping(self._options),
            "state": list(self._options.state or self._robot.layout.blocks),
            "cameras": [camera.name for camera in self.cameras],
        }
        return identity_of(files, about)


class FilePolicy:
    """A program in a file behind the base-policy protocol; it has no memory."""

    def __init__(
        self, reference: PolicyReference, options: FileOptions, inputs: FileInputs, identity: str, program: Program
    ) -> None:
        """Runs the program on zeros. Raises ConfigError saying what it expects and what it is given."""
        self._inputs, self._program = inputs, program
        horizon, action_dim = _tried(f"base policy '{reference}'", program, inputs.zeros()).shape
        self.spec = PolicySpec(
            name=shown_name(reference.kind, identity),
            action_dim=action_dim,
            horizon=horizon,
            identity=identity,
            state_dim=inputs.state_dim,
            cameras=inputs.cameras,
            control_hz=options.control_hz,
            config={
                "kind": reference.kind,
                "location": str(reference.path.resolve()),
                "options": to_mapping(options),
            },
        )

    def reset(self, episode_id: int) -> None:
        """Nothing to forget: the program has no memory."""

    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A). Raises DataError with what the program complains about."""
        try:
            return as_chunk(self._program.run(self._inputs.arrays(observation)))
        except Exception as error:  # a program from elsewhere may raise anything
            raise DataError(f"base policy '{self.spec.name}' failed: {reason(error)}") from error


def as_chunk(output: Array) -> Float32:
    """float32 (H, A), a copy, of an output (1, H, A) or (H, A). Raises ConfigError on another shape."""
    shape = np.shape(output)
    if len(shape) == 3 and shape[0] == 1:
        output = output[0]
    if np.ndim(output) != 2 or 0 in shape:
        raise ConfigError(f"it gives actions of shape {shape}, expected (1, horizon, joints) or (horizon, joints)")
    return np.array(output, np.float32)


def reason(error: Exception) -> str:
    """Somebody else's error in one line."""
    text = str(error).strip() or type(error).__name__
    if "Traceback" in text:  # TorchScript puts its own before the reason
        text = text.splitlines()[-1]
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_REASON else text[:LONGEST_REASON] + " ..."


def _tried(who: str, program: Program, zeros: Mapping[str, Array]) -> Float32:
    if not _matches(program, zeros):
        raise ConfigError(f"{who} {_two_sides(program, zeros)}; {REMEDY}")
    try:
        return [as_chunk(program.run(zeros)) for _ in range(TRIALS)][-1]
    except ConfigError as error:
        raise ConfigError(f"{who}: {error}; export it so") from None
    except Exception as error:  # a program from elsewhere may raise anything
        raise ConfigError(f"{who} cannot be run: {reason(error)}; it {_two_sides(program, zeros)}; {REMEDY}") from error


def _matches(program: Program, arrays: Mapping[str, Array]) -> bool:
    required = [wanted for wanted in program.inputs if not wanted.optional]
    if not len(required) <= len(arrays) <= len(program.inputs):
        return False
    if not program.by_name:
        return all(wanted.takes(a) for wanted, a in zip(program.inputs, arrays.values(), strict=False))
    return all(wanted.name in arrays and wanted.takes(arrays[wanted.name]) for wanted in program.inputs)


def _two_sides(program: Program, arrays: Mapping[str, Array]) -> str:
    expects = ", ".join(map(str, program.inputs)) or "nothing"
    given = ", ".join(f"{name} {a.dtype.name} {_shape_words(a.shape)}" for name, a in arrays.items())
    return f"expects {expects}; the robot's configuration offers {given}"


def _shape_words(shape: Sequence[int | str] | None) -> str:
    return "" if shape is None else f"({', '.join(map(str, shape))})"
