"""An existing controller through the safety filter: unchanged within the limits, whatever the residual does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety_settings import SafetyTiming
from resfit_ros.core.teleop import TeleopFollower
from resfit_ros.core.transparent import TransparentFilter
from resfit_ros.core.types import Action, Mode, Reason, SafetyState

MS = 1_000_000
TICK, PERIOD = 10 * MS, 50 * MS
VELOCITY, ACCELERATION = 2.0, 20.0
LIMITS = JointLimits(("a", "b"), [-1.0], [1.0], [VELOCITY], [ACCELERATION])
START = np.array([0.1, -0.2])


class Rig:
    """The filter on injected time; `sent` are the set points it made itself."""

    def __init__(self, same_type: bool = True) -> None:
        timing = SafetyTiming(TICK, PERIOD, 100 * MS, 0)
        self.filter = TransparentFilter(LIMITS, timing, "/residual", 200 * MS, same_type)
        self.now = 0
        self.filter.on_joint_state(START, 0, 0)
        assert self.filter.arm() is None
        self.sent: list[np.ndarray] = []
        self.executed = []
        self.reasons = Reason.NONE

    def tick(self, count: int = 1) -> None:
        for _ in range(count):
            self.now += TICK
            point = self.filter.tick(self.now)
            self.reasons = point.reasons
            if not point.forwarded:
                self.sent.append(point.position)
            if point.executed is not None:
                self.executed.append(point.executed)

    def command(self, *positions: float, times: tuple[float, ...] = (0.0,)) -> bool:
        rows = np.array(positions, dtype=np.float64).reshape(len(times), 2)
        return self.filter.on_base_command(CommandPath(np.array(times), rows), self.now)

    def act(self, step: int, command, mode: Mode = Mode.BASE) -> None:
        value = np.asarray(command, np.float32)
        self.filter.on_episode_started(1, 0)
        taken, cut_short = self.filter.on_action(
            Action(self.now, 1, step, value, np.zeros(2, np.float32), value, 0.0, mode=mode, source_id="/residual"),
            self.now,
        )
        assert taken
        if cut_short is not None:
            self.executed.append(cut_short)

    def stream(self, count: int, speed: float, start: np.ndarray = START, every: int = 5) -> list[bool]:
        """A controller at one command per `every` ticks, accelerating gently to `speed` [rad/s]."""
        passed, position, current = [], np.array(start), 0.0
        for _ in range(count):
            current += np.clip(speed - current, -0.5 * ACCELERATION * 0.01 * every, 0.5 * ACCELERATION * 0.01 * every)
            position = position + current * 0.01 * every
            passed.append(self.command(*position))
            self.tick(every)
        self.last = position
        return passed


def test_when_commands_keep_the_limits_expect_each_passed_on_and_nothing_else_sent():
    rig = Rig()
    rig.command(*START)  # its rate is known from the second command on
    rig.tick(5)
    rig.sent.clear()
    assert rig.stream(12, speed=0.8) == [True] * 12
    assert rig.sent == []
    assert rig.filter.passed_on == 13


def test_when_the_controller_is_faster_than_the_filter_expect_its_commands_passed_on():
    rig = Rig()
    rig.stream(40, speed=0.5, every=1)  # the running average of its period has settled
    assert rig.stream(10, speed=0.5, start=rig.last, every=1)[3:] == [True] * 7


def test_when_a_command_jumps_expect_set_points_within_the_limits_instead():
    rig = Rig()
    rig.stream(4, speed=0.0)
    rig.sent.clear()
    assert rig.command(0.9, 0.9) is False
    rig.tick(20)
    steps = np.diff(np.array([START, *rig.sent]), axis=0) / 0.01
    assert np.abs(steps).max() <= VELOCITY + 1e-9
    assert np.abs(np.diff(steps, axis=0)).max() / 0.01 <= ACCELERATION + 1e-6
    assert rig.sent[-1][0] > 0.3


def test_when_a_command_is_outside_the_position_limits_expect_it_clamped():
    rig = Rig()
    rig.stream(20, speed=0.6)
    for _ in range(60):
        assert rig.command(2.0, 0.0) is False
        rig.tick(5)
        if rig.filter.limiter.position[0] == 1.0:
            break
    assert max(point[0] for point in rig.sent) == 1.0


def test_when_the_clamped_command_is_reached_expect_the_controllers_own_messages_again():
    rig = Rig()
    rig.command(0.5, -0.2)
    for _ in range(30):
        rig.command(0.5, -0.2)
        rig.tick(5)
    assert rig.command(0.5, -0.2) is True


def test_when_a_trajectory_keeps_the_limits_expect_it_passed_on_and_followed():
    rig = Rig()
    assert rig.command(0.15, -0.2, 0.3, -0.2, 0.35, -0.2, times=(0.2, 0.5, 0.7)) is True
    rig.sent.clear()
    rig.tick(70)
    assert rig.sent == []
    np.testing.assert_allclose(rig.filter.limiter.position, [0.35, -0.2])


@pytest.mark.parametrize(
    ("points", "times"),
    [
        ((0.2, -0.2, 1.5, -0.2), (0.5, 2.0)),  # leaves the range
        ((0.2, -0.2, 0.9, -0.2), (0.5, 0.6)),  # too fast at the end
        ((0.2, -0.2, -0.2, -0.2), (0.06, 0.3)),  # reverses too hard
    ],
)
def test_when_any_point_of_a_trajectory_breaks_a_limit_expect_it_not_passed_on(points, times):
    rig = Rig()
    rig.tick()
    assert rig.command(*points, times=times) is False


def test_when_the_controller_falls_silent_in_an_episode_expect_hold_at_its_last_target():
    rig = Rig()
    rig.stream(5, speed=0.0)
    rig.act(0, START)
    rig.tick(25)
    assert rig.filter.state is SafetyState.HOLD
    assert Reason.STALE_ACTION in rig.reasons
    np.testing.assert_array_equal(rig.sent[-1], START)


def test_when_the_controller_comes_back_expect_its_commands_passed_on():
    rig = Rig()
    rig.stream(5, speed=0.0)
    rig.act(0, START)
    rig.tick(25)
    assert rig.command(*START) is True
    assert rig.filter.state is SafetyState.ARMED


def test_when_no_episode_runs_expect_the_controller_passed_on_and_no_hold():
    rig = Rig()
    rig.stream(3, speed=0.4)
    rig.tick(100)
    assert rig.filter.state is SafetyState.ARMED


@pytest.mark.parametrize("state", [SafetyState.DISARMED, SafetyState.FAULT])
def test_when_not_armed_expect_nothing_passed_on(state):
    rig = Rig()
    if state is SafetyState.DISARMED:
        rig.filter.disarm(rig.now)
    else:
        rig.filter.set_estop(True)
    assert rig.command(*START) is False
    assert rig.filter.state is state


def test_when_the_residual_acts_expect_its_commands_and_none_of_the_controllers():
    rig = Rig()
    rig.stream(3, speed=0.0)
    rig.sent.clear()
    rig.act(0, START + 0.01, Mode.RESIDUAL)
    assert rig.command(*START) is False
    rig.tick(5)
    np.testing.assert_allclose(rig.sent[-1], START + 0.01, atol=1e-7)
    np.testing.assert_allclose(rig.executed[-1].action, START + 0.01, atol=1e-6)


def test_when_the_residual_falls_silent_expect_the_controller_passed_on_within_its_timeout():
    rig = Rig()
    rig.stream(3, speed=0.0)
    rig.act(0, START, Mode.RESIDUAL)
    passed = []
    for _ in range(24):
        rig.tick()
        passed.append(rig.command(*START))
    assert passed.index(True) == 10  # 110 ms after the residual's last action
    assert rig.filter.state is SafetyState.ARMED


def test_when_the_residual_is_switched_off_expect_the_controller_at_once():
    rig = Rig()
    rig.stream(3, speed=0.0)
    rig.act(0, START, Mode.RESIDUAL)
    rig.tick(5)
    rig.act(1, START, Mode.BASE)
    assert rig.command(*START) is True


def test_when_the_controller_is_passed_on_expect_what_it_commanded_as_the_executed_action():
    rig = Rig()
    rig.stream(6, speed=0.6)
    rig.act(0, rig.last)
    rig.tick(5)
    np.testing.assert_allclose(rig.executed[-1].action, rig.last, atol=1e-6)
    assert rig.executed[-1].tainted is False


def test_when_armed_again_elsewhere_expect_the_way_back_within_the_limits():
    rig = Rig()
    rig.stream(5, speed=0.0)
    rig.filter.disarm(rig.now)
    moved = START + 0.5  # by hand
    rig.filter.on_joint_state(moved, rig.now, rig.now)
    assert rig.filter.arm() is None
    rig.sent.clear()
    rig.tick()
    np.testing.assert_array_equal(rig.sent[-1], moved)
    assert rig.command(*START) is False
    rig.tick(5)
    assert np.abs(np.diff(np.array([moved, *rig.sent]), axis=0)).max() <= VELOCITY * 0.01 + 1e-9


@pytest.mark.parametrize("silent_ticks", [25, 1000])
def test_when_armed_long_after_the_last_command_expect_the_robot_to_stay(silent_ticks):
    rig = Rig()
    rig.filter.disarm(rig.now)
    rig.command(0.8, 0.8)
    rig.now += silent_ticks * TICK
    rig.filter.on_joint_state(START, rig.now, rig.now)
    assert rig.filter.arm() is None
    rig.tick(100)
    np.testing.assert_array_equal(rig.sent[-1], START)


def test_when_a_far_command_is_the_last_one_expect_the_robot_to_stop_on_the_way():
    rig = Rig()
    rig.stream(3, speed=0.0)
    rig.command(0.9, 0.9)
    rig.tick(100)
    assert rig.sent[-1][0] < 0.85
    np.testing.assert_array_equal(rig.sent[-1], rig.sent[-2])


def test_when_the_estop_is_pressed_on_the_way_expect_set_points_that_brake():
    rig = Rig()
    rig.stream(20, speed=1.0)
    before = rig.filter.limiter.position
    rig.sent.clear()
    rig.filter.set_estop(True)
    rig.tick(30)
    steps = np.diff(np.array([before, *rig.sent]), axis=0) / 0.01
    assert np.abs(np.diff(steps, axis=0)).max() / 0.01 <= ACCELERATION + 1e-6
    assert np.all(steps[-1] == 0.0)
    assert rig.command(*rig.last) is False


def test_when_an_episode_begins_expect_the_set_point_to_stay_with_the_controller():
    rig = Rig()
    rig.stream(8, speed=0.6)
    before = rig.filter.limiter.position
    rig.filter.on_episode_started(1, 10**12)
    rig.tick()
    np.testing.assert_array_equal(rig.filter.limiter.position, before)
    assert rig.filter.synchronised


def test_when_the_robot_takes_another_type_expect_set_points_that_follow_the_controller():
    rig = Rig(same_type=False)
    assert rig.stream(40, speed=0.4)[-1] is False
    assert len(rig.sent) == 200
    np.testing.assert_allclose(rig.sent[-1], rig.last, atol=3e-3)  # it still has to stop


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["command", "residual", "base", "nothing"]),
            st.floats(-3, 3),
            st.floats(-3, 3),
            st.integers(1, 12),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_when_anything_is_asked_for_expect_no_limit_broken(events):
    """Positions, velocities and accelerations of all that reaches the robot, by its own arrival times."""
    rig = Rig()
    step, robot = 0, [START]
    for kind, first, second, ticks in events:
        if kind == "command":
            before = rig.filter.limiter.position
            if rig.command(first, second):
                target = np.array([first, second])
                assert np.all(np.abs(target) <= 1.0)
                assert np.abs(target - before).max() <= VELOCITY * rig.filter._interval_s * (1 + 1e-5)
        elif kind != "nothing":
            rig.act(step, (first, second), Mode.RESIDUAL if kind == "residual" else Mode.BASE)
            step += 1
        for _ in range(ticks):
            sent = len(rig.sent)
            rig.tick()
            robot.append(rig.filter.limiter.position)
            if len(rig.sent) > sent:
                assert np.abs(robot[-1] - robot[-2]).max() <= VELOCITY * 0.01 + 1e-9
            assert np.all(np.abs(robot[-1]) <= 1.0)


def slow_way(rig: Rig) -> list[np.ndarray]:
    """A controller's first message: 0.8 rad in 3 s; the set points of the 20 ms after it."""
    rig.tick()
    assert rig.command(0.9, 0.6, times=(3.0,)) is True
    rig.tick(2)
    return [START, rig.filter.limiter.position]


@pytest.mark.parametrize("ends", ["estop", "residual", "teleop", "silence of the joints", "disarm"])
def test_when_somebody_else_takes_over_on_a_long_way_expect_no_leap(ends):
    rig = Rig()
    given = slow_way(rig)
    np.testing.assert_allclose(given[-1] - START, 0.8 * 0.02 / 3.0, atol=1e-9)
    rig.sent.clear()
    if ends == "estop":
        rig.filter.set_estop(True)
    elif ends == "residual":
        rig.act(0, [1.0, 1.0], Mode.RESIDUAL)
    elif ends == "teleop":
        rig.filter.teleop = TeleopFollower(250 * MS, TICK, PERIOD)
        rig.filter.on_teleop(CommandPath(np.zeros(1), np.array([[1.0, 1.0]])), rig.now)
    elif ends == "disarm":
        rig.filter.disarm(rig.now)
    else:
        rig.filter.fault(Reason.STALE_STATE)
    rig.tick(1)
    step = np.abs(rig.sent[0] - given[-1])
    assert np.all(step <= VELOCITY * 0.01 + 1e-9)


def test_when_disarmed_on_a_long_way_expect_it_called_off_by_set_points_that_stop():
    rig = Rig()
    slow_way(rig)
    rig.sent.clear()
    rig.filter.disarm(rig.now)
    points = []
    while (point := rig.filter.tick(rig.now)) is not None:
        points.append(point.position)
        rig.now += TICK
    assert 1 <= len(points) <= 5
    assert rig.filter.state is SafetyState.DISARMED


@pytest.mark.parametrize(
    "fields",
    [
        {"velocities": np.array([[2.1, 0.0]])},
        {"accelerations": np.array([[0.0, 21.0]])},
        {"plain": False},
    ],
)
def test_when_a_command_asks_for_more_than_was_checked_expect_it_not_passed_on(fields):
    rig = Rig()
    rig.tick()
    path = CommandPath(np.array([1.0]), START[None] + 0.1, **fields)
    assert rig.filter.on_base_command(path, rig.now) is False
    rig.tick(3)
    assert np.all(rig.sent[-1] >= START)  # it is followed all the same, within the limits


@pytest.mark.parametrize(("distance", "seconds"), [(0.04, 0.005), (0.04, 0.0), (0.2, 0.09)])
def test_when_the_first_point_is_due_too_soon_expect_it_not_passed_on(distance, seconds):
    rig = Rig()
    rig.stream(20, speed=0.0)
    path = CommandPath(np.array([seconds, 1.0]), np.array([START + distance, START + distance]))
    if seconds == 0.0:
        rig.filter._interval_s = 0.01
    assert rig.filter.on_base_command(path, rig.now) is False


def test_when_a_fast_controller_begins_expect_none_of_its_commands_passed_on():
    rig = Rig()
    passed = []
    for k in range(1, 40):
        rig.now += 2 * MS
        passed.append(rig.command(*(START + 0.04 * k)))
        if k % 5 == 0:
            rig.tick(0)
            rig.filter.tick(rig.now)
    assert not any(passed)
