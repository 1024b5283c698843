"""Behaviour cloning of chunks."""

import numpy as np
import pytest
import torch
from builders import make_segment

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.learning.bc import BCConfig, ChunkNetwork, chunk_targets, fit_normaliser, train_bc

SMALL = BCConfig(horizon=3, hidden_width=32, hidden_layers=1, updates=300, batch_size=32)


def lines(count: int = 6, steps: int = 20):
    """Demonstrations in which the action is a linear function of the state."""
    rng = np.random.default_rng(0)
    segments = []
    for _ in range(count):
        states = np.cumsum(rng.normal(0, 0.1, (steps + 1, 3)), axis=0).astype(np.float32)
        actions = states[:-1] @ np.array([[1, 0], [0, 1], [1, -1]], np.float32)
        segments.append(make_segment(rng, steps, states=states, actions=actions))
    return segments


def test_when_chunks_are_cut_expect_following_actions_and_the_last_repeated():
    actions = np.arange(4, dtype=np.float32)[:, None]
    chunks = chunk_targets(actions, 3)
    assert chunks[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 3], [3, 3, 3]]


def test_when_network_is_asked_expect_a_chunk_per_state():
    network = ChunkNetwork(3, 2, SMALL)
    assert network(torch.zeros(5, 3)).shape == (5, 3, 2)


def test_when_trained_expect_the_demonstrated_actions():
    segments = lines()
    network, normaliser = train_bc(segments, ("a", "b"), SMALL)
    states = torch.from_numpy(normaliser.normalise_state(segments[0].states[:-1]))
    first = network(states)[:, 0].detach().numpy()
    wanted = normaliser.normalise_action(segments[0].actions)
    assert np.mean((first - wanted) ** 2) < 0.01
    assert np.var(wanted) > 0.05


def test_when_seed_is_the_same_expect_the_same_network():
    short = BCConfig(horizon=3, hidden_width=8, hidden_layers=1, updates=5)
    first, second = (train_bc(lines(), ("a", "b"), short)[0] for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_when_trained_expect_progress_reported_to_the_end():
    seen: list[tuple[int, float]] = []
    config = BCConfig(horizon=3, hidden_width=8, hidden_layers=1, updates=120)
    train_bc(lines(), ("a", "b"), config, lambda update, loss: seen.append((update, loss)))
    assert [update for update, _ in seen] == [50, 100, 120]
    assert seen[-1][1] < seen[0][1]


def test_when_scaling_is_fitted_expect_all_demonstrations_counted():
    segments = lines(2)
    normaliser = fit_normaliser(segments, ("a", "b"), 0.1)
    actions = np.concatenate([s.actions for s in segments])
    np.testing.assert_allclose(normaliser.normalise_action(actions).max(axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(
        normaliser.state_mean, np.concatenate([s.states for s in segments]).mean(axis=0), atol=1e-6
    )


def test_when_there_are_no_demonstrations_expect_refusal():
    with pytest.raises(DataError, match="no demonstrations"):
        train_bc([], ("a",), SMALL)


@pytest.mark.parametrize("change", [{"horizon": 0}, {"learning_rate": 0.0}, {"min_action_range": 0.0}])
def test_when_settings_are_out_of_range_expect_refusal(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        BCConfig(**change)
