"""Every parameter of every node: type, default, range, unit and description, in one place."""

import dataclasses
from dataclasses import dataclass

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.observation import ARRAY_PREFIX, TF_PREFIX, sources_of
from resfit_ros.core.parameter_groups import (
    BaseSourceParameters,
    COMMAND_TYPES,
    CameraParameters,
    ChunkParameters,
    GraphParameters,
    JointParameters,
    ObservingParameters,
    TeleopParameters,
)
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.core.schema import param


AUTO, REFUSE, ALLOW = "auto", "refuse", "allow"


FADE, HOLD = "fade", "hold"
BASE_ALONE = "base"  # among contenders, in the place of a checkpoint
RGB8, JPEG = "rgb8", "jpeg"  # encodings of the pictures in a bag


@dataclass(frozen=True, kw_only=True)
class AggregatorParameters(ObservingParameters, CameraParameters):
    """Node `aggregator`."""

    max_source_age_s: float = param(
        0.2, gt=0.0, doc="no observation is made from a source older than this (realtime)", unit="s"
    )
    source_age_names: tuple[str, ...] = param(
        (), doc="sources with an age limit of their own: joints, a camera, or a block of state as it is written there"
    )
    source_age_limits_s: tuple[float, ...] = param((), gt=0.0, doc="their limits, in the same order", unit="s")
    max_future_stamp_s: float = param(
        0.02, gt=0.0, doc="a stamp further ahead of the ROS clock than this is refused (realtime)", unit="s"
    )
    recover_values: int = param(
        5, ge=1, le=1000, doc="a source that went stale is used again after so many new values in a row"
    )
    repeated_pictures: str = param(
        AUTO,
        choices=(AUTO, REFUSE, ALLOW),
        doc="refuse: a picture that equals the one before to the last bit counts as not sent, a real camera never "
        "does that; auto: refuse, unless use_sim_time is set",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.max_ages_ns  # noqa: B018  raises on an unknown source
        unstamped = self.layout.of_kind(ARRAY_PREFIX) + self.layout.of_kind(TF_PREFIX)
        if self.lockstep and unstamped:
            raise ConfigError(
                f"state: block '{unstamped[0]}' needs timing realtime: lockstep waits for a value stamped with the "
                "step's own instant; publish it as pose/NAME or wrench/NAME"
            )

    @property
    def sources(self) -> tuple[str, ...]:
        """What an observation is made of, in the order of its ages."""
        return sources_of(self.layout, self.camera_names)

    @property
    def max_ages_ns(self) -> dict[str, int]:
        """Source to its age limit; raises ConfigError on a source there is not."""
        names, limits = self.source_age_names, self.source_age_limits_s
        if len(names) != len(limits):
            raise ConfigError(f"source_age_names has {len(names)} entries, source_age_limits_s {len(limits)}")
        ages = dict.fromkeys(self.sources, self.max_source_age_s)
        for name, limit in zip(names, limits, strict=True):
            if name not in ages:
                raise ConfigError(f"source_age_names: no source '{name}'; {nearest(name, ages)}")
            ages[name] = limit
        return {name: round(limit * 1e9) for name, limit in ages.items()}


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
    discard_after_s: float = param(
        5.0, gt=0.0, doc="an answer that took longer is thrown away and the policy asked anew (realtime)", unit="s"
    )
    retry_s: float = param(2.0, gt=0.0, doc="a policy that could not be loaded is tried again after", unit="s")
    threads: int = param(1, ge=1, le=256, doc="CPU threads a PyTorch policy may use")


@dataclass(frozen=True, kw_only=True)
class ResidualParameters(JointParameters, ChunkParameters, BaseSourceParameters, TeleopParameters):
    """Node `residual`."""

    enabled: bool = param(True, live=True, doc="false: base actions pass unchanged")
    explore: bool = param(False, doc="add exploration noise and warm-up noise (while learning)")
    exploration_correlation: float = param(
        0.8, ge=0.0, lt=1.0, doc="correlation of the noise from one step to the next, AR(1)"
    )
    actor_path: str = param("", doc="checkpoint directory, or file of 'resfit export', whose actor is run; empty: the learner's")
    contenders: tuple[str, ...] = param(
        (), doc="an evaluation's two arms, checkpoint directories or 'base': ~/choose switches between them, blind"
    )
    feature_extractor: str = param(
        "", doc="TorchScript file that the actor's image features come from, where it has them"
    )
    base_name: str = param("", doc="base_source topic: name and version of the controller, its identity")
    base_alive_timeout_s: float = param(
        0.4, gt=0.0, doc="chunks are not used once the base policy has been silent for so long (realtime)", unit="s"
    )
    bad_residual: str = param(
        FADE, choices=(FADE, HOLD), doc="on a residual that is not finite, fade: the last one is faded out; hold: fault"
    )
    fade_s: float = param(0.2, ge=0.0, le=0.2, doc="the last good residual is faded out in so long", unit="s")
    seed: int = param(0, ge=0, doc="seed of the exploration noise")


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
class RecorderParameters(ObservingParameters, CameraParameters, BaseSourceParameters):
    """Node `recorder`: its own settings, and what its bags say of the robot."""

    bag_dir: str = param(doc="directory that takes one bag per episode")
    successes: int = param(0, ge=0, doc="finish after so many successful episodes; 0: never")
    image_encoding: str = param(
        RGB8,
        choices=(RGB8, JPEG),
        doc="pictures in the bags; rgb8: as they were seen; jpeg: smaller, and not quite what was seen",
    )
    jpeg_quality: int = param(95, ge=1, le=100, doc="image_encoding jpeg: 100 is best")
    max_bag_mb: int = param(
        4000, ge=1, doc="the bag of an episode that outgrows this is closed as aborted", unit="MB"
    )
    min_free_mb: int = param(
        500,
        ge=0,
        doc="no new episode is recorded while fewer are free on the disk; 0: until it is full",
        unit="MB",
    )
    base_name: str = param("", doc="base_source topic: name and version of the controller, its identity")
    config_sha256: str = param("", doc="identity of the configuration, kept in each bag")


@dataclass(frozen=True, kw_only=True)
class SimRobotParameters(JointParameters):
    """Node `sim_robot`."""

    command_type: str = param("joint_trajectory", choices=COMMAND_TYPES, doc="message type obeyed")
    command_timeout_s: float = param(
        0.1, gt=0.0, doc="realtime: stop when no command came for so long", unit="s"
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
        ("base", "finetuned"), choices=("base", "against", "finetuned"), doc="what to compare"
    )
    episodes: int = param(100, ge=1, doc="episodes per arm, at most")
    scene_seed: int = param(1_000_000, ge=0, doc="first of the scene seeds, the same for every arm")
    seed: int = param(-1, ge=-1, doc="seed of the order in which arms are run; -1: drawn, so that nobody knows it")
    matched: bool = param(True, doc="both arms start from the same seeded scene; false: a person resets it")
    sequential: bool = param(False, doc="stop as soon as the answer is known; false: run all episodes")
    alpha: float = param(0.05, gt=0.0, lt=0.5, doc="probability of showing a difference where there is none")
    min_difference: float = param(
        0.0, ge=0.0, lt=1.0, doc="sequential: stop, too, once a difference of this size is ruled out; 0: never"
    )
    setup: str = param("", doc="what is compared, as JSON; it goes into the result")
    report: bool = param(False, doc="make the figure and the page at the end, too")


@dataclass(frozen=True, kw_only=True)
class OperatorParameters(GraphParameters):
    """Node `operator`."""

    mapping: str = param(
        "",
        doc="which button does what: a YAML file; in a configuration also a shipped one by name, gamepad where empty",
    )
    joy_timeout_s: float = param(
        0.5, gt=0.0, le=10.0, doc="a pad silent for longer lets go of the dead-man button", unit="s"
    )
    max_stamp_error_s: float = param(
        1.0, gt=0.0, doc="a press stamped further from now than this counts from its arrival (realtime)", unit="s"
    )


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
    "operator": OperatorParameters,
}
