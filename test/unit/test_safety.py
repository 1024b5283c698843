"""The safety filter on injected time."""

import numpy as np
import pytest

from safety_rig import (
    HERE,
    MAX_ACCELERATION,
    MAX_VELOCITY,
    MS,
    PERIOD,
    STATE_TIMEOUT,
    TICK,
    Rig,
    assert_within_limits,
    make_action,
    positions,
)

from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.safety_settings import SafetyTiming
from resfit_ros.core.types import Reason, SafetyState


@pytest.fixture
def rig() -> Rig:
    return Rig()


# --- actions reach the robot -------------------------------------------------------------------


def test_when_actions_are_within_limits_expect_each_command_exactly_at_its_last_tick(rig):
    rng = np.random.default_rng(0)
    command = HERE
    for step in range(200):  # across zero, where differences of positions are rounded
        command = (command * 0.985 + rng.uniform(-0.001, 0.001, 2)).astype(np.float32)
        last = rig.step(step, command)[-1]
        assert last.position.tobytes() == command.astype(np.float64).tobytes()
        assert last.executed.action.tobytes() == command.tobytes()


def test_when_action_is_executed_expect_equal_increments(rig):
    given = rig.step(0, HERE + [0.005, -0.005])
    expected = HERE + np.arange(1, 6)[:, None] / 5 * [0.005, -0.005]
    np.testing.assert_allclose(positions(given), expected, atol=1e-7)
    assert given[0].reasons == Reason.NONE


def test_when_step_completes_expect_executed_at_its_last_tick_only(rig):
    given = rig.step(0)
    assert [point.executed is not None for point in given] == [False] * 4 + [True]


def test_when_step_completes_expect_executed_to_equal_the_last_set_point(rig):
    given = rig.step(0, [0.9, -0.9])  # too far for one step: clamped
    executed = given[-1].executed
    np.testing.assert_array_equal(executed.action, given[-1].position.astype(np.float32))
    assert abs(executed.action[0] - 0.9) > 0.1
    assert Reason.ACCELERATION_LIMIT in executed.reasons
    assert not executed.tainted


def test_when_step_completes_expect_stamp_and_ids_of_its_action(rig):
    rig.step(0)
    executed = rig.step(1)[-1].executed
    assert (executed.stamp_ns, executed.episode_id, executed.step) == (PERIOD, 1, 1)


def test_when_next_action_comes_early_expect_the_step_cut_short_at_its_set_point(rig):
    rig.act(0, HERE + 0.005)
    given = rig.ticks(3)
    taken, cut_short = rig.act(1)
    assert taken and cut_short.step == 0
    np.testing.assert_array_equal(cut_short.action, given[-1].position.astype(np.float32))


def test_when_lockstep_expect_one_tick_per_step():
    rig = Rig(timing=SafetyTiming(PERIOD, PERIOD, 0, 0))
    rig.act(0, HERE + 0.01)
    assert rig.ticks(1)[0].executed.step == 0


def test_when_commands_jump_expect_every_limit_kept(rig):
    rng = np.random.default_rng(0)
    given = [HERE, HERE]
    for step in range(200):
        given += list(positions(rig.step(step, rng.uniform(-3, 3, 2))))
    assert_within_limits(np.array(given))


def test_when_clamped_expect_steps_and_amount_counted(rig):
    rig.step(0)
    given = rig.step(1, [0.9, -0.9])
    assert rig.filter.counters.clamped == 1
    assert given[-1].state is SafetyState.ARMED
    assert rig.filter.largest_clamp > 0.1


# --- what is refused ---------------------------------------------------------------------------


def fresh(rig: Rig) -> None:
    rig.step(0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_when_command_is_not_finite_expect_latched_fault(rig, bad):
    fresh(rig)
    assert rig.act(1, [0.0, bad]) == (False, None)
    assert rig.state is SafetyState.FAULT
    assert rig.ticks(1)[0].reasons & Reason.NON_FINITE


@pytest.mark.parametrize("command", [[0.0], [0.0, 0.0, 0.0], []])
def test_when_command_has_wrong_size_expect_latched_fault(rig, command):
    fresh(rig)
    assert rig.act(1, command) == (False, None)
    assert rig.state is SafetyState.FAULT
    assert rig.ticks(1)[0].reasons & Reason.WRONG_SIZE


def test_when_faulted_expect_good_actions_not_to_release_it(rig):
    rig.act(0, [np.nan, 0.0])
    given = [point for step in range(1, 4) for point in rig.step(step, [0.5, 0.5])]
    assert {point.state for point in given} == {SafetyState.FAULT}
    assert np.all(positions(given) == HERE)


def test_when_faulted_expect_executed_steps_tainted(rig):
    rig.act(0, HERE + 0.005)
    rig.ticks(2)
    rig.act(1, [np.nan, 0.0])
    executed = [point.executed for point in rig.ticks(3) if point.executed]
    assert [(e.step, e.tainted, e.safety_state) for e in executed] == [(0, True, SafetyState.FAULT)]


def test_when_faulted_expect_arming_to_clear_it(rig):
    rig.act(0, [np.nan, 0.0])
    assert rig.filter.arm() is None
    given = rig.step(1, HERE + 0.005)
    assert rig.state is SafetyState.ARMED
    assert given[-1].reasons == Reason.NONE
    np.testing.assert_allclose(given[-1].position, HERE + 0.005, atol=1e-7)


def test_when_source_is_foreign_expect_it_ignored_without_fault(rig):
    assert rig.act(0, [0.9, 0.9], source_id="someone") == (False, None)
    assert rig.state is SafetyState.ARMED
    assert rig.filter.counters.rejected == 1
    assert np.all(positions(rig.ticks(5)) == HERE)


def test_when_foreign_source_sends_nan_expect_no_fault(rig):
    rig.act(0, [np.nan, 0.0], source_id="someone")
    assert rig.state is SafetyState.ARMED


@pytest.mark.parametrize("step", [0, 1, 2])
def test_when_step_is_not_newer_expect_it_dropped(rig, step):
    for k in range(3):
        rig.step(k)
    assert rig.act(step) == (False, None)
    assert rig.filter.counters.dropped == 1


def test_when_step_repeats_while_it_runs_expect_it_dropped(rig):
    rig.act(0, HERE + 0.005)
    rig.ticks(2)
    assert rig.act(0, [0.9, 0.9]) == (False, None)
    np.testing.assert_allclose(rig.ticks(3)[-1].position, HERE + 0.005, atol=1e-7)


@pytest.mark.parametrize("episode_id", [0, 2])
def test_when_action_is_of_another_episode_expect_it_dropped(rig, episode_id):
    assert rig.act(0, episode_id=episode_id) == (False, None)
    assert rig.filter.counters.dropped == 1


# --- joint states ------------------------------------------------------------------------------


def test_when_joint_state_is_just_in_time_expect_no_fault(rig):
    rig.act(0)
    rig.ticks(STATE_TIMEOUT // TICK, measure=False)
    assert rig.state is SafetyState.ARMED


def test_when_joint_state_is_stale_expect_fault(rig):
    rig.act(0)
    given = rig.ticks(STATE_TIMEOUT // TICK + 1, measure=False)
    assert given[-1].state is SafetyState.FAULT
    assert given[-1].reasons & Reason.STALE_STATE


def test_when_joint_states_return_expect_the_fault_latched(rig):
    rig.ticks(10, measure=False)
    given = rig.ticks(10)
    assert given[-1].state is SafetyState.FAULT
    assert given[-1].reasons & Reason.STALE_STATE


def test_when_no_joint_state_came_expect_no_arming_and_no_set_point():
    limits = JointLimits(("a",), [-1.0], [1.0], [1.0], [1.0])
    filter_ = SafetyFilter(limits, SafetyTiming(TICK, PERIOD, 0, 0), "residual")
    assert "joint state" in filter_.arm()
    assert filter_.tick(0) is None


def test_when_start_is_outside_limits_expect_hold_there_and_inward_motion_only():
    limits = JointLimits(("a", "b"), [-1.0], [1.0], [MAX_VELOCITY], [MAX_ACCELERATION])
    filter_ = SafetyFilter(limits, SafetyTiming(PERIOD, PERIOD, 0, 0), "residual")
    filter_.on_joint_state(np.array([1.3, 0.0]), 0, 0)
    filter_.on_episode_started(1, 0)
    filter_.arm()
    assert filter_.tick(0).position[0] == 1.3
    given = []
    for step in range(40):
        filter_.on_action(make_action(step, [5.0 if step < 10 else 0.8, 0.0]), 0)
        given.append(filter_.tick(0).position[0])
    excess = np.maximum(0.0, np.array([1.3, *given]) - 1.0)
    assert np.all(np.diff(excess) <= 0)
    assert given[-1] == pytest.approx(0.8)


# --- arming, e-stop ----------------------------------------------------------------------------


def test_when_disarmed_expect_nothing_sent():
    assert Rig(armed=False).ticks(3) == [None, None, None]


def test_when_disarmed_again_expect_nothing_sent(rig):
    rig.step(0)
    rig.filter.disarm(rig.now)
    assert rig.ticks(3)[1:] == [None, None]  # after the set point that brings it to rest
    assert rig.state is SafetyState.DISARMED


def test_when_disarmed_in_motion_expect_braking_first():
    rig = Rig()
    given = [positions(rig.step(k, HERE + 0.02 * (k + 1))) for k in range(3)]
    rig.filter.disarm(rig.now)
    braking = [point for point in rig.ticks(30) if point is not None]
    assert_within_limits(np.concatenate([*given, positions(braking)]))
    assert rig.state is SafetyState.DISARMED
    assert 1 < len(braking) < 30


def test_when_armed_expect_start_from_the_measured_positions(rig):
    rig.filter.disarm(rig.now)
    moved = np.array([0.4, 0.4])
    rig.filter.on_joint_state(moved, rig.now, rig.now)
    rig.filter.arm()
    assert rig.filter.tick(rig.now).position.tolist() == moved.tolist()


def test_when_armed_expect_an_action_from_before_forgotten():
    rig = Rig(armed=False)
    rig.act(0, [0.9, 0.9])
    rig.filter.arm()
    assert np.all(positions(rig.ticks(5)) == HERE)


def test_when_estop_is_pressed_expect_arming_refused(rig):
    rig.filter.set_estop(True)
    assert "e-stop" in rig.filter.arm()
    assert rig.state is SafetyState.FAULT


def test_when_estop_is_released_expect_fault_until_armed(rig):
    rig.filter.set_estop(True)
    rig.filter.set_estop(False)
    assert rig.ticks(1)[0].state is SafetyState.FAULT
    assert rig.filter.arm() is None
    assert rig.ticks(1)[0].state is SafetyState.ARMED


def test_when_estop_is_pressed_while_disarmed_expect_arming_refused():
    rig = Rig(armed=False)
    rig.filter.set_estop(True)
    assert "e-stop" in rig.filter.arm()
    assert rig.state is SafetyState.DISARMED


# --- episodes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "taken"), [(2, True), (3, False), (4, False)])
def test_when_episode_has_ended_expect_only_its_own_steps_taken(rig, step, taken):
    rig.step(0)
    rig.filter.on_episode_ended(1, 3)
    assert rig.act(step)[0] is taken


def test_when_end_overtakes_a_running_action_beyond_it_expect_it_dropped(rig):
    rig.step(0)
    rig.act(1, HERE + 0.005)
    rig.filter.on_episode_ended(1, 1)
    given = rig.ticks(5)
    assert [point.executed for point in given] == [None] * 5
    np.testing.assert_allclose(positions(given), np.tile(HERE, (5, 1)), atol=1e-7)


def test_when_another_episode_ends_expect_no_effect(rig):
    rig.filter.on_episode_ended(2, 0)
    assert rig.act(0)[0]


def test_when_episode_has_ended_expect_no_hold_for_missing_actions(rig):
    rig.step(0)
    rig.filter.on_episode_ended(1, 1)
    given = rig.ticks(30)
    assert given[-1].state is SafetyState.ARMED
    assert given[-1].reasons == Reason.NO_EPISODE


def test_when_episode_starts_expect_steps_to_count_from_zero_again(rig):
    for step in range(3):
        rig.step(step)
    rig.filter.on_episode_ended(1, 3)
    rig.filter.on_episode_started(2, rig.now)
    assert rig.act(0, episode_id=2)[0]


def test_when_episode_starts_expect_no_set_point_before_a_state_of_its_own(rig):
    rig.step(0)
    rig.filter.on_episode_started(2, rig.now + 15 * MS)
    early, later = rig.ticks(2)
    assert early is None
    assert later.position.tolist() == HERE.tolist()


def test_when_episode_start_is_repeated_expect_the_running_one_undisturbed(rig):
    rig.step(0)
    rig.filter.on_episode_started(1, rig.now)
    assert rig.act(0) == (False, None)
