"""The safety filter on injected time: holding, and coming to rest."""

import numpy as np
import pytest

from safety_rig import (
    ACTION_TIMEOUT,
    HERE,
    MAX_ACCELERATION,
    MS,
    STATE_TIMEOUT,
    TICK,
    Rig,
    assert_within_limits,
    positions,
)

from resfit_ros.core.safety_settings import SafetyTiming, SetPoint
from resfit_ros.core.types import Reason, SafetyState


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_when_action_is_just_in_time_expect_no_hold(rig):
    rig.act(0)
    given = rig.ticks(ACTION_TIMEOUT // TICK)
    assert {point.state for point in given} == {SafetyState.ARMED}


def test_when_action_is_stale_expect_hold(rig):
    rig.act(0)
    given = rig.ticks(ACTION_TIMEOUT // TICK + 1)
    assert given[-1].state is SafetyState.HOLD
    assert given[-1].reasons == Reason.STALE_ACTION


def test_when_held_expect_resumption_with_a_fresh_action_and_that_step_tainted(rig):
    rig.act(0)
    rig.ticks(20)
    given = rig.step(1, HERE + 0.005)
    assert {point.state for point in given} == {SafetyState.ARMED}
    assert given[-1].executed.tainted is True  # its observation may be from before the hold
    assert rig.step(2, HERE + 0.005)[-1].executed.tainted is False
    np.testing.assert_allclose(given[-1].position, HERE + 0.005, atol=1e-7)


def test_when_hold_interrupts_a_step_expect_it_tainted():
    slow = SafetyTiming(TICK, 200 * MS, ACTION_TIMEOUT, STATE_TIMEOUT)
    rig = Rig(timing=slow)
    rig.act(0, HERE + 0.01)
    executed = [point.executed for point in rig.ticks(20) if point.executed]
    assert [(e.tainted, e.safety_state) for e in executed] == [(True, SafetyState.HOLD)]
    assert executed[0].reasons & Reason.STALE_ACTION


def test_when_held_expect_duplicate_not_to_resume(rig):
    rig.act(0)
    rig.ticks(20)
    rig.act(0)
    assert rig.state is SafetyState.HOLD


def moving(rig: Rig) -> list[np.ndarray]:
    """Drives at full speed; the set points so far."""
    given = [HERE, HERE]
    for step in range(4):
        given += list(positions(rig.step(step, [0.9, -0.9])))
    assert np.min(np.abs(given[-1] - given[-2])) / 0.01 > 1.0  # [rad/s]
    return given


def stop_by_stale_action(rig: Rig) -> list[SetPoint]:
    return rig.ticks(60)


def stop_by_nan(rig: Rig) -> list[SetPoint]:
    rig.act(4, [np.nan, np.nan])
    return rig.ticks(60)


def stop_by_estop(rig: Rig) -> list[SetPoint]:
    rig.filter.set_estop(True)
    return rig.ticks(60)


def stop_by_stale_state(rig: Rig) -> list[SetPoint]:
    return rig.ticks(60, measure=False)


def stop_by_end(rig: Rig) -> list[SetPoint]:
    rig.filter.on_episode_ended(1, 4)
    return rig.ticks(60)


STOPS = [stop_by_stale_action, stop_by_nan, stop_by_estop, stop_by_stale_state, stop_by_end]


@pytest.mark.parametrize("stop", STOPS)
def test_when_stopped_while_moving_expect_deceleration_within_limits(rig, stop):
    before = moving(rig)
    given = positions(stop(rig))
    assert_within_limits(np.array([*before, *given]))


@pytest.mark.parametrize("stop", STOPS)
def test_when_stopped_while_moving_expect_a_steady_set_point(rig, stop):
    moving(rig)
    given = positions(stop(rig))
    # From 2 rad/s with 20 rad/s^2: 0.1 s, after at most 0.1 s of timeout.
    assert np.all(given[25:] == given[-1])


@pytest.mark.parametrize("stop", [stop_by_nan, stop_by_estop, stop_by_end])
def test_when_stopped_while_moving_expect_the_shortest_braking_distance(rig, stop):
    before = moving(rig)
    speed = np.abs(before[-1] - before[-2]) / 0.01
    distance = np.abs(positions(stop(rig))[-1] - before[-1])
    assert np.all(distance <= speed**2 / (2 * MAX_ACCELERATION))


def test_when_braking_expect_it_not_measured_as_a_clamp(rig):
    moving(rig)
    rig.filter.set_estop(True)
    clamps = []
    for _ in range(20):
        rig.ticks(1)
        clamps.append(rig.filter.largest_clamp)
    assert max(clamps) < 1e-12
