"""Ticks find their place just after the actions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.phase_lock import PhaseLock

MS = 1_000_000
TICK, PERIOD = 10 * MS, 50 * MS


def run(first_ns: int, jitter_ns: int = 0, steps: int = 40, period_ns: int = PERIOD):
    """(gaps between ticks, waits from each action to the next tick), ns."""
    rng = np.random.default_rng(0)
    lock, now, ticks, waits = PhaseLock(TICK), 0, [0], []
    arrivals = [first_ns + k * period_ns + int(rng.uniform(0, jitter_ns + 1)) for k in range(steps)]
    waiting = list(arrivals)
    while waiting:
        due = now + lock.until_next(now)
        while waiting and waiting[0] <= due:
            arrival = waiting.pop(0)
            lock.on_action(arrival)
            waits.append(due - arrival)
        now = due
        ticks.append(now)
    return np.diff(ticks), np.array(waits)


@given(st.integers(0, TICK - 1))
def test_when_actions_come_regularly_expect_each_tick_soon_after_its_action(first_ns):
    gaps, waits = run(first_ns)
    assert np.all(waits[8:] <= 2.6 * MS)
    assert gaps.min() >= TICK
    assert gaps.max() <= 1.05 * TICK


def test_when_actions_jitter_by_a_millisecond_expect_a_short_wait_all_the_same():
    _, waits = run(3 * MS, jitter_ns=MS, steps=400)
    assert np.percentile(waits[10:], 90) <= 2.6 * MS


def test_when_the_clocks_drift_expect_the_ticks_to_follow():
    _, waits = run(0, steps=2000, period_ns=PERIOD + 20_000)
    assert np.percentile(waits[10:], 99) <= 3 * MS


def test_when_no_action_has_come_expect_even_ticks():
    assert PhaseLock(TICK).until_next(123) == TICK


@pytest.mark.parametrize("tick_ms", [1, 10, 50])
def test_when_locked_expect_no_further_change(tick_ms):
    lock = PhaseLock(tick_ms * MS)
    lock.on_action(0)
    assert lock.until_next(round(0.2 * tick_ms * MS)) == tick_ms * MS
