"""Statistics of an evaluation."""

import pytest

from resfit_ros.core.types import Outcome
from resfit_ros.learning.evaluation import (
    Result,
    Trial,
    exact_paired_test,
    schedule,
    summarise,
    wilson_interval,
)

ARMS = ("base", "finetuned")


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


def test_when_scheduled_expect_every_arm_on_every_scene_once():
    trials = schedule(ARMS, 50, 1000, seed=0)
    assert len(trials) == 100
    assert set(trials) == {Trial(arm, 1000 + i) for arm in ARMS for i in range(50)}


def test_when_scheduled_expect_scenes_in_order_and_arms_in_random_order():
    trials = schedule(ARMS, 200, 0, seed=0)
    assert [trial.scene_seed for trial in trials] == [i // 2 for i in range(400)]
    base_first = sum(trial.arm == "base" for trial in trials[::2])
    assert 70 < base_first < 130  # 100 expected, standard deviation 7


def test_when_seed_is_the_same_expect_the_same_schedule():
    assert schedule(ARMS, 20, 0, seed=3) == schedule(ARMS, 20, 0, seed=3)
    assert schedule(ARMS, 20, 0, seed=3) != schedule(ARMS, 20, 0, seed=4)


def results(arm: str, outcomes: str) -> list[Result]:
    """'+' success, '-' timeout, one scene each."""
    return [
        Result(Trial(arm, scene), scene, Outcome.SUCCESS if o == "+" else Outcome.TIMEOUT, 60)
        for scene, o in enumerate(outcomes)
    ]


def test_when_summarised_expect_rate_and_interval_per_arm():
    summary = summarise(ARMS, results("base", "+---------") + results("finetuned", "++++++++--"))
    assert summary["arms"]["base"]["success_rate"] == 0.1
    assert summary["arms"]["finetuned"]["successes"] == 8
    assert summary["arms"]["finetuned"]["episodes"] == 10
    assert summary["arms"]["finetuned"]["wilson_95"] == pytest.approx((0.490162, 0.943318), abs=1e-5)


def test_when_two_arms_ran_expect_the_paired_test_over_shared_scenes():
    summary = summarise(ARMS, results("base", "+-----") + results("finetuned", "-+++++"))
    assert summary["p_value"] == pytest.approx(2 * (1 + 6) / 2**6)


def test_when_one_arm_ran_expect_no_p_value():
    assert "p_value" not in summarise(("base",), results("base", "+-"))


def test_when_summarised_expect_every_episode_listed():
    summary = summarise(ARMS, results("base", "+-"))
    assert summary["episodes"][1] == {
        "arm": "base",
        "scene_seed": 1,
        "episode_id": 1,
        "outcome": "timeout",
        "steps": 60,
    }
    assert summary["arms"]["finetuned"]["success_rate"] is None
