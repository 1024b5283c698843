"""What a critic's last layer means: a value, or a distribution of returns over fixed bins.

Each kind turns the last layer's outputs into Q, a target into what is compared with, and both into a
loss per transition and member.
"""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from resfit_ros.core.learning_config import C51, HL_GAUSS, LearningConfig

START_SPREAD = 0.05  # of an untrained distribution about zero, share of the range of returns


class ValueHead(Protocol):
    """outputs: (M, B, `size`) of the last layer; reward, discount (B,)."""

    size: int

    def initial_bias(self) -> Tensor:
        """Of the last layer, (`size`,): an untrained critic expects a return near zero."""

    def value(self, outputs: Tensor) -> Tensor:
        """Q, (M, B)."""

    def target(self, outputs: Tensor, reward: Tensor, discount: Tensor) -> tuple[Tensor, Tensor]:
        """(what `loss` compares with, its value (B,)): the least of the members bootstrapped from."""

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """(M, B)."""


def make_value_head(config: LearningConfig) -> ValueHead:
    """The kind that the configuration asks for."""
    if config.critic_kind == C51:
        return CategoricalValue(config)
    return HistogramValue(config) if config.critic_kind == HL_GAUSS else ScalarValue(config)


class ScalarValue:
    """One number, squared TD error."""

    size = 1

    def __init__(self, config: LearningConfig) -> None:
        self._bounds = (config.value_min, config.value_max) if config.clip_targets else None

    def initial_bias(self) -> Tensor:
        return torch.zeros(1)

    def value(self, outputs: Tensor) -> Tensor:
        return outputs.squeeze(-1)

    def target(self, outputs: Tensor, reward: Tensor, discount: Tensor) -> tuple[Tensor, Tensor]:
        """r + discount min_m Q_m; REDQ, arXiv 2101.05982, eq. 1."""
        target = reward + discount * self.value(outputs).amin(dim=0)
        if self._bounds:
            target = target.clamp(*self._bounds)
        return target, target

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        return (self.value(outputs) - target).square()


class _Bins:
    """Equal bins from value_min to value_max and the expectation over them."""

    def __init__(self, config: LearningConfig) -> None:
        self.size = config.value_bins
        self.low, self.high = config.value_min, config.value_max
        self.centres = torch.linspace(self.low, self.high, self.size)

    def initial_bias(self) -> Tensor:
        # Evenly spread bins would promise the middle of the range from the start.
        distance = (self.centres - min(max(0.0, self.low), self.high)).abs()
        return -distance / (START_SPREAD * (self.high - self.low))

    def value(self, outputs: Tensor) -> Tensor:
        return outputs.softmax(dim=-1) @ self._centres_on(outputs)

    def _centres_on(self, like: Tensor) -> Tensor:
        if self.centres.device != like.device:
            self.centres = self.centres.to(like.device)
        return self.centres

    def loss(self, outputs: Tensor, target: Tensor) -> Tensor:
        """Cross entropy against the target's probabilities (B, bins)."""
        return -(target * log_softmax(outputs, dim=-1)).sum(dim=-1)


class CategoricalValue(_Bins):
    """C51 (arXiv 1707.06887): the whole distribution of returns is bootstrapped."""

    def target(self, outputs: Tensor, reward: Tensor, discount: Tensor) -> tuple[Tensor, Tensor]:
        """Projection of r + discount z onto the bins, z of the member whose expectation is least."""
        least = self.value(outputs).argmin(dim=0)
        chosen = outputs[least, torch.arange(len(least), device=outputs.device)].softmax(dim=-1)
        centres = self._centres_on(outputs)
        moved = (reward[:, None] + discount[:, None] * centres).clamp(self.low, self.high)
        position = (moved - self.low) / (self.high - self.low) * (self.size - 1)
        below = position.floor().clamp(max=self.size - 2)
        upper_share = position - below
        below = below.long()
        projected = torch.zeros_like(chosen)
        projected.scatter_add_(1, below, chosen * (1 - upper_share))
        projected.scatter_add_(1, below + 1, chosen * upper_share)
        return projected, projected @ centres


class HistogramValue(_Bins):
    """HL-Gauss (arXiv 2403.03950): the scalar target, smoothed by a Gaussian over the bins."""

    def __init__(self, config: LearningConfig) -> None:
        super().__init__(config)
        width = (self.high - self.low) / (self.size - 1)
        self._scale = config.hl_gauss_sigma * width * math.sqrt(2.0)
        # The outermost bins take all of the mass beyond them.
        self._edges = self.centres[:-1] + width / 2

    def target(self, outputs: Tensor, reward: Tensor, discount: Tensor) -> tuple[Tensor, Tensor]:
        """Bins' shares of a Gaussian about r + discount min_m Q_m, cut to [value_min, value_max]."""
        target = reward + discount * self.value(outputs).amin(dim=0)
        target = target.clamp(self.low, self.high)
        return self.probabilities(target), target

    def probabilities(self, target: Tensor) -> Tensor:
        """(B,) to (B, bins)."""
        if self._edges.device != target.device:
            self._edges = self._edges.to(target.device)
        below = 0.5 + 0.5 * torch.erf((self._edges - target[:, None]) / self._scale)
        zero, one = torch.zeros_like(below[:, :1]), torch.ones_like(below[:, :1])
        return torch.diff(torch.cat((zero, below, one), dim=1), dim=1)
