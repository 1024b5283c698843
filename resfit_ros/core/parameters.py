"""Every parameter of every node: type, default, range, unit and description, in one place."""

import dataclasses
from dataclasses import dataclass

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.schema import param, validate

LOCKSTEP, REALTIME = "lockstep", "realtime"
COMMAND_TYPES = ("joint_trajectory", "multi_array", "joint_state")
CHUNKS, TOPIC = "chunks", "topic"
BASE_COMMAND = "base_command"  # topic an existing controller is remapped to


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
        doc="blocks of the state: joint_positions, joint_velocities, joint_efforts, pose/NAME",
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
    image_width: int = param(84, ge=8, le=1024, doc="width images are resized to", unit="px")
    image_height: int = param(84, ge=8, le=1024, doc="height images are resized to", unit="px")

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
        0, ge=0, le=100, doc="steps in which the base action goes over from one chunk to the next", unit="steps"
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
class AggregatorParameters(ObservingParameters, CameraParameters):
    """Node `aggregator`."""

    max_source_age_s: float = param(
        0.2, gt=0.0, doc="no observation is made from a source older than this (realtime)", unit="s"
    )


@dataclass(frozen=True, kw_only=True)
class BasePolicyParameters(ObservingParameters, CameraParameters, ChunkParameters):
    """Node `base_policy`."""

    policy: str = param(
        "",
        doc="the base policy: directory or file, lerobot:DIR, ws://HOST:PORT, python:MODULE:CLASS, expert, or a "
        "description (.yaml)",
    )
    inference_timeout_s: float = param(
        2.0, gt=0.0, doc="a policy that has not answered for so long is reported", unit="s"
    )
    retry_s: float = param(2.0, gt=0.0, doc="a policy that could not be loaded is tried again after", unit="s")
    threads: int = param(1, ge=1, le=256, doc="CPU threads a PyTorch policy may use")


@dataclass(frozen=True, kw_only=True)
class ResidualParameters(JointParameters, ChunkParameters, BaseSourceParameters):
    """Node `residual`."""

    enabled: bool = param(True, live=True, doc="false: base actions pass unchanged")
    explore: bool = param(False, doc="add exploration noise and warm-up noise (while learning)")
    exploration_correlation: float = param(
        0.8, ge=0.0, lt=1.0, doc="correlation of the noise from one step to the next, AR(1)"
    )
    actor_path: str = param("", doc="checkpoint directory whose actor is run; empty: the learner's")
    feature_extractor: str = param(
        "", doc="TorchScript file that the actor's image features come from, where it has them"
    )
    base_name: str = param("", doc="base_source topic: name and version of the controller, its identity")
    seed: int = param(0, ge=0, doc="seed of the exploration noise")


@dataclass(frozen=True, kw_only=True)
class SafetyParameters(JointParameters, BaseSourceParameters):
    """Node `safety_filter`."""

    lower: tuple[float, ...] = param(doc="lower position limit per joint", unit="rad")
    upper: tuple[float, ...] = param(doc="upper position limit per joint", unit="rad")
    max_velocity: tuple[float, ...] = param(
        gt=0.0, doc="velocity limit per joint, or one for all", unit="rad/s"
    )
    max_acceleration: tuple[float, ...] = param(
        gt=0.0, doc="acceleration limit per joint, or one for all", unit="rad/s^2"
    )
    command_type: str = param("joint_trajectory", choices=COMMAND_TYPES, doc="message type sent")
    tick_hz: float = param(100.0, gt=0.0, le=1000.0, doc="set points per second (realtime)", unit="Hz")
    action_timeout_s: float = param(0.1, gt=0.0, doc="hold when no action came for so long", unit="s")
    state_timeout_s: float = param(0.05, gt=0.0, doc="fault when no joint state came", unit="s")
    auto_arm: bool = param(False, doc="arm at the first joint state; for simulation only")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limits  # noqa: B018  raises on limits that make no sense
        if self.tick_hz < self.control_hz:
            raise ConfigError(f"tick_hz {self.tick_hz:g} must not be below control_hz {self.control_hz:g}")

    @property
    def limits(self) -> JointLimits:
        return JointLimits(
            self.joint_names, self.lower, self.upper, self.max_velocity, self.max_acceleration
        )


@dataclass(frozen=True, kw_only=True)
class EpisodeParameters(GraphParameters):
    """Node `episode_manager`."""

    max_steps: int = param(60, ge=1, le=100_000, doc="an episode times out after so many", unit="steps")
    auto_start: bool = param(False, doc="start the next episode by itself")
    first_episode_id: int = param(1, ge=1, doc="episodes are counted from here")
    scene_seed: int = param(-1, ge=-1, doc="scene of episode i is seeded scene_seed + i; -1: unseeded")
    seeded_reset: bool = param(True, doc="reset service is resfit_ros/ResetScene, else std_srvs/Trigger")
    max_owed_updates: int = param(
        200, ge=0, doc="hold the next episode while the learner owes more updates"
    )
    wait_for_learner: bool = param(False, doc="hold episodes back until the learner caught up")
    wait_for_nodes: tuple[str, ...] = param((), doc="nodes that must be up before the first episode")


@dataclass(frozen=True, kw_only=True)
class RecorderParameters(GraphParameters):
    """Node `recorder`."""

    bag_dir: str = param(doc="directory that takes one bag per episode")
    successes: int = param(0, ge=0, doc="finish after so many successful episodes; 0: never")


@dataclass(frozen=True, kw_only=True)
class SimRobotParameters(JointParameters):
    """Node `sim_robot`."""

    command_type: str = param("joint_trajectory", choices=COMMAND_TYPES, doc="message type obeyed")
    command_timeout_s: float = param(
        0.3, gt=0.0, doc="realtime: stop when no command came for so long", unit="s"
    )
    joint_state_hz: float = param(100.0, gt=0.0, le=200.0, doc="joint states (realtime)", unit="Hz")
    camera_hz: float = param(0.0, ge=0.0, le=60.0, doc="rendered images, in lockstep one per step; 0: none", unit="Hz")
    image_width: int = param(224, ge=16, le=1024, doc="width of rendered images", unit="px")
    image_height: int = param(224, ge=16, le=1024, doc="height of rendered images", unit="px")
    label_success: bool = param(True, doc="press the success button when the task is done")


@dataclass(frozen=True, kw_only=True)
class LearnerParameters(ObservingParameters, CameraParameters, ChunkParameters, BaseSourceParameters, LearningConfig):
    """Node `learner`: its files beside every setting of the algorithm."""

    run_dir: str = param(doc="run directory: checkpoints, bags and logs are read and written there")
    policy: str = param("", doc="the base policy, as for node base_policy; it labels the demonstrations")
    normaliser_path: str = param(
        "",
        doc="scaling file (normaliser.json); empty: the policy's own, else the run's, else fitted to the demonstrations",
    )
    demo_dir: str = param("", doc="directory of demonstration bags; empty: none")
    base_name: str = param("", doc="base_source topic: name and version of the controller, its identity")
    checkpoint_every_s: float = param(30.0, gt=0.0, doc="wall time between checkpoints", unit="s")
    threads: int = param(1, ge=1, le=256, doc="CPU threads used for learning")
    device: str = param("cpu", doc="torch device, e.g. cpu or cuda")
    exit_when_done: bool = param(False, doc="finish when total_steps are done (else serve on)")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.learning  # noqa: B018  raises on settings that contradict each other

    @property
    def learning(self) -> LearningConfig:
        """The algorithm's settings alone."""
        names = [f.name for f in dataclasses.fields(LearningConfig)]
        return LearningConfig(**{name: getattr(self, name) for name in names})


@dataclass(frozen=True, kw_only=True)
class EvaluatorParameters(GraphParameters):
    """Node `evaluator`."""

    result_path: str = param(doc="JSON file to write; its directory must exist")
    arms: tuple[str, ...] = param(
        ("base", "finetuned"), choices=("base", "finetuned"), doc="what to compare"
    )
    episodes: int = param(100, ge=1, doc="episodes per arm")
    scene_seed: int = param(1_000_000, ge=0, doc="first of the scene seeds, the same for every arm")
    seed: int = param(0, ge=0, doc="seed of the order in which arms are run")


NODE_PARAMETERS: dict[str, type[GraphParameters]] = {
    "aggregator": AggregatorParameters,
    "base_policy": BasePolicyParameters,
    "residual": ResidualParameters,
    "safety_filter": SafetyParameters,
    "episode_manager": EpisodeParameters,
    "recorder": RecorderParameters,
    "sim_robot": SimRobotParameters,
    "learner": LearnerParameters,
    "evaluator": EvaluatorParameters,
}
