"""The values that flow through the graph, as the messages carry them but in numpy.

Stamps are nanoseconds of the ROS clock. Vectors over joints have shape (A,), in joint units ([rad]
or [m]) and in the order of `joint_names`.
"""

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Mode(enum.IntEnum):
    """How an action came about (`Action.MODE_*`)."""

    BASE = 0
    RESIDUAL = 1
    EXPLORE = 2
    INTERVENTION = 3


class Outcome(enum.IntEnum):
    """How an episode ended (`Episode.OUTCOME_*`)."""

    NONE = 0
    SUCCESS = 1
    FAILURE = 2
    TIMEOUT = 3
    ABORTED = 4


class SafetyState(enum.IntEnum):
    """State of the safety filter (`ExecutedAction.STATE_*`)."""

    DISARMED = 0
    ARMED = 1
    HOLD = 2
    FAULT = 3


class Reason(enum.IntFlag):
    """Why the safety filter changed or refused an action (`ExecutedAction.REASON_*`)."""

    NONE = 0
    POSITION_LIMIT = 1
    VELOCITY_LIMIT = 2
    ACCELERATION_LIMIT = 4
    NON_FINITE = 8
    WRONG_SIZE = 16
    STALE_ACTION = 32
    STALE_STATE = 64
    ESTOP = 128
    NO_EPISODE = 256
    FOREIGN_SOURCE = 512
    STALE_SENSOR = 1 << 10
    CLOCK_JUMP = 1 << 11
    BAD_STAMP = 1 << 12
    TRACKING = 1 << 13
    OVERLOAD = 1 << 14
    FORCE = 1 << 15
    COLLISION = 1 << 16
    WORKSPACE = 1 << 17
    RESIDUAL_LIMIT = 1 << 18
    INTERVENTION = 1 << 19
    OPERATOR = 1 << 20
    RAMP = 1 << 21

    @property
    def words(self) -> str:
        """The reasons in words, e.g. "stale_state, estop"."""
        return ", ".join(r.name.lower() for r in Reason if r & self)


class HoldRequest(enum.IntEnum):
    """What a node asks of the safety filter (`Hold.REQUEST_*`)."""

    RELEASE = 0
    HOLD = 1
    FAULT = 2


class LearnerPhase(enum.IntEnum):
    """What the learner is doing (`LearnerStatus.PHASE_*`)."""

    WAITING = 0
    WARM_UP = 1
    CRITIC_ONLY = 2
    TRAINING = 3
    PAUSED = 4
    DONE = 5


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """Observation k of an episode: state float32 (S,) raw, images uint8 (H, W, 3) each."""

    stamp_ns: int
    episode_id: int
    step: int
    state: Float32
    images: tuple[NDArray[np.uint8], ...] = ()
    source_ages_s: tuple[float, ...] = ()
    source_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ActionChunk:
    """Base actions float32 (H, A); row i is meant for step + i."""

    stamp_ns: int
    episode_id: int
    step: int
    actions: Float32
    source_id: str = ""
    inference_time_s: float = 0.0
    policy_sha256: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """Action k: base, residual and their sum, float32 (A,) each."""

    stamp_ns: int
    episode_id: int
    step: int
    base: Float32
    residual: Float32
    command: Float32
    chunk_phase: float
    actor_version: int = 0
    mode: Mode = Mode.BASE
    source_id: str = ""
    tainted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Executed:
    """What was sent to the robot for step k: float32 (A,)."""

    stamp_ns: int
    episode_id: int
    step: int
    action: Float32
    safety_state: SafetyState = SafetyState.ARMED
    reasons: Reason = Reason.NONE
    tainted: bool = False
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeStarted:
    """Observations stamped from `stamp_ns` on belong to episode `episode_id`."""

    stamp_ns: int
    episode_id: int
    scene_seed: int = -1


@dataclass(frozen=True, slots=True)
class EpisodeEnded:
    """Episode `episode_id` took `steps` actions; its last observation has that step."""

    stamp_ns: int
    episode_id: int
    outcome: Outcome
    steps: int
    scene_seed: int = -1
    labelled_by: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """K consecutive steps of one episode with nothing missing, ready for learning.

    states (K+1, S) raw, bases (K+1, A), phases (K+1,), actions (K, A) as executed, all float32 in
    joint units; rewards (K,). `terminal`: the last observation ends bootstrapping (success or
    failure); otherwise (timeout, gap) the return is bootstrapped from it. interventions: bool (K,),
    steps in which a human drove; none where it is not given.
    """

    episode_id: int
    states: Float32
    bases: Float32
    phases: Float32
    actions: Float32
    rewards: Float32
    terminal: bool
    images: tuple[NDArray[np.uint8], ...] = ()  # one (K+1, H, W, 3) per camera
    interventions: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.interventions is None:
            object.__setattr__(self, "interventions", np.zeros(len(self.actions), bool))

    def __len__(self) -> int:
        return len(self.actions)

    def intervention_stretches(self) -> "tuple[Segment, ...]":
        """The stretches a human drove, each a segment of its own."""
        edges = np.flatnonzero(np.diff(self.interventions, prepend=False, append=False))
        return tuple(self._part(int(a), int(b)) for a, b in edges.reshape(-1, 2))

    def _part(self, first: int, last: int) -> "Segment":
        """Steps `first` to `last` - 1."""
        rows, steps = slice(first, last + 1), slice(first, last)
        return Segment(
            episode_id=self.episode_id,
            states=self.states[rows],
            bases=self.bases[rows],
            phases=self.phases[rows],
            actions=self.actions[steps],
            rewards=self.rewards[steps],
            terminal=self.terminal and last == len(self),
            images=tuple(camera[rows] for camera in self.images),
            interventions=self.interventions[steps],
        )
