"""Residual actor and critic ensemble."""

import pytest
import torch
from torch.nn import functional

from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.networks import (
    CriticEnsemble,
    EnsembleLayerNorm,
    EnsembleLinear,
    ObservationEncoder,
    ResidualActor,
)

MEMBERS, BATCH, FEATURES, ACTIONS = 4, 7, 5, 3


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def critic() -> CriticEnsemble:
    made = CriticEnsemble(MEMBERS, FEATURES, ACTIONS, width=16, layers=2)
    for parameter in made.parameters():  # layer norms begin alike: make every member its own
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(BATCH, FEATURES), torch.randn(BATCH, ACTIONS)


def member_alone(critic: CriticEnsemble, m: int, features, action) -> torch.Tensor:
    """Q (B,) of member m with torch's own layers."""
    x = torch.cat((features, action), dim=-1)
    for linear, norm in zip(critic.linears, critic.norms, strict=True):
        x = functional.linear(x, linear.weight[m].T, linear.bias[m, 0])
        x = functional.layer_norm(x, norm.size, norm.gain[m, 0], norm.offset[m, 0]).relu()
    return functional.linear(x, critic.head.weight[m].T, critic.head.bias[m, 0])[:, 0]


def test_when_actor_is_new_expect_exactly_no_residual():
    actor = ResidualActor(FEATURES, ACTIONS, width=16, layers=2)
    residual = actor(100 * torch.randn(50, FEATURES))
    assert residual.shape == (50, ACTIONS)
    assert residual.abs().max() == 0


def test_when_head_is_large_expect_residual_within_one():
    actor = ResidualActor(FEATURES, ACTIONS, width=16, layers=2)
    torch.nn.init.normal_(actor.head.weight, std=100.0)
    residual = actor(torch.randn(50, FEATURES))
    assert 0.9 < residual.abs().max() <= 1.0


def test_when_ensemble_is_computed_at_once_expect_each_members_own_value(critic, inputs):
    together = critic(*inputs)
    assert together.shape == (MEMBERS, BATCH)
    for m in range(MEMBERS):
        torch.testing.assert_close(together[m], member_alone(critic, m, *inputs), atol=1e-5, rtol=1e-5)


def test_when_members_are_chosen_expect_their_values_in_that_order(critic, inputs):
    chosen = critic(*inputs, torch.tensor([3, 1]))
    torch.testing.assert_close(chosen, critic(*inputs)[[3, 1]], atol=1e-6, rtol=1e-6)


def test_when_one_member_is_trained_expect_no_gradient_in_the_others(critic, inputs):
    critic(*inputs)[2].sum().backward()
    for parameter in critic.parameters():
        per_member = parameter.grad.flatten(1).abs().sum(dim=1)
        assert per_member[[0, 1, 3]].max() == 0
        assert per_member[2] > 0


def test_when_critic_is_new_expect_values_near_zero_and_members_that_differ(inputs):
    q = CriticEnsemble(MEMBERS, FEATURES, ACTIONS, width=64, layers=2)(*inputs)
    assert q.abs().max() < 0.05
    assert q.std(dim=0).min() > 0


def test_when_linear_layers_are_initialised_expect_the_bound_of_their_fan_in():
    weight = EnsembleLinear(MEMBERS, 100, 50, gain=0.5).weight
    assert 0.049 < weight.abs().max() <= 0.05


def test_when_layer_norm_is_new_expect_zero_mean_and_unit_variance():
    y = EnsembleLayerNorm(MEMBERS, 64)(5 + 3 * torch.randn(MEMBERS, BATCH, 64))
    torch.testing.assert_close(y.mean(dim=-1), torch.zeros(MEMBERS, BATCH), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        y.std(dim=-1, correction=0), torch.ones(MEMBERS, BATCH), atol=1e-3, rtol=0
    )


def test_when_encoded_expect_state_base_and_phase():
    encoder = ObservationEncoder(2, 1)
    features = encoder(
        ObservationBatch(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]), torch.tensor([[0.5]]))
    )
    assert features.tolist() == [[1.0, 2.0, 3.0, 0.5]]
    assert encoder.feature_dim == 4
