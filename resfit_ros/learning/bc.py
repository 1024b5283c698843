"""Behaviour cloning of action-chunking policies from demonstrations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.learning_config import ACT, FLOW, MLP, BCConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning.act import ACTNetwork
from resfit_ros.learning.bc_data import (
    Batch,
    CameraSize,
    Demonstrations,
    BCInputs,
    chunk_targets,
    fit_normaliser,
    split_episodes,
)
from resfit_ros.learning.bc_training import OnUpdate, Training, TrainingRecord
from resfit_ros.learning.flow import FlowNetwork

__all__ = ["BCConfig", "ChunkNetwork", "build_network", "chunk_targets", "clone", "fit_normaliser", "train_bc"]


class ChunkPolicyNetwork(Protocol):
    """What training and inference need of every kind of network, beside being an nn.Module."""

    def chunk(self, state: Tensor, images: Sequence[Tensor], noise: Tensor) -> Tensor:
        """Standardised state (B, S), pictures, noise (B, H, A) to normalised actions (B, H, A)."""

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(loss to minimise, detached loss to report)."""

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Loss of what inference does."""


class ChunkNetwork(nn.Module):
    """Standardised state (B, S) to a chunk of normalised actions (B, H, A): a perceptron."""

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

    def chunk(self, state: Tensor, images: Sequence[Tensor], noise: Tensor) -> Tensor:
        """The chunk at inference; pictures and noise are not used."""
        return self(state)

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mean squared error of whole chunks: past the end of an episode its last action is held."""
        loss = (self(batch.state) - batch.actions).square().mean()
        return loss, loss.detach()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The same."""
        return self.losses(batch, generator)[1]


def build_network(
    state_dim: int, action_dim: int, config: BCConfig, cameras: Sequence[CameraSize] = ()
) -> nn.Module:
    """A new network of the configured kind; state_dim: what the policy sees of the state."""
    if config.kind == MLP:
        return ChunkNetwork(state_dim, action_dim, config)
    return {ACT: ACTNetwork, FLOW: FlowNetwork}[config.kind](state_dim, action_dim, config, cameras)


@dataclass(frozen=True)
class Cloned:
    """A trained network, in evaluation mode and on the CPU, with what it was trained by and how."""

    network: Any
    normaliser: Normaliser
    inputs: BCInputs
    record: TrainingRecord


def train_bc(
    segments: Sequence[Segment],
    joint_names: Sequence[str],
    config: BCConfig,
    on_update: Callable[[int, float], None] = lambda update, loss: None,
    inputs: BCInputs = BCInputs(),
) -> tuple[Any, Normaliser]:
    """(network, normaliser); on_update(update, loss) is called every 50 updates."""
    cloned = clone(segments, joint_names, config, inputs, lambda update, loss, _: on_update(update, loss))
    return cloned.network, cloned.normaliser


def clone(
    segments: Sequence[Segment],
    joint_names: Sequence[str],
    config: BCConfig,
    inputs: BCInputs = BCInputs(),
    on_update: OnUpdate = lambda update, loss, validation: None,
) -> Cloned:
    """Trains on most episodes and keeps the weights that are best on the others.

    AdamW with cosine decay. The scaling is fitted to the training episodes alone. Without validation
    episodes the last weights are kept. Raises DataError when the pictures do not fit `inputs`,
    or training diverges.
    """
    if config.use_images != bool(inputs.cameras):
        raise ConfigError("use_images needs camera_names, and the cameras are only used with it; set both")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' is not available to torch; set device to cpu")
    chosen, held_out = split_episodes(len(segments), config.validation_fraction, config.seed)
    training = [segments[i] for i in chosen]
    validation = [segments[i] for i in held_out]
    normaliser = fit_normaliser(training, joint_names, config.min_action_range)
    about = (normaliser, config.horizon, inputs, config.device)
    record = TrainingRecord([s.episode_id for s in training], [s.episode_id for s in validation])
    torch.manual_seed(config.seed)
    state_dim = len(inputs.columns(normaliser.state_dim))
    network = build_network(state_dim, normaliser.action_dim, config, inputs.cameras)
    Training(
        network,
        Demonstrations(training, *about),
        Demonstrations(validation, *about) if validation else None,
        config,
        record,
    ).train(on_update)
    return Cloned(network.cpu().eval(), normaliser, inputs, record)
