"""ACT: a conditional variational autoencoder over chunks."""

import dataclasses

import pytest
import torch
from test_bc import TINY, lines

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.act import ACTNetwork
from resfit_ros.learning.bc import clone
from resfit_ros.learning.bc_data import Batch, CameraSize

CAMERAS = (CameraSize("left", 84, 84), CameraSize("right", 32, 50))


def config(**changes) -> BCConfig:
    return BCConfig(**({"kind": "act", **TINY} | changes))


def pictures(count: int, cameras) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randint(0, 256, (count, c.height, c.width, 3), dtype=torch.uint8) for c in cameras)


def random_batch(horizon: int = 4, padded: int = 0) -> Batch:
    torch.manual_seed(1)
    mask = torch.zeros(6, horizon, dtype=torch.bool)
    mask[:, horizon - padded :] = padded > 0
    return Batch(torch.randn(6, 3), (), torch.randn(6, horizon, 2), mask)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("horizon", [8, 100])
@pytest.mark.parametrize("cameras", [0, 1, 2])
def test_when_asked_expect_a_chunk_of_the_horizon(horizon, cameras):
    network = ACTNetwork(5, 3, config(horizon=horizon), CAMERAS[:cameras])
    chunk = network.chunk(torch.zeros(2, 5), pictures(2, CAMERAS[:cameras]), torch.zeros(2, horizon, 3))
    assert chunk.shape == (2, horizon, 3)


def test_when_pictures_change_expect_another_chunk():
    network = ACTNetwork(5, 3, config(), CAMERAS[:1])
    state = torch.zeros(1, 5)
    first, second = (network(state, pictures(1, CAMERAS[:1])) for _ in range(2))
    assert not torch.equal(first, second)


def test_when_the_latent_is_not_given_expect_the_mean_of_the_prior():
    network, state = ACTNetwork(3, 2, config()), torch.randn(2, 3)
    assert torch.equal(network(state), network(state, (), torch.zeros(2, 2)))
    assert not torch.equal(network(state), network(state, (), torch.ones(2, 2)))


def test_when_asked_twice_expect_the_same_chunk_whatever_the_noise():
    network, state = ACTNetwork(3, 2, config()), torch.randn(2, 3)
    first, second = (network.chunk(state, (), torch.randn(2, 4, 2)) for _ in range(2))
    assert torch.equal(first, second)


def test_when_actions_follow_from_the_state_expect_the_latent_to_collapse():
    cloned = clone(lines(), ("a", "b"), config(updates=150, transformer_lr=5e-3, warmup_updates=10))
    mean, log_variance = cloned.network.style(random_batch())
    kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
    assert kl < 0.01


def test_when_padded_targets_change_expect_the_same_losses():
    network, batch = ACTNetwork(3, 2, config()), random_batch(padded=2)
    other = batch.actions.clone()
    other[:, 2:] = 1e3
    changed = dataclasses.replace(batch, actions=other)
    (total, l1), (other_total, other_l1) = (network.losses(b, generator()) for b in (batch, changed))
    assert (other_total.item(), other_l1.item()) == (total.item(), l1.item())
    assert torch.equal(*(network.validation_loss(b, generator()) for b in (batch, changed)))


def test_when_the_divergence_is_weighted_expect_it_added_to_the_l1_loss():
    torch.manual_seed(0)
    light, batch = ACTNetwork(3, 2, config(kl_weight=0.0)), random_batch()
    heavy = ACTNetwork(3, 2, config(kl_weight=10.0))
    heavy.load_state_dict(light.state_dict())
    (total, l1), (more, same_l1) = (network.losses(batch, generator()) for network in (light, heavy))
    assert total.item() == l1.item() == same_l1.item()
    assert more > total
