"""Steps by the clock: none is skipped, and a silent policy stops them."""

from resfit_ros.core.step_clock import StepClock

MS = 1_000_000


def ticks(clock: StepClock, count: int, first_ms: int = 0, answered: bool = True) -> list[int | None]:
    """What is observed at each of `count` ticks of 50 ms."""
    seen = []
    for i in range(count):
        now_ns = (first_ms + 50 * i) * MS
        step = clock.due(now_ns)
        seen.append(step)
        if step is not None:
            clock.observed(step, now_ns)
            if answered:
                clock.on_action(step)
    return seen


def test_when_every_step_has_its_action_expect_one_step_per_tick():
    assert ticks(StepClock(), 5) == [0, 1, 2, 3, 4]


def test_when_an_action_is_missing_expect_the_same_step_again_after_a_while():
    clock = StepClock(repeat_ns=200 * MS)
    assert ticks(clock, 9, answered=False) == [0, None, None, None, 0, None, None, None, 0]


def test_when_the_action_comes_at_last_expect_the_next_step():
    clock = StepClock(repeat_ns=200 * MS)
    ticks(clock, 3, answered=False)
    clock.on_action(0)
    assert clock.due(150 * MS) == 1


def test_when_a_step_waits_expect_the_time_since_it_was_first_observed():
    clock = StepClock(repeat_ns=200 * MS)
    ticks(clock, 6, answered=False)
    assert clock.waited_s(1000 * MS) == 1.0


def test_when_nothing_waits_expect_no_time():
    clock = StepClock()
    ticks(clock, 3)
    assert clock.waited_s(10_000 * MS) == 0.0


def test_when_an_old_action_comes_again_expect_it_to_change_nothing():
    clock = StepClock()
    ticks(clock, 3)
    clock.on_action(0)
    assert clock.due(1000 * MS) == 3


def test_when_an_episode_begins_expect_step_0():
    clock = StepClock()
    ticks(clock, 3, answered=False)
    clock.reset()
    assert clock.due(0) == 0
