"""Intervals and exact tests of success rates."""

import itertools

import numpy as np
import pytest

from resfit_ros.core.intervals import wilson_interval
from resfit_ros.learning.comparison import (
    exact_paired_test,
    fisher_exact_test,
    newcombe_interval,
    tango_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # R: binom::binom.confint(x, n, methods = "wilson")
        (8, 10, 0.4901625, 0.9433178),
        (0, 10, 0.0, 0.2775328),
        (10, 10, 0.7224672, 1.0),
        (50, 100, 0.4038315, 0.5961685),
        (1, 1, 0.2065493, 1.0),
    ],
)
def test_when_rate_is_measured_expect_the_known_wilson_interval(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-6)


def test_when_nothing_was_tried_expect_anything_possible():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert tango_interval(0, 0, 0) == newcombe_interval((0, 0), (3, 4)) == (-1.0, 1.0)


def test_when_arms_are_not_paired_expect_the_published_hybrid_score_interval():
    # Newcombe 1998, table II (a): 56/70 - 48/80
    assert newcombe_interval((48, 80), (56, 70)) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_when_arms_are_paired_expect_the_published_score_interval():
    # Airway reactivity, Fagerland, Lydersen and Laake 2014: 1 and 7 of 21 pairs differ
    assert tango_interval(1, 7, 21) == pytest.approx((0.026, 0.517), abs=5e-4)


@pytest.mark.parametrize(
    ("only_first", "only_second", "pairs"), list(itertools.product((0, 3, 10), (0, 4, 10), (20, 60)))
)
def test_when_arms_change_places_expect_the_mirrored_interval(only_first, only_second, pairs):
    low, high = tango_interval(only_first, only_second, pairs)
    assert low <= (only_second - only_first) / pairs <= high
    assert tango_interval(only_second, only_first, pairs) == pytest.approx((-high, -low), abs=1e-9)


def test_when_pairs_are_drawn_many_times_expect_the_true_difference_covered():
    rng, covered = np.random.default_rng(0), 0
    for worse, better, _ in rng.multinomial(40, (0.1, 0.4, 0.5), size=400):
        low, high = tango_interval(int(worse), int(better), 40)
        covered += low <= 0.3 <= high
    assert 0.92 < covered / 400 < 0.98  # 0.95 expected, standard deviation 0.011


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 * 1/2
        (0, 5, 2 / 32),
        (5, 0, 2 / 32),
        (1, 9, 2 * (1 + 10) / 1024),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (4, 4, 1.0),
        (0, 20, 2 / 2**20),
    ],
)
def test_when_arms_disagree_expect_the_binomial_tail_twice(only_first, only_second, p_value):
    assert exact_paired_test(only_first, only_second) == pytest.approx(p_value)


@pytest.mark.parametrize(
    ("first", "second", "p_value"),
    [
        ((3, 4), (1, 4), 34 / 70),  # Fisher's tea
        ((4, 4), (0, 4), 2 / 70),
        ((1, 10), (9, 10), 2 * (100 + 1) / 184756),
        ((0, 5), (0, 7), 1.0),
    ],
)
def test_when_episodes_are_independent_expect_fishers_exact_test(first, second, p_value):
    assert fisher_exact_test(first, second) == pytest.approx(p_value)
    assert fisher_exact_test(second, first) == pytest.approx(p_value)
