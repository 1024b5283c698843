"""Behaviour cloning of an action-chunking policy from demonstrations."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from resfit_ros.core.errors import DataError
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32, Segment


class ChunkNetwork(nn.Module):
    """Standardised state (B, S) to a chunk of normalised actions (B, H, A)."""

    def __init__(self, state_dim: int, action_dim: int, config: BCConfig) -> None:
        super().__init__()
        self.shape = (config.horizon, action_dim)
        parts: list[nn.Module] = []
        size = state_dim
        for _ in range(config.hidden_layers):
            parts += [nn.Linear(size, config.hidden_width), nn.ReLU()]
            size = config.hidden_width
        self.layers = nn.Sequential(*parts, nn.Linear(size, config.horizon * action_dim))

    def forward(self, state: Tensor) -> Tensor:
        return self.layers(state).unflatten(-1, self.shape)


def chunk_targets(actions: Float32, horizon: int) -> Float32:
    """(K, A) executed actions to (K, H, A) chunks; past the end the last action is repeated."""
    rows = np.arange(len(actions))[:, None] + np.arange(horizon)[None, :]
    return actions[np.minimum(rows, len(actions) - 1)]


def fit_normaliser(
    segments: Sequence[Segment], joint_names: Sequence[str], min_action_range: float
) -> Normaliser:
    """The scaling of states and actions over the demonstrations."""
    if not segments:
        raise DataError("no demonstrations to learn from; record some with 'resfit record'")
    return Normaliser.fit(
        joint_names,
        np.concatenate([s.states for s in segments]),
        np.concatenate([s.actions for s in segments]),
        min_action_range=min_action_range,
    )


def train_bc(
    segments: Sequence[Segment],
    joint_names: Sequence[str],
    config: BCConfig,
    on_update: Callable[[int, float], None] = lambda update, loss: None,
) -> tuple[ChunkNetwork, Normaliser]:
    """Minimises the mean squared error of whole chunks, Adam with cosine decay.

    on_update(update, loss) is called every 50 updates.
    """
    normaliser = fit_normaliser(segments, joint_names, config.min_action_range)
    states = np.concatenate([normaliser.normalise_state(s.states[:-1]) for s in segments])
    chunks = np.concatenate(
        [chunk_targets(normaliser.normalise_action(s.actions), config.horizon) for s in segments]
    )
    inputs, targets = torch.from_numpy(states), torch.from_numpy(chunks)
    torch.manual_seed(config.seed)
    generator = torch.Generator().manual_seed(config.seed)
    network = ChunkNetwork(normaliser.state_dim, normaliser.action_dim, config)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.updates)
    for update in range(1, config.updates + 1):
        rows = torch.randint(len(inputs), (config.batch_size,), generator=generator)
        loss = (network(inputs[rows]) - targets[rows]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if update % 50 == 0 or update == config.updates:
            on_update(update, loss.item())
    return network.eval(), normaliser
