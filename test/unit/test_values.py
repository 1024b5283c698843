"""What critics say: values and distributions, their targets and losses, against slow references."""

import math

import pytest
import torch
from builders import small_config
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.learning.values import CategoricalValue, HistogramValue, ScalarValue, make_value_head

BINS = 11


def head(kind: str, **changes):
    return make_value_head(small_config(**({"critic_kind": kind, "value_bins": BINS} | changes)))


def distributions(seed: int, members: int = 2, count: int = 6) -> torch.Tensor:
    """Last-layer outputs (M, B, bins) of uneven distributions."""
    rng = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(members, count, BINS, generator=rng)


def certain(*bins: int) -> torch.Tensor:
    """Outputs of one member that is certain of bin `bins[b]` in transition b, (1, B, bins)."""
    return 1000.0 * torch.nn.functional.one_hot(torch.tensor(bins), BINS)[None].float()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("scalar", ScalarValue), ("c51", CategoricalValue), ("hl_gauss", HistogramValue)],
)
def test_when_configured_expect_that_kind(kind, expected):
    assert type(head(kind)) is expected
    assert head(kind).size == len(head(kind).initial_bias())


# --- scalar ------------------------------------------------------------------------------------


def test_when_value_is_scalar_expect_the_least_member_per_transition():
    outputs = torch.tensor([[[0.2], [0.9]], [[0.6], [0.1]]])
    target, value = head("scalar").target(outputs, torch.tensor([0.1, 0.2]), torch.tensor([0.5, 0.5]))
    assert target.tolist() == pytest.approx([0.1 + 0.5 * 0.2, 0.2 + 0.5 * 0.1])
    assert value is target


@pytest.mark.parametrize(
    ("clip", "expected"), [(True, [-1.0, 0.5, 2.0]), (False, [-3.0, 0.5, 4.0])], ids=["on", "off"]
)
def test_when_targets_are_clipped_expect_them_within_the_range_of_returns(clip, expected):
    values = head("scalar", clip_targets=clip, value_min=-1.0, value_max=2.0)
    outputs = torch.tensor([[[-6.0], [1.0], [8.0]]])
    target, _ = values.target(outputs, torch.zeros(3), torch.full((3,), 0.5))
    assert target.tolist() == expected


def test_when_value_is_scalar_expect_the_square_as_loss_of_each_member():
    loss = head("scalar").loss(torch.tensor([[[0.5], [1.0]], [[0.0], [2.0]]]), torch.tensor([0.2, 0.4]))
    assert loss.flatten().tolist() == pytest.approx([0.09, 0.36, 0.04, 2.56])


# --- distributions -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["c51", "hl_gauss"])
def test_when_critic_is_certain_expect_the_value_of_that_bin(kind):
    values = head(kind, value_min=-1.0, value_max=1.0)
    given_ = values.value(certain(0, 5, 8, 10))[0].tolist()
    assert given_ == pytest.approx([-1.0, 0.0, 0.6, 1.0], abs=1e-6)


@pytest.mark.parametrize("kind", ["c51", "hl_gauss"])
@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.0, 1.0, 0.0), (-1.0, 1.0, 0.0), (-2.0, 0.0, 0.0), (0.5, 1.0, 0.5)]
)
def test_when_critic_is_new_expect_a_return_near_zero(kind, low, high, expected):
    """Near the end of the range closest to zero where zero is not inside it."""
    values = head(kind, value_bins=101, value_min=low, value_max=high)
    value = values.value(values.initial_bias()[None, None]).item()
    assert value == pytest.approx(expected, abs=0.06 * (high - low))


@pytest.mark.parametrize("kind", ["c51", "hl_gauss"])
def test_when_critic_says_the_target_expect_the_least_cross_entropy(kind):
    values = head(kind)
    target, _ = values.target(distributions(0), torch.full((6,), 0.1), torch.full((6,), 0.7))
    exact = target.clamp_min(1e-12).log()[None].requires_grad_()
    least = values.loss(exact, target)
    entropy = -torch.special.xlogy(target, target).sum(dim=1)
    torch.testing.assert_close(least[0].detach(), entropy, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(least.sum(), exact)
    assert gradient.abs().max() < 1e-5
    assert (values.loss(exact + distributions(1, members=1), target) > least).all()


@pytest.mark.parametrize("kind", ["c51", "hl_gauss"])
def test_when_loss_is_computed_expect_minus_the_sum_of_p_log_q_per_member(kind):
    outputs, target = distributions(0), distributions(1)[0].softmax(dim=-1)
    loss = head(kind).loss(outputs, target)
    q = outputs.softmax(dim=-1)
    for m in range(2):
        for b in range(6):
            by_hand = -sum(float(target[b, i]) * math.log(float(q[m, b, i])) for i in range(BINS))
            assert float(loss[m, b]) == pytest.approx(by_hand, rel=1e-4)


# --- C51 ---------------------------------------------------------------------------------------


def projection(probabilities: list[float], reward: float, discount: float, low: float, high: float):
    """arXiv 1707.06887, eq. 7, as it is printed: one sum per bin."""
    width = (high - low) / (BINS - 1)
    centres = [low + i * width for i in range(BINS)]
    moved = [min(max(reward + discount * z, low), high) for z in centres]
    return [
        sum(p * min(max(1 - abs(t - z) / width, 0.0), 1.0) for p, t in zip(probabilities, moved, strict=True))
        for z in centres
    ]


@given(
    reward=st.floats(-2.0, 2.0),
    discount=st.sampled_from([0.0, 0.99, 0.99**3, 1.0]) | st.floats(0.0, 1.0),
    bounds=st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (-3.0, -1.0), (0.0, 10.0)]),
    seed=st.integers(0, 1000),
)
def test_when_projected_expect_the_slow_reference(reward, discount, bounds, seed):
    """Terminal (discount 0), n steps (discount ** n) and clamping at both ends included."""
    values = head("c51", value_min=bounds[0], value_max=bounds[1])
    outputs = distributions(seed, members=1, count=3)
    target, value = values.target(outputs, torch.full((3,), reward), torch.full((3,), discount))
    for b in range(3):
        expected = projection(outputs[0, b].softmax(dim=0).tolist(), reward, discount, *bounds)
        assert target[b].tolist() == pytest.approx(expected, abs=2e-5)
    assert target.sum(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    assert target.min() >= -1e-6
    assert value.tolist() == pytest.approx((target @ values.centres).tolist())


def test_when_transition_is_terminal_expect_all_mass_at_the_reward():
    target, value = head("c51").target(distributions(0), torch.full((6,), 0.35), torch.zeros(6))
    expected = [0.0] * BINS
    expected[3] = expected[4] = 0.5  # centres 0.3 and 0.4
    assert target[2].tolist() == pytest.approx(expected, abs=1e-5)
    assert value.tolist() == pytest.approx([0.35] * 6)


@pytest.mark.parametrize(("reward", "bin"), [(5.0, 10), (-5.0, 0)])
def test_when_returns_leave_the_range_expect_all_mass_in_the_outermost_bin(reward, bin):
    target, _ = head("c51").target(distributions(0), torch.full((6,), reward), torch.ones(6))
    assert target[:, bin].tolist() == pytest.approx([1.0] * 6)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_when_window_has_n_steps_expect_the_distribution_shrunk_by_its_own_discount(steps):
    discount = torch.full((2,), 0.9**steps)
    _, value = head("c51").target(certain(10, 4), torch.tensor([0.0, 0.05]), discount)
    assert value.tolist() == pytest.approx([0.9**steps, 0.05 + 0.4 * 0.9**steps], abs=1e-5)


def test_when_members_disagree_expect_the_distribution_of_the_least_one_per_transition():
    outputs = torch.cat((certain(2, 8), certain(6, 5)))
    target, value = head("c51").target(outputs, torch.zeros(2), torch.ones(2))
    assert target.argmax(dim=1).tolist() == [2, 5]
    assert value.tolist() == pytest.approx([0.2, 0.5])


def test_when_member_is_chosen_expect_by_expectation_not_by_the_likeliest_bin():
    """Member 0 mostly says 0.1 but expects more than member 1, which says 0.3."""
    split = torch.full((BINS,), 1e-9)
    split[1], split[10] = 0.6, 0.4  # expects 0.46
    outputs = torch.cat((split.log()[None, None], certain(3)))
    target, value = head("c51").target(outputs, torch.zeros(1), torch.ones(1))
    assert target[0, 3].item() == pytest.approx(1.0)
    assert value.item() == pytest.approx(0.3)


# --- HL-Gauss ----------------------------------------------------------------------------------


@given(target=st.floats(-0.5, 1.5), sigma=st.sampled_from([0.5, 0.75, 2.0]))
def test_when_smoothed_expect_the_bins_shares_of_the_gaussian(target, sigma):
    """arXiv 2403.03950, eq. 3.3, with the mass beyond the range in the outermost bins."""
    values = head("hl_gauss", hl_gauss_sigma=sigma)
    width = 1.0 / (BINS - 1)

    def below(x: float) -> float:
        return 0.5 * (1 + math.erf((x - target) / (math.sqrt(2) * sigma * width)))

    edges = [0.0, *(below((i + 0.5) * width) for i in range(BINS - 1)), 1.0]
    expected = [b - a for a, b in zip(edges, edges[1:], strict=False)]
    (given_,) = values.probabilities(torch.tensor([target])).tolist()
    assert given_ == pytest.approx(expected, abs=2e-6)
    assert sum(given_) == pytest.approx(1.0, abs=1e-5)


@given(target=st.floats(0.2, 0.8))
def test_when_smoothed_inside_the_range_expect_the_target_as_mean(target):
    values = head("hl_gauss", value_bins=51)
    mean = values.probabilities(torch.tensor([target])) @ values.centres
    assert mean.item() == pytest.approx(target, abs=1e-4)


def test_when_target_is_computed_expect_the_least_member_bootstrapped_and_cut_to_the_range():
    outputs = torch.cat((certain(2, 8, 10), certain(6, 5, 10)))
    reward, discount = torch.tensor([0.1, 0.0, 1.0]), torch.tensor([0.5, 0.0, 0.9])
    values = head("hl_gauss", clip_targets=False)
    target, value = values.target(outputs, reward, discount)
    assert value.tolist() == pytest.approx([0.2, 0.0, 1.0])
    torch.testing.assert_close(target, values.probabilities(value))
