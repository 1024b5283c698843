"""Parameters that several nodes share, by what a node handles."""

from dataclasses import dataclass

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.schema import param, validate

LOCKSTEP, REALTIME = "lockstep", "realtime"
COMMAND_TYPES = ("joint_trajectory", "multi_array", "joint_state")
CHUNKS, TOPIC = "chunks", "topic"
RAW, COMPRESSED = "raw", "compressed"  # how a camera's pictures are sent
BASE_ALIVE = "base_alive"  # topic on which the base policy says that all is well with it
BASE_COMMAND = "base_command"  # topic an existing controller is remapped to
TELEOP_COMMAND = "teleop_command"  # topic on which a human takes over


@dataclass(frozen=True, kw_only=True)
class GraphParameters:
    """Shared by all nodes of the graph."""

    timing: str = param(
        REALTIME,
        choices=(REALTIME, LOCKSTEP),
        doc="realtime: a robot; lockstep: a simulation that waits for each command",
    )
    control_hz: float = param(20.0, gt=0.0, le=1000.0, doc="actions per second", unit="Hz")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def lockstep(self) -> bool:
        return self.timing == LOCKSTEP

    @property
    def control_period_ns(self) -> int:
        return round(1e9 / self.control_hz)


@dataclass(frozen=True, kw_only=True)
class JointParameters(GraphParameters):
    """Shared by nodes that handle joint vectors."""

    joint_names: tuple[str, ...] = param(doc="joints under control; the order of every joint vector")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.joint_names:
            raise ConfigError("joint_names is empty; list the robot's joints")
        if len(set(self.joint_names)) != len(self.joint_names):
            raise ConfigError("joint_names lists a joint twice")


@dataclass(frozen=True, kw_only=True)
class ObservingParameters(JointParameters):
    """Shared by nodes that interpret the state vector."""

    state: tuple[str, ...] = param(
        ("joint_positions", "joint_velocities"),
        doc="blocks of the state: joint_positions, joint_velocities, joint_efforts, pose/NAME, wrench/NAME, "
        "array/NAME/SIZE, tf/TARGET/SOURCE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.layout  # noqa: B018  raises on an unknown block

    @property
    def layout(self) -> StateLayout:
        return StateLayout(self.state, len(self.joint_names))


@dataclass(frozen=True, kw_only=True)
class CameraParameters(GraphParameters):
    """Shared by nodes that handle the observation's pictures."""

    camera_names: tuple[str, ...] = param((), doc="cameras, each read from topic NAME/image_raw")
    camera_transports: tuple[str, ...] = param(
        (RAW,),
        choices=(RAW, COMPRESSED),
        doc="raw: Image on NAME/image_raw; compressed: CompressedImage on NAME/image_raw/compressed; one per "
        "camera, or one for all",
    )
    camera_crops: tuple[int, ...] = param(
        (),
        ge=0,
        doc="part of the picture that is used, before resizing: x, y, width, height for each camera in turn; "
        "width and height 0: all of it; empty: all of every picture",
        unit="px",
    )
    depth_range_m: tuple[float, ...] = param(
        (0.0, 2.0),
        ge=0.0,
        doc="depth pictures: distances that become black (0, also: no reading) and white (255)",
        unit="m",
    )
    image_width: int = param(84, ge=8, le=1024, doc="width images are resized to", unit="px")
    image_height: int = param(84, ge=8, le=1024, doc="height images are resized to", unit="px")

    def __post_init__(self) -> None:
        super().__post_init__()
        cameras = len(self.camera_names)
        for name in self.camera_names:
            if self.camera_names.count(name) > 1:
                raise ConfigError(f"camera_names lists '{name}' twice")
        if len(self.camera_transports) not in (1, cameras):
            raise ConfigError(
                f"camera_transports has {len(self.camera_transports)} entries for {cameras} cameras; give one per "
                "camera, or one for all"
            )
        if self.camera_crops and len(self.camera_crops) != 4 * cameras:
            raise ConfigError(
                f"camera_crops has {len(self.camera_crops)} numbers for {cameras} cameras; give x, y, width, height "
                "for each of them"
            )
        for name, (_, _, width, height) in self.crops.items():
            if (width == 0) != (height == 0):
                raise ConfigError(f"camera_crops of camera '{name}': {width} x {height} px is no picture")
        if len(self.depth_range_m) != 2 or self.depth_range_m[0] >= self.depth_range_m[1]:
            raise ConfigError(f"depth_range_m must be near, far with near < far, got {list(self.depth_range_m)}")

    @property
    def transports(self) -> dict[str, str]:
        """Camera to how its pictures are sent."""
        several = len(self.camera_transports) == len(self.camera_names)
        listed = self.camera_transports if several else self.camera_transports * len(self.camera_names)
        return dict(zip(self.camera_names, listed, strict=True))

    @property
    def camera_topics(self) -> dict[str, str]:
        """Camera to the relative topic it is read from."""
        ends = {RAW: "image_raw", COMPRESSED: "image_raw/compressed"}
        return {name: f"{name}/{ends[transport]}" for name, transport in self.transports.items()}

    @property
    def crops(self) -> dict[str, tuple[int, int, int, int]]:
        """Camera to the part that is used: x, y, width, height [px]; width and height 0: all of it."""
        numbers = self.camera_crops or (0,) * 4 * len(self.camera_names)
        return {name: numbers[4 * i : 4 * i + 4] for i, name in enumerate(self.camera_names)}

    @property
    def cameras(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each camera's pictures."""
        return ((self.image_height, self.image_width),) * len(self.camera_names)


@dataclass(frozen=True, kw_only=True)
class ChunkParameters(GraphParameters):
    """Shared by nodes that handle action chunks."""

    execute_steps: int = param(
        8, ge=1, le=1000, doc="actions executed of each chunk; what is left of it overlaps the next", unit="steps"
    )
    prefetch_steps: int = param(
        0, ge=0, le=1000, doc="a chunk is computed so long before its first action is due", unit="steps"
    )
    blend_steps: int = param(
        0,
        ge=0,
        le=100,
        doc="steps in which the base action goes over from one chunk to the next; at most execute_steps",
        unit="steps",
    )
    temporal_ensembling: bool = param(False, doc="average all chunks that cover a step (ACT)")
    ensemble_decay: float = param(
        0.01, ge=0.0, le=10.0, doc="temporal ensembling: the i-th oldest chunk weighs exp(-decay i)"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chunking  # noqa: B018  raises on settings that contradict each other

    @property
    def chunking(self) -> Chunking:
        return Chunking(
            self.execute_steps, self.prefetch_steps, self.blend_steps, self.temporal_ensembling, self.ensemble_decay
        )


@dataclass(frozen=True, kw_only=True)
class BaseSourceParameters(GraphParameters):
    """Shared by nodes that act differently where an existing controller is the base policy."""

    base_source: str = param(
        CHUNKS,
        choices=(CHUNKS, TOPIC),
        doc="chunks: the node base_policy; topic: an existing controller, remapped to base_command",
    )
    base_command_type: str = param(
        "joint_trajectory", choices=COMMAND_TYPES, doc="base_source topic: message type of the controller"
    )
    base_timeout_s: float = param(
        0.2, gt=0.0, doc="base_source topic: the controller's command is not used when older", unit="s"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.base_source == TOPIC and self.lockstep:
            raise ConfigError(
                "base_source topic needs timing realtime: an existing controller waits for nobody; set "
                "timing: realtime"
            )


@dataclass(frozen=True, kw_only=True)
class TeleopParameters(GraphParameters):
    """Shared by nodes that act differently while a human drives the robot."""

    teleop: bool = param(False, doc="commands on teleop_command take the robot over while they come (realtime)")
    teleop_command_type: str = param(
        "joint_trajectory", choices=COMMAND_TYPES, doc="teleop: message type on teleop_command"
    )
    teleop_timeout_s: float = param(
        0.25, gt=0.0, le=5.0, doc="teleop: a human drives until so long after the newest command", unit="s"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teleop and self.lockstep:
            raise ConfigError(
                "teleop needs timing realtime: a human does not wait for a simulation; set timing: realtime, "
                "or teleop: false"
            )
