"""Flow matching: a velocity field from noise to chunks."""

import dataclasses

import pytest
import torch
from test_act import CAMERAS, generator, pictures, random_batch
from test_bc import TINY

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc_data import Batch
from resfit_ros.learning.flow import FlowNetwork


def config(**changes) -> BCConfig:
    return BCConfig(**({"kind": "flow", **TINY} | changes))


@pytest.mark.parametrize("horizon", [8, 100])
@pytest.mark.parametrize("cameras", [0, 1, 2])
def test_when_asked_expect_a_chunk_of_the_horizon(horizon, cameras):
    network = FlowNetwork(5, 3, config(horizon=horizon), CAMERAS[:cameras])
    chunk = network.chunk(torch.zeros(2, 5), pictures(2, CAMERAS[:cameras]), torch.zeros(2, horizon, 3))
    assert chunk.shape == (2, horizon, 3)


def test_when_noise_is_the_same_expect_the_same_chunk():
    network, state, noise = FlowNetwork(3, 2, config()), torch.randn(1, 3), torch.randn(1, 4, 2)
    assert torch.equal(network.chunk(state, (), noise), network.chunk(state, (), noise))
    assert not torch.equal(network.chunk(state, (), noise), network.chunk(state, (), -noise))


def test_when_the_velocity_is_that_of_one_chunk_expect_the_flow_to_end_at_it(monkeypatch):
    network, noise, wanted = FlowNetwork(3, 2, config()), torch.randn(1, 4, 2), torch.randn(1, 4, 2)
    times = []

    def straight(context, noisy, time):
        times.append(time.item())
        return (wanted - noisy) / (1.0 - time)

    monkeypatch.setattr(network, "velocity", straight)
    torch.testing.assert_close(network.chunk(torch.zeros(1, 3), (), noise), wanted)
    assert times == [0.0, 0.25, 0.5, 0.75]


def test_when_padded_targets_change_expect_the_same_loss():
    network, batch = FlowNetwork(3, 2, config()), random_batch(padded=2)
    other = batch.actions.clone()
    other[:, 2:] = 1e3
    changed = dataclasses.replace(batch, actions=other)
    first, second = (network.validation_loss(b, generator()) for b in (batch, changed))
    assert first.item() == second.item()


def test_when_demonstrations_disagree_expect_both_ways_drawn_not_their_mean():
    torch.manual_seed(0)
    network, draw = FlowNetwork(1, 1, config(horizon=1, flow_steps=16)), generator()
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(250):
        sides = torch.randint(0, 2, (64, 1, 1), generator=draw) * 2.0 - 1.0
        batch = Batch(torch.zeros(64, 1), (), sides, torch.zeros(64, 1, dtype=torch.bool))
        loss, _ = network.losses(batch, draw)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        drawn = network.chunk(torch.zeros(200, 1), (), torch.randn(200, 1, 1, generator=draw))
    assert 0.3 < (drawn > 0).float().mean() < 0.7
    assert (drawn.abs() - 1.0).abs().mean() < 0.2
