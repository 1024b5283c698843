"""An armed safety filter on injected time."""

import numpy as np

from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.safety_settings import SafetyTiming, SetPoint
from resfit_ros.core.types import Action, Executed, SafetyState

MS = 1_000_000
TICK, PERIOD, ACTION_TIMEOUT, STATE_TIMEOUT = 10 * MS, 50 * MS, 100 * MS, 50 * MS
TICKS_PER_STEP = 5
MAX_VELOCITY, MAX_ACCELERATION = 2.0, 20.0
HERE = np.array([0.1, -0.2])


def make_action(step: int, command=HERE, episode_id: int = 1, base=None, **fields) -> Action:
    command = np.asarray(command, dtype=np.float32)
    base = command if base is None else np.asarray(base, dtype=np.float32)
    values = {"stamp_ns": step * PERIOD, "chunk_phase": 0.0, "source_id": "residual"} | fields
    return Action(episode_id=episode_id, step=step, base=base, residual=np.zeros_like(base), command=command, **values)


class Rig:
    """An armed filter in episode 1 whose joint states keep coming, with its own clock."""

    def __init__(self, armed: bool = True, timing: SafetyTiming | None = None, **options) -> None:
        limits = JointLimits(("a", "b"), [-1.0], [1.0], [MAX_VELOCITY], [MAX_ACCELERATION])
        timing = timing or SafetyTiming(TICK, PERIOD, ACTION_TIMEOUT, STATE_TIMEOUT)
        self.filter = SafetyFilter(limits, timing, "residual", **options)
        self.now = 1_000 * MS
        self.filter.on_joint_state(HERE, self.now, self.now)
        self.filter.on_episode_started(1, 0)
        if armed:
            assert self.filter.arm() is None

    def ticks(self, count: int, measure: bool = True) -> list[SetPoint | None]:
        given = []
        for _ in range(count):
            self.now += TICK
            if measure:
                self.filter.on_joint_state(HERE, self.now, self.now)
            given.append(self.filter.tick(self.now))
        return given

    def act(self, step: int, command=HERE, ros_ns=None, **fields) -> tuple[bool, Executed | None]:
        return self.filter.on_action(make_action(step, command, **fields), self.now, ros_ns)

    def step(self, step: int, command=HERE) -> list[SetPoint | None]:
        """An action and the ticks of its control period."""
        assert self.act(step, command)[0]
        return self.ticks(TICKS_PER_STEP)

    @property
    def state(self) -> SafetyState:
        return self.filter.state


def positions(given: list[SetPoint]) -> np.ndarray:
    return np.array([point.position for point in given])


def assert_within_limits(given: np.ndarray) -> None:
    """`given`: set points (ticks, A) of one continuous motion."""
    velocity = np.diff(given, axis=0) / (TICK * 1e-9)
    acceleration = np.diff(velocity, axis=0) / (TICK * 1e-9)
    assert np.max(np.abs(given)) <= 1.0
    assert np.max(np.abs(velocity)) <= MAX_VELOCITY + 1e-9
    assert np.max(np.abs(acceleration)) <= MAX_ACCELERATION + 1e-7
