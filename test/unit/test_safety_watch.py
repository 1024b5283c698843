"""What else makes the safety filter hold or fault: clocks, ticks, tracking, requests, humans, bodies."""

import dataclasses

import numpy as np
import pytest
from safety_rig import (
    ACTION_TIMEOUT,
    HERE,
    MS,
    PERIOD,
    STATE_TIMEOUT,
    TICK,
    TICKS_PER_STEP,
    Rig,
    assert_within_limits,
    make_action,
    positions,
)

from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.safety_settings import SafetyBounds, SafetyTiming, Verdict
from resfit_ros.core.types import Mode, Reason, SafetyState

TIMING = SafetyTiming(
    TICK,
    PERIOD,
    ACTION_TIMEOUT,
    STATE_TIMEOUT,
    stamp_tolerance_ns=20 * MS,
    healthy_ns=1_000 * MS,
    teleop_timeout_ns=250 * MS,
    max_missed_ticks=3,
)
BOUNDS = SafetyBounds(np.array([0.1, 0.1]), np.array([0.3, 0.3]))
NAN = float("nan")


@pytest.fixture
def rig() -> Rig:
    """Everything is watched; armed after a second of joint states."""
    rig = Rig(armed=False, timing=TIMING, bounds=BOUNDS)
    rig.filter.health.note("", rig.now)
    rig.ticks(100)
    assert rig.filter.arm(rig.now) is None
    return rig


# --- stamps ------------------------------------------------------------------------------------


@pytest.mark.parametrize("age_ms", [-10_000, -21, 101, 10_000])
def test_when_stamp_is_in_the_future_or_old_expect_a_thousand_of_a_thousand_rejected(rig, age_ms):
    ros_ns = 10**15
    taken = [rig.act(k, stamp_ns=ros_ns - age_ms * MS, ros_ns=ros_ns)[0] for k in range(1000)]
    assert sum(taken) == 0
    assert (rig.filter.counters.bad_stamps, rig.state) == (1000, SafetyState.ARMED)


def test_when_stamp_is_zero_expect_it_rejected(rig):
    assert not rig.act(0, stamp_ns=0, ros_ns=10**15)[0]


@pytest.mark.parametrize("age_ms", [-20, 0, 100])
def test_when_stamp_is_within_the_tolerance_expect_it_taken(rig, age_ms):
    assert rig.act(0, stamp_ns=10**15 - age_ms * MS, ros_ns=10**15)[0]


def test_when_observations_stay_old_expect_hold_after_the_timeout_and_two_ticks_at_most(rig):
    ros_ns = 10**15
    assert rig.act(0, stamp_ns=ros_ns, ros_ns=ros_ns)[0]
    ticks = 0
    while rig.state is SafetyState.ARMED:
        rig.ticks(1)
        ticks += 1
        rig.act(ticks, stamp_ns=ros_ns, ros_ns=ros_ns + 101 * MS + ticks * TICK)
    assert ticks <= ACTION_TIMEOUT // TICK + 2


# --- clocks and ticks --------------------------------------------------------------------------


@pytest.mark.parametrize("jump_s", [-10, 10])
def test_when_the_clock_jumps_expect_hold_at_the_next_tick_and_the_action_forgotten(rig, jump_s):
    rig.filter.on_clock(10**15, rig.now)
    rig.act(0, HERE + 0.05)
    rig.ticks(1)
    rig.filter.on_clock(10**15 + TICK + jump_s * 10**9, rig.now)
    given = rig.ticks(1)[0]
    assert (given.state, given.executed) == (SafetyState.HOLD, None)
    assert Reason.CLOCK_JUMP in given.reasons
    assert rig.filter.clock.jumps == 1


def test_when_the_clock_has_jumped_expect_watchdogs_unaffected_and_resumption(rig):
    rig.filter.on_clock(10**15, rig.now)
    rig.filter.on_clock(10**15 - 10**10, rig.now)
    rig.ticks(50)
    assert rig.state is SafetyState.HOLD  # and no fault: joint states came by the steady clock
    rig.act(0)
    assert rig.state is SafetyState.ARMED


def test_when_simulated_time_begins_expect_no_jump(rig):
    rig.filter.on_clock(0, rig.now)
    rig.filter.on_clock(10**15, rig.now)
    assert rig.filter.clock.jumps == 0


@pytest.mark.parametrize(("missed", "state"), [(2, SafetyState.ARMED), (3, SafetyState.HOLD)])
def test_when_ticks_are_missed_expect_hold_from_the_third_on_and_each_counted(rig, missed, state):
    rig.act(0)
    rig.ticks(1)
    rig.now += missed * TICK
    given = rig.ticks(1)[0]
    assert given.state is state
    assert rig.filter.ticks.missed == missed


def test_when_ticks_were_missed_expect_the_step_tainted(rig):
    rig.act(0)
    rig.ticks(1)
    rig.now += 3 * TICK
    executed = rig.ticks(TICKS_PER_STEP - 1)[-1].executed
    assert executed.tainted
    assert Reason.OVERLOAD in executed.reasons


# --- tracking ----------------------------------------------------------------------------------


def test_when_a_joint_is_far_from_its_set_point_expect_a_latched_fault_at_the_next_tick(rig):
    rig.act(0)
    rig.ticks(1)
    rig.filter.on_joint_state(HERE + [0.0, 0.31], rig.now, rig.now)
    given = rig.ticks(1, measure=False)[0]
    assert given.state is SafetyState.FAULT
    assert Reason.TRACKING in given.reasons
    np.testing.assert_allclose(given.position, HERE, atol=1e-7)  # steady: it is not pulled after the robot


# --- arming ------------------------------------------------------------------------------------


def test_when_inputs_have_been_there_for_less_than_a_second_expect_arming_refused():
    rig = Rig(armed=False, timing=TIMING)
    assert rig.filter.arm(rig.now) == "not everything is there: inputs that were never seen"
    rig.filter.health.note("", rig.now)
    rig.ticks(99)
    assert rig.filter.arm(rig.now) == "inputs must be there for 0.0 s more without a break"
    rig.ticks(1)
    assert rig.filter.arm(rig.now) is None


def test_when_an_input_is_missing_in_between_expect_the_second_to_start_anew():
    rig = Rig(armed=False, timing=TIMING)
    rig.filter.health.note("", rig.now)
    rig.ticks(90)
    rig.filter.health.note("no publisher on /resfit/action", rig.now)
    assert rig.filter.arm(rig.now) == "not everything is there: no publisher on /resfit/action"
    rig.filter.health.note("", rig.now)
    rig.ticks(20)
    assert rig.filter.arm(rig.now) is not None


@pytest.mark.parametrize("arm", [True, False])
def test_when_speed_is_scaled_expect_it_lowered_at_any_time_and_raised_only_disarmed(rig, arm):
    if not arm:
        rig.filter.disarm(rig.now)
    assert rig.filter.set_speed_scale(0.5) is None
    refusal = rig.filter.set_speed_scale(0.6)
    assert (refusal is None) is not arm
    assert rig.filter.limiter.speed_scale == (0.5 if arm else 0.6)


def test_when_speed_is_lowered_in_motion_expect_the_new_limit_kept_after_braking():
    rig = Rig()
    for step in range(4):
        rig.step(step, [0.9, -0.9])
    rig.filter.set_speed_scale(0.25)
    given = np.concatenate([positions(rig.step(4 + k, [0.9, -0.9])) for k in range(3)])
    assert_within_limits(given)
    assert np.max(np.abs(np.diff(given[-6:], axis=0))) / 0.01 <= 0.25 * 2.0 + 1e-9


# --- requests to hold --------------------------------------------------------------------------


def test_when_a_node_asks_to_hold_expect_hold_at_the_next_tick_and_no_end_by_an_action(rig):
    rig.act(0)
    rig.filter.requests.ask("/resfit/aggregator", Reason.STALE_SENSOR, "camera 'wrist' is silent")
    given = rig.ticks(TICKS_PER_STEP)
    assert given[0].state is SafetyState.HOLD
    assert Reason.STALE_SENSOR in given[0].reasons
    assert given[-1].executed.tainted
    rig.step(1)
    assert rig.state is SafetyState.HOLD


def test_when_everyone_has_released_expect_the_next_action_to_go_on_tainted(rig):
    for source in ("a", "b"):
        rig.filter.requests.ask(source, Reason.STALE_SENSOR, "")
    rig.act(0)
    rig.ticks(TICKS_PER_STEP)
    rig.filter.requests.release("a")
    rig.act(1)
    assert rig.state is SafetyState.HOLD
    rig.ticks(TICKS_PER_STEP)
    rig.filter.requests.release("b")
    given = rig.step(2)
    assert rig.state is SafetyState.ARMED
    assert given[-1].executed.tainted
    assert not rig.step(3)[-1].executed.tainted


def test_when_a_stranger_releases_expect_the_hold_to_stay(rig):
    rig.filter.requests.ask("a", Reason.OPERATOR, "")
    rig.filter.requests.release("b")
    rig.act(0)
    assert rig.ticks(1)[0].state is SafetyState.HOLD


# --- residuals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.RESIDUAL, Mode.EXPLORE])
def test_when_a_residual_exceeds_its_bound_expect_it_cut(rig, mode):
    base = HERE.astype(np.float32)
    rig.act(0, base + np.float32([0.25, 0.02]), base=base, mode=mode)
    command = rig.filter._action.command
    np.testing.assert_allclose(command, base + [0.1, 0.02], atol=1e-7)
    assert Reason.RESIDUAL_LIMIT in rig.ticks(TICKS_PER_STEP)[-1].executed.reasons


def test_when_a_residual_is_within_its_bound_expect_the_command_bit_for_bit(rig):
    base = HERE.astype(np.float32)
    rig.act(0, base + np.float32(0.099), base=base, mode=Mode.RESIDUAL)
    assert rig.filter._action.command.tobytes() == (base + np.float32(0.099)).tobytes()


def test_when_a_residual_is_not_finite_expect_the_base_action_alone_and_the_step_tainted(rig):
    rig.act(0, [NAN, 0.0], base=HERE, mode=Mode.RESIDUAL)
    given = rig.ticks(TICKS_PER_STEP)
    assert rig.state is SafetyState.ARMED
    np.testing.assert_allclose(given[-1].position, HERE, atol=1e-7)
    assert given[-1].executed.tainted
    assert Reason.NON_FINITE in given[-1].executed.reasons


def test_when_a_base_action_is_not_finite_expect_a_latched_fault(rig):
    assert not rig.act(0, HERE, base=[NAN, 0.0])[0]
    assert rig.state is SafetyState.FAULT


# --- a human drives ----------------------------------------------------------------------------


def teleoperate(rig: Rig, *target: float) -> None:
    rig.filter.on_teleop(CommandPath(np.zeros(1), np.array([target])), rig.now)


def test_when_a_human_drives_expect_the_robot_to_follow_from_the_next_tick_on(rig):
    rig.act(0)
    rig.ticks(1)
    teleoperate(rig, 0.11, -0.2)
    given = rig.ticks(TICKS_PER_STEP - 1)
    assert given[0].position[0] > HERE[0]
    assert all(Reason.INTERVENTION in point.reasons for point in given)
    executed = given[-1].executed
    assert (executed.tainted, bool(executed.reasons & Reason.INTERVENTION)) == (False, True)
    np.testing.assert_array_equal(executed.action, given[-1].position.astype(np.float32))


def test_when_a_human_drives_far_expect_every_limit_kept(rig):
    rng = np.random.default_rng(3)
    given = [HERE, HERE]
    filter_ = rig.filter
    for _ in range(300):
        teleoperate(rig, *rng.uniform(-3, 3, 2))
        rig.now += TICK
        filter_.on_joint_state(filter_.limiter.position, rig.now, rig.now)
        given.append(filter_.tick(rig.now).position)
    assert_within_limits(np.array(given))
    assert rig.state is SafetyState.ARMED


def test_when_a_human_drives_expect_no_hold_for_missing_actions(rig):
    rig.act(0)
    for _ in range(30):
        teleoperate(rig, *HERE)
        rig.ticks(1)
    assert rig.state is SafetyState.ARMED


def test_when_the_human_falls_silent_expect_hold_until_an_action_comes(rig):
    rig.act(0)
    teleoperate(rig, *HERE)
    rig.ticks(26)
    assert rig.state is SafetyState.HOLD
    assert rig.act(1)[0]
    assert rig.state is SafetyState.ARMED


@pytest.mark.parametrize("stop", ["fault", "request"])
def test_when_stopped_expect_a_human_unable_to_drive(rig, stop):
    if stop == "fault":
        rig.filter.set_estop(True)
    else:
        rig.filter.requests.ask("a", Reason.STALE_SENSOR, "")
    rig.ticks(1)
    teleoperate(rig, 0.5, 0.5)
    given = rig.ticks(5)
    np.testing.assert_array_equal(given[-1].position, HERE)
    assert all(Reason.INTERVENTION not in point.reasons for point in given)


def test_when_teleop_is_not_configured_expect_commands_ignored():
    rig = Rig()
    teleoperate(rig, 0.5, 0.5)
    np.testing.assert_array_equal(rig.ticks(1)[0].position, HERE)


# --- the body ----------------------------------------------------------------------------------


class Wall:
    """Joint a must not go beyond 0.2."""

    def check(self, position, previous=None) -> Verdict:
        return Verdict(Reason.COLLISION, "a would hit the wall") if position[0] > 0.2 else Verdict()


def test_when_the_body_would_touch_expect_a_stop_before_it_within_the_limits():
    rig = Rig(guard=Wall())
    given = np.concatenate([[HERE, HERE]] + [positions(rig.step(k, [0.9, 0.0])) for k in range(20)])
    assert 0.15 < np.max(given[:, 0]) <= 0.2 + 1e-9
    assert_within_limits(given)
    assert rig.filter.guard_words == "a would hit the wall"


def test_when_the_body_is_in_the_way_expect_the_reason_in_the_executed_step():
    rig = Rig(guard=Wall())
    reasons = Reason.NONE
    for step in range(20):
        reasons |= rig.step(step, [0.9, 0.0])[-1].executed.reasons
    assert Reason.COLLISION in reasons


# --- a smoother stop ---------------------------------------------------------------------------


class Slowly:
    """A stop profile that takes 20 ticks."""

    def start(self, position, velocity, acceleration) -> None:
        self.path = [position + velocity * 0.01 * k * (1 - k / 40) for k in range(1, 21)]

    def next(self):
        return self.path.pop(0) if len(self.path) > 1 else self.path[0]


def test_when_a_stop_profile_is_given_expect_it_followed_within_the_limits():
    rig = Rig(stop_profile=Slowly())
    given = [positions(rig.step(k, HERE + 0.02 * (k + 1))) for k in range(3)]
    rig.filter.set_estop(True)
    stop = positions(rig.ticks(25))
    assert_within_limits(np.concatenate([*given, stop]))
    assert 19 <= np.count_nonzero(np.abs(np.diff(stop[:, 0])) > 0) + 1 <= 20


def test_when_an_action_is_replayed_with_another_stamp_expect_it_dropped(rig):
    rig.step(0)
    again = dataclasses.replace(make_action(0), stamp_ns=7)
    assert not rig.filter.on_action(again, rig.now)[0]
