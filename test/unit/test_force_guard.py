"""Force limits on injected steady time."""

import math

import numpy as np
import pytest

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.force_guard import ForceGuard
from resfit_ros.core.types import Reason

MS = 1_000_000
NOTHING = (0.0, 0.0, 0.0)


def wrench(guard, force=NOTHING, torque=NOTHING, at_ms=0, stamp_ms=None) -> Reason:
    stamp = at_ms if stamp_ms is None else stamp_ms
    return guard.on_wrench(np.array(force), np.array(torque), round(stamp * MS), round(at_ms * MS))


def test_when_force_is_at_its_limit_expect_nothing():
    assert wrench(ForceGuard(5.0, 1.0), (3.0, 4.0, 0.0)) == Reason.NONE


def test_when_force_is_just_above_its_limit_expect_force():
    assert wrench(ForceGuard(5.0, 1.0), (3.0, 4.0001, 0.0)) == Reason.FORCE


def test_when_torque_is_above_its_limit_expect_force():
    assert wrench(ForceGuard(5.0, 1.0), NOTHING, (0.0, 0.0, -1.01)) == Reason.FORCE


@pytest.mark.parametrize("value", (math.nan, math.inf, -math.inf))
def test_when_a_reading_is_not_finite_expect_force_at_once(value):
    assert wrench(ForceGuard(5.0, math.inf, hold_s=1.0), NOTHING, (0.0, value, 0.0)) == Reason.FORCE


def test_when_only_part_of_a_reading_is_nan_beside_inf_expect_force():
    assert wrench(ForceGuard(5.0, 1.0), (math.nan, math.inf, 0.0)) == Reason.FORCE


def test_when_readings_are_huge_expect_force_and_no_overflow():
    assert wrench(ForceGuard(5.0, 1.0), (1e300, 1e300, 0.0)) == Reason.FORCE


def test_when_over_for_less_than_hold_expect_nothing():
    guard = ForceGuard(5.0, 1.0, hold_s=0.05)
    assert [wrench(guard, (9.0, 0.0, 0.0), at_ms=t) for t in (100, 125, 149.9)] == [Reason.NONE] * 3


def test_when_over_for_hold_expect_force():
    guard = ForceGuard(5.0, 1.0, hold_s=0.05)
    wrench(guard, (9.0, 0.0, 0.0), at_ms=100)
    assert wrench(guard, NOTHING, (0.0, 2.0, 0.0), at_ms=150) == Reason.FORCE


def test_when_below_in_between_expect_hold_to_begin_anew():
    guard = ForceGuard(5.0, 1.0, hold_s=0.05)
    wrench(guard, (9.0, 0.0, 0.0), at_ms=100)
    wrench(guard, at_ms=140)
    wrench(guard, (9.0, 0.0, 0.0), at_ms=145)
    assert guard.check(194 * MS) == Reason.NONE
    assert guard.check(195 * MS) == Reason.FORCE


def test_when_readings_end_while_over_expect_force_after_hold():
    guard = ForceGuard(5.0, 1.0, hold_s=0.05)
    wrench(guard, (9.0, 0.0, 0.0), at_ms=100)
    assert guard.check(150 * MS) == Reason.FORCE


def test_when_a_required_sensor_never_speaks_expect_stale_after_the_timeout():
    guard = ForceGuard(5.0, 1.0, timeout_s=0.1)
    reasons = [guard.check(t * MS) for t in (1000, 1100, 1101)]
    assert reasons == [Reason.NONE, Reason.NONE, Reason.STALE_SENSOR]


def test_when_a_required_sensor_falls_silent_expect_stale_after_the_timeout():
    guard = ForceGuard(5.0, 1.0, timeout_s=0.1)
    wrench(guard, at_ms=1000)
    assert [guard.check(t * MS) for t in (1100, 1101)] == [Reason.NONE, Reason.STALE_SENSOR]


def test_when_one_reading_is_repeated_expect_stale():
    guard = ForceGuard(5.0, 1.0, timeout_s=0.1)
    reasons = [wrench(guard, at_ms=t, stamp_ms=7) for t in (0, 50, 100, 150)]
    assert reasons == [Reason.NONE, Reason.NONE, Reason.NONE, Reason.STALE_SENSOR]


def test_when_an_old_reading_is_over_expect_force_all_the_same():
    guard = ForceGuard(5.0, 1.0)
    wrench(guard, at_ms=100)
    assert wrench(guard, (6.0, 0.0, 0.0), at_ms=101, stamp_ms=50) == Reason.FORCE


def test_when_stamps_go_back_and_are_forgotten_expect_a_living_sensor():
    guard = ForceGuard(5.0, 1.0, timeout_s=0.1)
    wrench(guard, at_ms=0, stamp_ms=10_000)
    guard.forget_stamps()
    wrench(guard, at_ms=90, stamp_ms=5)
    assert guard.check(180 * MS) == Reason.NONE


def test_when_a_sensor_is_not_required_expect_it_never_stale():
    guard = ForceGuard(5.0, 1.0)
    wrench(guard, at_ms=0)
    assert guard.check(10**15) == Reason.NONE


def test_when_over_expect_words_with_both_figures():
    guard = ForceGuard(5.0, 1.0)
    wrench(guard, (6.0, 0.0, 0.0), (0.0, 0.5, 0.0))
    assert guard.words == "force 6.0 N (at most 5), torque 0.5 N m (at most 1)"


def test_when_a_wrench_has_another_shape_expect_both_shapes_named():
    with pytest.raises(ShapeError, match=r"got \(2,\) and \(3,\)"):
        ForceGuard(5.0, 1.0).on_wrench(np.zeros(2), np.zeros(3), 0, 0)


@pytest.mark.parametrize("values", ((0.0, 1.0), (1.0, math.nan), (-1.0, 1.0)))
def test_when_a_limit_is_not_positive_expect_an_error(values):
    with pytest.raises(ConfigError, match="must be above 0"):
        ForceGuard(*values)


@pytest.mark.parametrize("name", ("hold_s", "timeout_s"))
@pytest.mark.parametrize("seconds", (-0.1, math.nan, math.inf))
def test_when_a_time_is_out_of_range_expect_its_name(name, seconds):
    with pytest.raises(ConfigError, match=name):
        ForceGuard(1.0, 1.0, **{name: seconds})
