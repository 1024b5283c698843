"""Warnings: each at its threshold, none just below, none while figures are unknown or it is early."""

import dataclasses
import math
import re

import pytest

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.advice import RULES, Advice, advise
from resfit_ros.learning.diagnostics import Diagnosis

# The settings and the figures, early and late, of runs that reached 0.96 success.
DEMO = dict(
    residual_penalty=0.05,
    critic_ensemble=5,
    discount=0.98,
    n_step=5,
    utd=1.5,
    critic_lr=1e-3,
    actor_lr=3e-4,
    polyak=0.02,
    exploration_std=0.03,
)
CONFIG = LearningConfig(**DEMO)
LATE = Diagnosis(
    residual_ratio=0.22,
    saturated_share=0.014,
    saturated_joints=0.0,
    residual_scale=0.2,
    exploration_std=0.03,
    critic_loss=0.0008,
    q_mean=0.67,
    q_spread=0.011,
    target_mean=0.67,
    q_bias=0.005,
    q_correlation=0.88,
    q_episodes=50,
    return_observed=0.66,
    critic_grad_norm=0.041,
    actor_grad_norm=0.03,
    dead_share_critic=0.34,
    dead_share_actor=0.16,
    demo_share=0.5,
    update_lag=133.0,
    success_rate=0.96,
    success_rate_start=0.34,
    phase=LearnerPhase.TRAINING,
    env_steps=30_000,
    episodes=796,
    critic_updates=44_000,
    actor_updates=10_600,
)
EARLY = dataclasses.replace(
    LATE,
    residual_ratio=0.37,
    q_mean=0.5,
    q_spread=0.022,
    q_bias=0.22,
    q_correlation=0.44,
    q_episodes=14,
    return_observed=0.22,
    update_lag=235.0,
    success_rate=0.37,
    success_rate_start=math.nan,
    dead_share_critic=0.0,
    env_steps=2_100,
    episodes=41,
    critic_updates=2_400,
    actor_updates=225,
)
WARM_UP = dict(
    phase=LearnerPhase.WARM_UP, actor_updates=0, critic_updates=0, episodes=10, q_episodes=0
)
FALLEN = dict(success_rate=0.3, success_rate_start=0.5, residual_ratio=0.5)
FLAT = dict(success_rate=0.1, success_rate_start=0.1, residual_ratio=0.5)
PROMISED = dict(q_bias=0.15, return_observed=0.15)

# rule, figures at which it fires, figures just short of it, settings
CASES = [
    ("no_success", dict(success_rate=0.0, episodes=30), dict(success_rate=0.02), {}),
    ("no_success", dict(success_rate=0.0, episodes=30), dict(success_rate=0.0, episodes=29), {}),
    ("no_demonstrations", dict(demo_share=0.0), dict(demo_share=0.004), {}),
    ("q_out_of_range", dict(q_mean=1.1), dict(q_mean=1.09), {}),
    ("q_out_of_range", dict(q_mean=-0.1), dict(q_mean=-0.09), {}),
    ("q_out_of_range", dict(q_mean=2.2), dict(q_mean=2.1), dict(value_max=2.0)),
    ("success_falls", FALLEN, FALLEN | dict(success_rate=0.31), {}),
    ("success_falls", FALLEN, FALLEN | dict(residual_ratio=0.29), {}),
    ("success_falls", FALLEN, FALLEN | dict(episodes=99), {}),
    ("residual_without_gain", FLAT, FLAT | dict(residual_ratio=0.49), {}),
    ("residual_without_gain", FLAT, FLAT | dict(success_rate=0.11), {}),
    ("residual_without_gain", FLAT, FLAT | dict(success_rate=0.9, success_rate_start=0.9), {}),
    ("residual_without_gain", FLAT, FLAT | dict(episodes=99), {}),
    ("residual_saturates", dict(saturated_joints=0.25), dict(saturated_joints=0.24), {}),
    ("residual_saturates", dict(saturated_share=0.3), dict(saturated_share=0.29), {}),
    ("residual_idle", dict(residual_ratio=0.009), dict(residual_ratio=0.01), {}),
    ("residual_idle", dict(residual_ratio=0.0), dict(residual_ratio=0.0, actor_updates=999), {}),
    ("noise_drowns_residual", dict(exploration_std=0.2), dict(exploration_std=0.199), {}),
    (
        "noise_drowns_residual",
        dict(exploration_std=0.2),
        dict(exploration_std=0.2, residual_scale=0.1),  # still grows to 0.2
        {},
    ),
    ("critics_overestimate", PROMISED, PROMISED | dict(q_bias=0.14), {}),
    ("critics_overestimate", PROMISED, PROMISED | dict(return_observed=0.16), {}),
    ("critics_overestimate", PROMISED, PROMISED | dict(q_episodes=39), {}),
    ("critics_overestimate", dict(q_bias=0.66), dict(q_bias=0.65), dict(value_max=2.0)),
    ("critics_underestimate", dict(q_bias=-0.25), dict(q_bias=-0.24), {}),
    ("critics_underestimate", dict(q_bias=-0.25), dict(q_bias=-0.25, critic_updates=9_999), {}),
    ("q_uncorrelated", dict(q_correlation=0.3), dict(q_correlation=0.31), {}),
    ("q_uncorrelated", dict(q_correlation=-1.0), dict(q_correlation=-1.0, q_episodes=39), {}),
    ("spread_vanished", dict(q_spread=0.001), dict(q_spread=0.0014), {}),
    ("spread_vanished", dict(q_spread=0.0), dict(q_spread=0.0, q_mean=0.049), {}),
    ("spread_huge", dict(q_spread=0.15), dict(q_spread=0.149), {}),
    ("units_dead", dict(dead_share_critic=0.5), dict(dead_share_critic=0.49), {}),
    ("units_dead", dict(dead_share_actor=0.5), dict(dead_share_actor=0.49), {}),
    ("gradient_clipped", dict(critic_grad_norm=9.9), dict(critic_grad_norm=9.8), {}),
    ("gradient_clipped", dict(actor_grad_norm=1.0), dict(actor_grad_norm=0.98), dict(max_grad_norm=1.0)),
    ("learner_lags", dict(update_lag=500.0), dict(update_lag=499.0), {}),
    ("learner_lags", dict(update_lag=500.0), dict(update_lag=500.0, phase=LearnerPhase.PAUSED), {}),
]
FIGURES = [f.name for f in dataclasses.fields(Diagnosis) if f.default != f.default]  # NaN: unknown


def keys(figures: dict, settings: dict | None = None) -> list[str]:
    config = LearningConfig(**DEMO | (settings or {}))
    return [a.key for a in advise(dataclasses.replace(LATE, **figures), config)]


@pytest.mark.parametrize(("rule", "fires", "silent", "settings"), CASES)
def test_when_a_figure_reaches_its_threshold_expect_its_warning_alone(rule, fires, silent, settings):
    assert keys(fires, settings) == [rule]


@pytest.mark.parametrize(("rule", "fires", "silent", "settings"), CASES)
def test_when_a_figure_is_just_short_of_its_threshold_expect_no_such_warning(
    rule, fires, silent, settings
):
    assert rule not in keys(silent, settings)


@pytest.mark.parametrize(("rule", "fires", "silent", "settings"), CASES)
def test_when_the_figures_are_unknown_expect_no_warning(rule, fires, silent, settings):
    unknown = {name: math.nan for name in fires if name in FIGURES}
    assert keys(fires | unknown, settings) == []


# Demonstrations are missing from the first batch on; that needs no updates to be known.
LATER = [case for case in CASES if case[0] != "no_demonstrations"]


@pytest.mark.parametrize(("rule", "fires", "silent", "settings"), LATER)
def test_when_in_warm_up_expect_no_warning(rule, fires, silent, settings):
    assert keys(fires | WARM_UP, settings) == []


def test_when_warm_up_noise_ends_all_success_expect_that_noise_named():
    spoilt = WARM_UP | dict(success_rate=0.0, episodes=40, demo_share=math.nan)
    (advice,) = advise(dataclasses.replace(LATE, **spoilt), CONFIG)
    assert "`warmup_std` (0.1)" in advice.sentence and "40 episodes" in advice.sentence


@pytest.mark.parametrize("healthy", [EARLY, LATE])
def test_when_a_run_is_healthy_expect_no_advice(healthy):
    assert advise(healthy, CONFIG) == []


def test_when_nothing_is_known_yet_expect_no_advice():
    assert advise(Diagnosis(), LearningConfig()) == []


def test_when_losses_are_not_finite_expect_them_named_at_any_time():
    broken = Diagnosis.of({"critic_loss": math.nan, "q_mean": math.inf}, critic_updates=3)
    (advice,) = advise(broken, CONFIG)
    assert advice.key == "not_finite" and "critic_loss, q_mean" in advice.sentence


def test_when_no_demonstrations_are_meant_expect_no_warning_of_them():
    assert keys(dict(demo_share=0.0), dict(offline_fraction=0.0)) == []


def test_when_there_is_one_critic_expect_no_warning_of_its_spread():
    assert keys(dict(q_spread=0.0), dict(critic_ensemble=1)) == []


def test_when_actions_are_learnt_whole_expect_no_warning_about_the_residual():
    whole = dict(residual_ratio=0.9, saturated_joints=1.0, saturated_share=1.0, residual_scale=1.0)
    assert keys(whole | dict(success_rate=0.1), dict(rlpd=True)) == []


def test_when_several_rules_fire_expect_the_gravest_first():
    both = keys(dict(saturated_joints=0.5, update_lag=1000.0, success_rate=0.0))
    assert both == ["no_success", "residual_saturates", "learner_lags"]


@pytest.mark.parametrize(
    ("figures", "settings", "words"),
    [
        (dict(q_bias=0.5, return_observed=0.3), {}, "promise 0.80 where episodes returned 0.30"),
        (dict(exploration_std=0.2), {}, r"noise (0.20) is as large as the residual scale (0.20)"),
        (dict(saturated_joints=0.4), {}, "saturates on 40% of joints"),
        (dict(saturated_share=0.6), {}, "saturates on 60% of its components"),
        (FALLEN, {}, "fell from 50% to 30% while |residual| is 50% of its bound"),
        (dict(q_mean=1.2), dict(clip_targets=False), "Set `clip_targets`"),
        (dict(q_mean=1.2), {}, "Lower `critic_lr` (now 0.001)"),
        (PROMISED, dict(clip_targets=False), "set `clip_targets`"),
        (PROMISED, {}, "lower `discount` (now 0.98)"),
        (dict(dead_share_actor=0.7), dict(layer_norm=False), "set `layer_norm`"),
        (
            dict(dead_share_actor=0.7, dead_share_critic=0.6),
            {},
            "60% of the critic units and 70% of the actor units",
        ),
        (
            dict(critic_grad_norm=25.0, actor_grad_norm=30.0),
            {},
            "lower `critic_lr` and `actor_lr`",
        ),
        (dict(update_lag=812.0), {}, "812 environment steps behind"),
    ],
)
def test_when_a_rule_fires_expect_its_figure_and_remedy_in_the_sentence(figures, settings, words):
    config = LearningConfig(**DEMO | settings)
    (advice,) = advise(dataclasses.replace(LATE, **figures), config)
    assert words in advice.sentence


def all_advice() -> list[Advice]:
    found = advise(Diagnosis.of({"critic_loss": math.nan}), CONFIG)
    for _, fires, _, settings in CASES:
        for more in ({}, dict(clip_targets=False, layer_norm=False)):
            config = LearningConfig(**DEMO | settings | more)
            found += advise(dataclasses.replace(LATE, **fires), config)
    return found


def test_when_every_case_is_advised_expect_every_rule_among_them():
    assert {a.key for a in all_advice()} == {rule.__name__ for rule in RULES}


def test_when_a_sentence_names_a_parameter_expect_the_learner_to_have_it():
    parameters = {f.name for f in dataclasses.fields(LearnerParameters)}
    for advice in all_advice():
        named = re.findall(r"`([^`]*)`", advice.sentence)
        assert named and set(named) <= parameters, advice
        plain = re.sub(r"`[^`]*`", "", advice.sentence)
        words = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", plain)) - {"critic_loss"}
        assert not words, f"{advice.key}: put {words} in backticks"
