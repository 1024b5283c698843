"""Observation encoder, residual actor and critic ensemble."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.ensemble import EnsembleLayer, EnsembleLinear
from resfit_ros.learning.vision import CameraEncoder

# Settings that an actor's weights depend on; they travel with the weights.
NETWORK_SETTINGS = (
    "hidden_width",
    "hidden_layers",
    "layer_norm",
    "rlpd",
    "use_images",
    "vit_patch",
    "vit_width",
    "vit_depth",
    "vit_heads",
    "image_features",
)


@dataclass(frozen=True)
class ObservationShape:
    """What the networks are built for: cameras as (height, width).

    features: numbers per step that were computed beforehand from the pictures; features_of: hash of
    what computes them.
    """

    state_dim: int
    action_dim: int
    cameras: tuple[tuple[int, int], ...] = ()
    features: int = 0
    features_of: str = ""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ObservationShape":
        """The inverse of `dataclasses.asdict`, after a journey through JSON."""
        cameras = tuple((int(height), int(width)) for height, width in values["cameras"])
        return cls(**{**values, "cameras": cameras})


class ObservationEncoder(nn.Module):
    """Observation batch to features (B, F): standardised state, base action, chunk phase, images."""

    def __init__(self, shape: ObservationShape, config: LearningConfig) -> None:
        super().__init__()
        sizes = shape.cameras if config.use_images and not shape.features else ()
        self.cameras = nn.ModuleList(CameraEncoder(*size, config) for size in sizes)
        # Features of another network have any scale.
        self.feature_norm = nn.LayerNorm(shape.features) if shape.features else None
        seen = len(sizes) * config.image_features + shape.features
        self.feature_dim = shape.state_dim + shape.action_dim + 1 + seen

    def forward(self, observation: ObservationBatch) -> Tensor:
        parts = [observation.joined()]
        parts += [camera(i) for camera, i in zip(self.cameras, observation.images, strict=False)]
        if self.feature_norm is not None:
            parts.append(self.feature_norm(observation.image_features))
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]


class ResidualActor(nn.Module):
    """Observation batch to a residual direction in [-1, 1], (B, A).

    The last layer starts at zero, so that training starts exactly at the base policy. The encoder is
    the critics' too: they train it, `direction` does not reach back into it.
    """

    def __init__(self, shape: ObservationShape, config: LearningConfig) -> None:
        super().__init__()
        self.encoder = ObservationEncoder(shape, config)
        self.shape = shape
        self.without_base = config.rlpd
        parts: list[nn.Module] = []
        size, width = self.encoder.feature_dim, config.hidden_width
        for _ in range(config.hidden_layers):
            norm = [nn.LayerNorm(width)] if config.layer_norm else []
            parts += [nn.Linear(size, width), *norm, nn.ReLU()]
            size = width
        self.trunk = nn.Sequential(*parts)
        self.head = nn.Linear(size, shape.action_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.description = {
            "shape": dataclasses.asdict(shape),
            "config": {name: getattr(config, name) for name in NETWORK_SETTINGS},
        }

    def encode(self, observation: ObservationBatch) -> Tensor:
        """Features (B, F); without a base policy (RLPD) there is no base action to see."""
        if self.without_base:
            observation = dataclasses.replace(
                observation,
                base=torch.zeros_like(observation.base),
                phase=torch.zeros_like(observation.phase),
                vector=None,
            )
        return self.encoder(observation)

    def hidden(self, features: Tensor) -> list[Tensor]:
        """Activations (B, W) of each hidden layer."""
        activations = []
        for module in self.trunk:
            features = module(features)
            if isinstance(module, nn.ReLU):
                activations.append(features)
        return activations

    def direction(self, features: Tensor) -> Tensor:
        """Features (B, F) to (B, A)."""
        return torch.tanh(self.head(self.trunk(features)))

    def forward(self, observation: ObservationBatch) -> Tensor:
        return self.direction(self.encode(observation))


class CriticEnsemble(nn.Module):
    """Q of the full (base + residual) action for every member in one batched computation.

    The last layer starts near zero: an untrained critic that prefers arbitrary actions would drive
    the residual away from the base policy before it has seen any reward.
    """

    def __init__(
        self, feature_dim: int, action_dim: int, initial_bias: Tensor, config: LearningConfig
    ) -> None:
        """initial_bias: (O,), of the last layer's O outputs."""
        super().__init__()
        self.members = config.critic_ensemble
        size, width, members = feature_dim + action_dim, config.hidden_width, self.members
        self.layers = nn.ModuleList()
        for _ in range(config.hidden_layers):
            self.layers.append(EnsembleLayer(members, size, width, config.layer_norm))
            size = width
        self.head = EnsembleLinear(members, size, len(initial_bias), gain=0.01)
        self.head.bias.data.copy_(initial_bias.expand_as(self.head.bias))

    def hidden(self, features: Tensor, action: Tensor, chosen: Tensor | None = None) -> list[Tensor]:
        """Activations (M, B, W) of each hidden layer."""
        members = self.members if chosen is None else len(chosen)
        x = torch.cat((features, action), dim=-1).expand(members, -1, -1)
        activations = []
        for layer in self.layers:
            x = layer(x, chosen)
            activations.append(x)
        return activations

    def forward(self, features: Tensor, action: Tensor, chosen: Tensor | None = None) -> Tensor:
        """features (B, F), action (B, A) normalised to outputs (M, B, O), or (len(chosen), B, O)."""
        if chosen is None or torch.is_grad_enabled() or features.device.type != "cpu":
            return self.head(self.hidden(features, action, chosen)[-1], chosen)
        # A few members without gradient: one by one there is no need to gather their parameters.
        x = torch.cat((features, action), dim=-1)
        return torch.stack([self._member(x, m) for m in chosen.tolist()])

    def _member(self, x: Tensor, m: int) -> Tensor:
        for layer in self.layers:
            x = layer.member(x, m)
        return self.head.member(x, m)
