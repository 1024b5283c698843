"""Residual actor and critic ensemble: multilayer perceptrons with layer normalisation."""

import math

import torch
from torch import Tensor, nn

from resfit_ros.learning.batch import ObservationBatch


class ObservationEncoder(nn.Module):
    """Turns an observation batch into features (B, F): standardised state, base action, chunk phase."""

    def __init__(self, state_dim: int, action_dim: int) -> None:
        super().__init__()
        self.feature_dim = state_dim + action_dim + 1

    def forward(self, observation: ObservationBatch) -> Tensor:
        return torch.cat((observation.state, observation.base, observation.phase), dim=-1)


class ResidualActor(nn.Module):
    """Features (B, F) to a residual direction in [-1, 1], (B, A).

    The last layer starts at zero, so that training starts exactly at the base policy.
    """

    def __init__(self, feature_dim: int, action_dim: int, width: int, layers: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        size = feature_dim
        for _ in range(layers):
            parts += [nn.Linear(size, width), nn.LayerNorm(width), nn.ReLU()]
            size = width
        self.trunk = nn.Sequential(*parts)
        self.head = nn.Linear(size, action_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        return torch.tanh(self.head(self.trunk(features)))


class EnsembleLinear(nn.Module):
    """M linear layers as one batched product: (M, B, I) to (M, B, O)."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        if chosen is None:
            return torch.baddbmm(self.bias, x, self.weight)
        return torch.baddbmm(self.bias[chosen], x, self.weight[chosen])


class EnsembleLayerNorm(nn.Module):
    """Layer normalisation with its own gain and offset per member, (M, B, O)."""

    def __init__(self, members: int, size: int) -> None:
        super().__init__()
        self.size = (size,)
        self.gain = nn.Parameter(torch.ones(members, 1, size))
        self.offset = nn.Parameter(torch.zeros(members, 1, size))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        x = nn.functional.layer_norm(x, self.size)
        if chosen is None:
            return torch.addcmul(self.offset, x, self.gain)
        return torch.addcmul(self.offset[chosen], x, self.gain[chosen])


class CriticEnsemble(nn.Module):
    """Q of the full (base + residual) action for every member in one batched computation.

    The last layer starts near zero: an untrained critic that prefers arbitrary actions would drive
    the residual away from the base policy before it has seen any reward.
    """

    def __init__(
        self, members: int, feature_dim: int, action_dim: int, width: int, layers: int
    ) -> None:
        super().__init__()
        self.members = members
        self.linears = nn.ModuleList()
        self.norms = nn.ModuleList()
        size = feature_dim + action_dim
        for _ in range(layers):
            self.linears.append(EnsembleLinear(members, size, width))
            self.norms.append(EnsembleLayerNorm(members, width))
            size = width
        self.head = EnsembleLinear(members, size, 1, gain=0.01)

    def forward(self, features: Tensor, action: Tensor, chosen: Tensor | None = None) -> Tensor:
        """features (B, F), action (B, A) normalised to Q (M, B), or (len(chosen), B)."""
        members = self.members if chosen is None else len(chosen)
        x = torch.cat((features, action), dim=-1).expand(members, -1, -1)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = torch.relu(norm(linear(x, chosen), chosen))
        return self.head(x, chosen).squeeze(-1)
