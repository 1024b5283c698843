"""The order of an evaluation, and what its episodes add up to."""

import pytest

from resfit_ros.core.types import Outcome
from resfit_ros.learning.evaluation import UNSEEDED, Result, Trial, blocks, schedule, summarise
from resfit_ros.learning.sequential import StoppingRule

ARMS = ("base", "finetuned")


def test_when_scheduled_expect_every_arm_on_every_scene_once():
    trials = schedule(ARMS, 50, 1000, seed=0)
    assert len(trials) == 100
    assert set(trials) == {Trial(arm, 1000 + i, i) for arm in ARMS for i in range(50)}


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
        Result(Trial(arm, scene, scene), scene, Outcome.SUCCESS if o == "+" else Outcome.TIMEOUT, 60)
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


def test_when_scenes_are_set_up_by_hand_expect_none_seeded_and_blocks_all_the_same():
    trials = schedule(ARMS, 5, 1000, seed=0, matched=False)
    assert {trial.scene_seed for trial in trials} == {UNSEEDED}
    assert [trial.block for trial in trials] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_when_summarised_expect_every_episode_listed():
    summary = summarise(("base",), results("base", "+-"))
    assert summary["episodes"][1] == {
        "arm": "base",
        "scene_seed": 1,
        "block": 1,
        "episode_id": 1,
        "outcome": "timeout",
        "success": False,
        "counts": True,
        "steps": 60,
        "seconds": 0.0,
        "interventions": 0,
        "as_planned": True,
        "labelled_by": "",
    }


def test_when_nothing_was_run_expect_no_rate_and_any_difference_possible():
    summary = summarise(ARMS, [])
    assert summary["arms"]["finetuned"]["success_rate"] is None
    assert summary["difference"]["estimate"] is None
    assert summary["sequential"]["interval"] == (-1.0, 1.0)


def changed(result: Result, **fields) -> Result:
    return Result(**{**vars(result), **fields})


def test_when_episodes_were_aborted_or_void_expect_nothing_computed_from_them():
    good = results("base", "+-+") + results("finetuned", "+++")
    bad = [
        changed(good[1], outcome=Outcome.ABORTED),
        changed(good[4], as_planned=False, outcome=Outcome.TIMEOUT),
    ]
    summary = summarise(ARMS, [good[0], good[2], *bad, good[3], good[5]])
    assert [summary["arms"][arm]["episodes"] for arm in ARMS] == [2, 2]
    assert summary["arms"]["base"]["aborted"] == 1
    assert summary["arms"]["finetuned"]["void"] == 1
    assert len(summary["episodes"]) == 6
    assert summary["sequential"]["pairs"] == 2


def test_when_a_human_helped_expect_no_success():
    helped = changed(results("base", "+")[0], interventions=3)
    summary = summarise(("base",), [helped])
    assert (summary["arms"]["base"]["successes"], summary["arms"]["base"]["helped"]) == (0, 1)


def test_when_a_block_is_half_done_expect_it_left_out_of_the_pairs():
    both = results("base", "+-") + results("finetuned", "+")
    assert blocks(ARMS, both) == [(True, True)]


def test_when_scenes_are_matched_expect_the_paired_methods():
    summary = summarise(ARMS, results("base", "+-----") + results("finetuned", "-+++++"))
    assert (summary["test"], summary["difference"]["method"]) == (
        "McNemar's exact test",
        "Tango's score interval",
    )
    assert summary["difference"]["estimate"] == pytest.approx(4 / 6)
    assert summary["pairs"] == {"both": 0, "only_base": 1, "only_finetuned": 5, "neither": 0}


def test_when_scenes_are_not_matched_expect_the_unpaired_methods():
    summary = summarise(ARMS, results("base", "+-----") + results("finetuned", "-+++++"), matched=False)
    assert summary["test"] == "Fisher's exact test"
    assert summary["p_value"] == pytest.approx(2 * (36 + 1) / 924)  # tables 1/5 and 0/6, on both sides


def test_when_one_arm_always_wins_expect_a_difference_shown_after_eight_pairs():
    rule = StoppingRule(100)
    verdicts = [
        summarise(ARMS, results("base", "-" * n) + results("finetuned", "+" * n), rule)["sequential"][
            "verdict"
        ]
        for n in (7, 8)
    ]
    assert verdicts == ["go_on", "difference"]
