"""A test that may be looked at after every pair of episodes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.learning.sequential import (
    StoppingRule,
    Tally,
    Verdict,
    confidence_interval,
    history,
    log_evidence,
)

COUNTS = st.integers(0, 60)
ALPHA = 0.05


def error_under_stopping(pairs: int) -> float:
    """Probability that a difference is ever shown where there is none, every pair differing; exact."""
    alive, wrong = {(0, 0): 1.0}, 0.0
    for _ in range(pairs):
        following: dict[tuple[int, int], float] = {}
        for (b, c), mass in alive.items():
            for state in ((b + 1, c), (b, c + 1)):
                following[state] = following.get(state, 0.0) + mass / 2
        stopped = [s for s in following if log_evidence(Tally(*s)) >= -math.log(ALPHA)]
        wrong += sum(following.pop(s) for s in stopped)
        alive = following
    return wrong


def test_when_nothing_differs_and_one_looks_after_every_pair_expect_few_false_alarms():
    assert 0.02 < error_under_stopping(60) < ALPHA


@given(COUNTS, COUNTS)
def test_when_differences_are_counted_expect_robbins_mixture(better, worse):
    n = better + worse
    exact = n * math.log(2) + math.lgamma(better + 1) + math.lgamma(worse + 1) - math.lgamma(n + 2)
    assert log_evidence(Tally(better, worse)) == pytest.approx(exact, abs=0.02)


@given(COUNTS, COUNTS, COUNTS)
def test_when_pairs_tie_expect_no_evidence_from_them(better, worse, ties):
    assert log_evidence(Tally(better, worse, ties)) == pytest.approx(
        log_evidence(Tally(better, worse)), abs=1e-9
    )


@given(COUNTS, COUNTS, COUNTS, st.floats(-0.95, 0.95))
def test_when_a_difference_is_supposed_expect_a_fair_game(better, worse, ties, difference):
    # Of the chances with this mean, two that are far apart: wealth is not expected to grow under either.
    now = Tally(better, worse, ties)
    following = [
        Tally(better + 1, worse, ties),
        Tally(better, worse + 1, ties),
        Tally(better, worse, ties + 1),
    ]
    growth = [math.exp(log_evidence(t, difference) - log_evidence(now, difference)) for t in following]
    m = (difference + 1) / 2
    assert m * growth[0] + (1 - m) * growth[1] == pytest.approx(1.0, rel=1e-6)
    spare = 1 - abs(difference)
    chances = (max(difference, 0.0), max(-difference, 0.0), spare)
    assert np.dot(chances, growth) == pytest.approx(1.0, rel=1e-6)


@given(COUNTS, COUNTS, COUNTS)
def test_when_zero_is_ruled_out_expect_a_difference_shown_and_the_other_way_round(better, worse, ties):
    tally = Tally(better, worse, ties)
    low, high = confidence_interval(tally, ALPHA)
    assert low <= tally.difference <= high
    assert (low > 0 or high < 0) == (log_evidence(tally) > -math.log(ALPHA))


def test_when_the_rates_are_known_expect_the_confidence_sequence_to_hold_the_difference_always():
    rng, limit, runs = np.random.default_rng(1), -math.log(ALPHA), 300
    evidence: dict[Tally, float] = {}
    held = 0
    for _ in range(runs):
        tally, inside = Tally(), True
        for first, second in rng.random((40, 2)) < (0.3, 0.6):
            tally = tally.plus(bool(first), bool(second))
            inside &= evidence.setdefault(tally, log_evidence(tally, 0.3)) < limit
        held += inside
    assert held / runs >= 0.95


@pytest.mark.parametrize(
    ("rule", "tally", "verdict"),
    [
        (StoppingRule(100), Tally(7), Verdict.GO_ON),
        (StoppingRule(100), Tally(8), Verdict.DIFFERENCE),
        (StoppingRule(100), Tally(0, 8), Verdict.DIFFERENCE),
        (StoppingRule(100, alpha=0.01), Tally(8), Verdict.GO_ON),
        (StoppingRule(20), Tally(0, 0, 13), Verdict.HOPELESS),
        (StoppingRule(20), Tally(0, 0, 12), Verdict.GO_ON),
        (StoppingRule(1000, min_difference=0.2), Tally(1, 1, 50), Verdict.NO_DIFFERENCE),
        (StoppingRule(1000, min_difference=0.1), Tally(1, 1, 50), Verdict.GO_ON),
        (StoppingRule(1000), Tally(1, 1, 500), Verdict.GO_ON),
    ],
)
def test_when_pairs_are_in_expect_the_rule_to_stop_where_the_answer_is_known(rule, tally, verdict):
    assert rule.verdict(tally) is verdict


def test_when_time_goes_on_expect_the_interval_never_to_widen_and_the_p_value_never_to_rise():
    rng = np.random.default_rng(0)
    rows = history([(bool(a), bool(b)) for a, b in rng.random((40, 2)) < (0.3, 0.8)], ALPHA)
    assert [row.pairs for row in rows] == list(range(1, 41))
    for before, after in zip(rows, rows[1:], strict=False):
        assert before.low <= after.low and after.high <= before.high
        assert after.p_value <= before.p_value
    assert rows[-1].low > 0
