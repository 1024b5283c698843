"""Figures about learning: returns, calibration of Q, dead units, gradients, saturated joints."""

import math

import numpy as np
import pytest
import torch
from builders import make_segment
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.diagnostics import (
    Diagnosis,
    ReturnCalibration,
    dead_units,
    discounted_returns,
    gradient_norm,
    saturated_joints,
)


def segment(steps: int, success: bool = False, terminal: bool = True):
    rewards = np.zeros(steps, np.float32)
    rewards[-1] = success
    return make_segment(np.random.default_rng(0), steps, rewards=rewards, terminal=terminal)


def calibration_of(*pairs, discount: float = 0.5, episodes: int = 50) -> ReturnCalibration:
    """Pairs of (segment, its Q)."""
    values = iter([np.asarray(q, np.float32) for _, q in pairs])
    calibration = ReturnCalibration(discount, lambda _: next(values), episodes)
    for one, _ in pairs:
        calibration.add(one)
    return calibration


def test_when_success_ends_a_segment_expect_its_discounted_reward_at_each_step():
    returns = discounted_returns(np.array([0, 0, 1], np.float32), 0.5)
    assert returns.tolist() == [0.25, 0.5, 1.0]


def test_when_rewards_come_at_several_steps_expect_their_discounted_sum():
    returns = discounted_returns(np.array([1, 0, 4], np.float32), 0.5)
    assert returns.tolist() == [2.0, 2.0, 4.0]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=20), st.floats(0.1, 0.999, allow_nan=False)
)
def test_when_returns_are_computed_expect_the_sum_of_the_definition(rewards, discount):
    returns = discounted_returns(np.array(rewards, np.float32), discount)
    for k in range(len(rewards)):
        expected = sum(discount**i * r for i, r in enumerate(rewards[k:]))
        assert returns[k] == pytest.approx(expected, rel=1e-9)


def test_when_nothing_was_added_expect_no_figures():
    assert calibration_of().metrics() == {}


def test_when_q_is_above_the_return_expect_the_bias():
    # Returns 0.25, 0.5, 1.
    figures = calibration_of((segment(3, success=True), [0.45, 0.7, 1.2])).metrics()
    assert figures["q_observed"] == pytest.approx(2.35 / 3, abs=1e-6)
    assert figures["return_observed"] == pytest.approx(1.75 / 3)
    assert figures["q_bias"] == pytest.approx(0.2, abs=1e-6)


def test_when_segments_differ_in_length_expect_each_step_to_count_alike():
    figures = calibration_of((segment(1), [1.0]), (segment(3), [0.0, 0.0, 0.0])).metrics()
    assert figures["q_observed"] == pytest.approx(0.25)


@pytest.mark.parametrize(("slope", "expected"), [(2.0, 1.0), (-1.0, -1.0)])
def test_when_q_is_linear_in_the_return_expect_full_correlation(slope, expected):
    q = 0.3 + slope * np.array([0.25, 0.5, 1.0])
    figures = calibration_of((segment(3, success=True), q)).metrics()
    assert figures["q_correlation"] == pytest.approx(expected, abs=1e-6)


def test_when_no_return_was_seen_expect_no_correlation():
    figures = calibration_of((segment(3), [0.1, 0.2, 0.3])).metrics()
    assert "q_correlation" not in figures and figures["return_observed"] == 0.0


def test_when_episodes_succeed_and_fail_expect_q_of_each():
    good, bad = segment(2, success=True), segment(3)
    figures = calibration_of((good, [0.6, 0.8]), (bad, [0.1, 0.2, 0.3])).metrics()
    assert figures["q_success"] == pytest.approx(0.7)
    assert figures["q_failure"] == pytest.approx(0.2)


def test_when_no_success_was_seen_expect_no_q_of_successes():
    figures = calibration_of((segment(2), [0.6, 0.8])).metrics()
    assert "q_success" not in figures and figures["q_failure"] == pytest.approx(0.7)


def test_when_a_segment_is_cut_off_expect_what_was_seen_as_its_return():
    timeout = segment(4, terminal=False)
    figures = calibration_of((timeout, [0.4] * 4), (segment(4), [0.0] * 4)).metrics()
    assert figures["truncated_share"] == 0.5
    assert (figures["return_observed"], figures["q_bias"]) == (0.0, pytest.approx(0.2))


def test_when_the_window_is_full_expect_the_oldest_segment_forgotten():
    pairs = [(segment(2), [q, q]) for q in (9.0, 0.2, 0.4)]
    calibration = calibration_of(*pairs, episodes=2)
    assert len(calibration) == 2
    figures = calibration.metrics()
    assert (figures["q_observed"], figures["q_episodes"]) == (pytest.approx(0.3), 2)


def test_when_a_segment_has_no_steps_expect_it_passed_over():
    empty = make_segment(np.random.default_rng(0), 0)
    assert len(calibration_of((empty, []))) == 0


def test_when_the_value_has_another_shape_expect_an_error_with_both():
    with pytest.raises(ShapeError, match=r"\(3, 1\).*episode 1.*\(3,\)"):
        calibration_of((segment(3), np.zeros((3, 1))))


def test_when_the_critics_have_diverged_expect_no_figures_that_are_not_finite():
    figures = calibration_of((segment(2, success=True), [np.nan, 1.0])).metrics()
    assert "q_bias" not in figures and all(map(math.isfinite, figures.values()))


def test_when_units_are_zero_for_the_whole_batch_expect_their_share():
    # Unit 0 is dead, unit 1 fires once, units 2 and 3 always.
    activations = torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 0.5, 1.0, 2.0]])
    assert dead_units(activations).item() == 0.25


def test_when_an_ensemble_is_given_expect_the_share_over_all_members():
    alive, dead = torch.ones(5, 4), torch.zeros(5, 4)
    half = torch.tensor([[1.0, 1.0, 0.0, 0.0]]).expand(5, 4)
    assert dead_units(torch.stack((alive, dead, half, alive))).item() == pytest.approx(6 / 16)


def test_when_activations_have_one_dimension_expect_an_error_with_the_shape():
    with pytest.raises(ShapeError, match=r"\(4,\).*\(B, W\)"):
        dead_units(torch.zeros(4))


def test_when_parameters_have_gradients_expect_their_common_norm():
    a, b, without = (torch.zeros(2, requires_grad=True) for _ in range(3))
    a.grad, b.grad = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    assert gradient_norm([a, b, without]).item() == pytest.approx(5.0)


def test_when_there_are_no_gradients_expect_zero():
    assert gradient_norm([torch.zeros(2, requires_grad=True)]).item() == 0.0


def test_when_gradients_are_measured_expect_what_clipping_returns():
    layer = torch.nn.Linear(3, 2)
    layer(torch.ones(4, 3)).square().sum().backward()
    ours = gradient_norm(layer.parameters()).item()
    assert ours == pytest.approx(torch.nn.utils.clip_grad_norm_(layer.parameters(), 1e9).item())


def test_when_joints_are_at_their_bound_for_the_batch_expect_their_share():
    # Joint 0 at +-1 throughout, joint 1 at 0.94, joint 2 at its bound half of the time, joint 3 idle.
    ratio = torch.tensor([[1.0, 0.94, 1.0, 0.0], [-1.0, -0.94, 0.0, 0.0]])
    assert saturated_joints(ratio).item() == 0.25


def test_when_ratios_have_three_dimensions_expect_an_error_with_the_shape():
    with pytest.raises(ShapeError, match=r"\(2, 3, 4\).*\(B, A\)"):
        saturated_joints(torch.zeros(2, 3, 4))


def test_when_made_from_metrics_expect_fields_by_name_and_others_passed_over():
    diagnosis = Diagnosis.of(
        {"q_mean": 0.5, "actor_loss": -0.4, "truncated_share": 0.1},
        phase=LearnerPhase.TRAINING,
        episodes=7,
    )
    assert (diagnosis.q_mean, diagnosis.episodes) == (0.5, 7)
    assert diagnosis.phase is LearnerPhase.TRAINING
    assert math.isnan(diagnosis.critic_loss) and diagnosis.non_finite == ()


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_when_a_training_metric_is_not_finite_expect_its_name(broken):
    diagnosis = Diagnosis.of({"critic_loss": broken, "actor_loss": broken, "q_mean": 0.1})
    assert diagnosis.non_finite == ("critic_loss", "actor_loss")


def test_when_a_figure_of_episodes_is_not_known_expect_no_fault():
    assert Diagnosis.of({"success_rate": math.nan, "q_bias": math.nan}).non_finite == ()


def test_when_calibration_is_diagnosed_expect_its_figures():
    figures = calibration_of((segment(3, success=True), [0.45, 0.7, 1.2])).metrics()
    diagnosis = Diagnosis.of(figures)
    assert diagnosis.q_bias == pytest.approx(0.2, abs=1e-6)
    assert (diagnosis.q_episodes, diagnosis.return_observed) == (1, pytest.approx(1.75 / 3))
