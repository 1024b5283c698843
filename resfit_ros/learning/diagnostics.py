"""Figures that tell why a run learns or does not: Q against returns, dead units, gradients, saturation.

Nothing here changes training; `learning/advice.py` puts the figures into words.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import Float32, Float64, LearnerPhase, Segment

CALIBRATION_EPISODES = 50
SATURATED_RATIO = 0.95  # a joint counts as saturated above this mean |residual| / scale
UNKNOWN = math.nan

# Figures that training computes itself: one that is not finite is a fault, not a lack of data.
TRAINING_FIGURES = (
    "critic_loss",
    "actor_loss",
    "q_mean",
    "q_spread",
    "target_mean",
    "critic_grad_norm",
    "actor_grad_norm",
)


def discounted_returns(rewards: Float32, discount: float) -> Float64:
    """Monte Carlo return from each step, rewards (K,) to float64 (K,): G_k = r_k + discount G_{k+1}.

    Rewards after the last one are taken as zero.
    """
    returns = np.zeros(len(rewards), np.float64)
    following = 0.0
    for k in reversed(range(len(rewards))):
        following = float(rewards[k]) + discount * following
        returns[k] = following
    return returns


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """Q and return at each step of one segment, (K,) each."""

    q: Float64
    returns: Float64
    succeeded: bool
    truncated: bool


class ReturnCalibration:
    """Q against observed returns, over the newest segments (one per episode where nothing was lost).

    value(segment) gives Q(o_k, executed a_k), the mean over the ensemble, (K,). It is asked once, when
    the segment arrives: before the critics have learnt from it. Begin when they have learnt at all.

    A segment that is not terminal (timeout, gap) shows only part of its return. What was seen is then
    a lower bound (rewards are never negative) and counts as such: leaving timeouts out would leave
    mostly successes, and no overestimation would ever show. So `q_bias` is the most the critics may
    overestimate, and `truncated_share` says how much of it rests on such bounds.
    """

    def __init__(
        self,
        discount: float,
        value: Callable[[Segment], Float32],
        episodes: int = CALIBRATION_EPISODES,
    ) -> None:
        self.discount = discount
        self._value = value
        self._window: collections.deque[_Observed] = collections.deque(maxlen=episodes)

    def __len__(self) -> int:
        """Segments in the window."""
        return len(self._window)

    def add(self, segment: Segment) -> None:
        """Compares one finished segment; raises ShapeError when `value` gives no Q of shape (K,)."""
        if len(segment) == 0:
            return
        q = np.asarray(self._value(segment), np.float64)
        if q.shape != (len(segment),):
            raise ShapeError(
                f"return calibration: value(segment) gave shape {q.shape} for episode "
                f"{segment.episode_id}; it must give one Q per step, ({len(segment)},)"
            )
        returns = discounted_returns(segment.rewards, self.discount)
        succeeded = bool(np.any(segment.rewards > 0))
        self._window.append(_Observed(q, returns, succeeded, not segment.terminal))

    def metrics(self) -> dict[str, float]:
        """The figures known so far, each step of the window counting alike.

        q_observed, return_observed: means. q_bias: mean of Q - return. q_correlation: Pearson's.
        q_success, q_failure: mean Q over segments with and without success. q_episodes: segments in
        the window; truncated_share: of them. What is not known yet, e.g. q_success before the first
        success, is left out.
        """
        if not self._window:
            return {}
        q = np.concatenate([s.q for s in self._window])
        returns = np.concatenate([s.returns for s in self._window])
        figures = {
            "q_observed": q.mean(),
            "return_observed": returns.mean(),
            "q_bias": (q - returns).mean(),
            "q_correlation": _correlation(q, returns),
            "q_success": self._mean_q(succeeded=True),
            "q_failure": self._mean_q(succeeded=False),
            "q_episodes": len(self._window),
            "truncated_share": np.mean([s.truncated for s in self._window]),
        }
        return {name: float(value) for name, value in figures.items() if math.isfinite(value)}

    def _mean_q(self, succeeded: bool) -> float:
        chosen = [s.q for s in self._window if s.succeeded is succeeded]
        return float(np.concatenate(chosen).mean()) if chosen else UNKNOWN


def _correlation(a: Float64, b: Float64) -> float:
    """Pearson's correlation; NaN where one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 1e-12 else UNKNOWN


@torch.no_grad()
def dead_units(activations: Tensor) -> Tensor:
    """Share of hidden units that are zero for the whole batch: a scalar tensor, not yet synchronised.

    activations: one layer's output after its ReLU, (B, W), or (M, B, W) of an ensemble. Such units
    pass no gradient on this batch; a growing share is lost plasticity (arXiv 2302.12902).
    Raises ShapeError on another number of dimensions.
    """
    if activations.dim() not in (2, 3):
        raise ShapeError(
            f"dead units: activations have shape {tuple(activations.shape)}; give (B, W) or (M, B, W)"
        )
    return (activations <= 0).all(dim=-2).float().mean()


@torch.no_grad()
def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """L2 norm over all gradients: a scalar tensor, not yet synchronised; 0 where there are none.

    Call it before clipping: `clip_grad_norm_` returns the same figure for free.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros(())
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))


@torch.no_grad()
def saturated_joints(ratio: Tensor) -> Tensor:
    """Share of joints pressed against their bound: mean |ratio| over the batch above 0.95.

    ratio: residual / scale, (B, A), in [-1, 1]. A scalar tensor, not yet synchronised. Raises
    ShapeError on another number of dimensions.
    """
    if ratio.dim() != 2:
        raise ShapeError(f"saturated joints: ratio has shape {tuple(ratio.shape)}; give (B, A)")
    return (ratio.abs().mean(dim=0) > SATURATED_RATIO).float().mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The figures of one moment; NaN is "not known". Shares and ratios lie in [0, 1]."""

    # Residual
    residual_ratio: float = UNKNOWN  # mean |residual| / scale
    saturated_share: float = UNKNOWN  # of residual components, above 95 % of the scale
    saturated_joints: float = UNKNOWN  # of joints, see `saturated_joints`
    residual_scale: float = UNKNOWN  # normalised action space, as it is used now
    exploration_std: float = UNKNOWN  # normalised action space, as it is used now
    # Critics
    critic_loss: float = UNKNOWN
    q_mean: float = UNKNOWN  # over the batch and the ensemble
    q_spread: float = UNKNOWN  # standard deviation over the ensemble
    target_mean: float = UNKNOWN
    q_bias: float = UNKNOWN  # Q - observed return, see ReturnCalibration
    q_correlation: float = UNKNOWN
    q_episodes: float = 0  # that the three figures around this one are taken over
    return_observed: float = UNKNOWN
    # Networks; gradient norms before clipping
    critic_grad_norm: float = UNKNOWN
    actor_grad_norm: float = UNKNOWN
    dead_share_critic: float = UNKNOWN  # of the hidden layer with most dead units
    dead_share_actor: float = UNKNOWN
    # Data
    demo_share: float = UNKNOWN  # of the batch
    update_lag: float = UNKNOWN  # owed updates / UTD, environment steps
    success_rate: float = UNKNOWN  # newest window of episodes
    success_rate_start: float = UNKNOWN  # first full window of episodes
    # Progress
    phase: LearnerPhase = LearnerPhase.WAITING
    env_steps: int = 0
    episodes: int = 0
    critic_updates: int = 0
    actor_updates: int = 0
    non_finite: tuple[str, ...] = ()  # training figures that are infinite or not a number

    @classmethod
    def of(cls, metrics: Mapping[str, float], **figures: Any) -> Self:
        """From metrics by name, those of no field passed over; `figures` are fields given directly.

        A metric that is there but not finite is noted in `non_finite`.
        """
        fields = {f.name for f in dataclasses.fields(cls)}
        known = {name: float(value) for name, value in metrics.items() if name in fields}
        broken = tuple(n for n in TRAINING_FIGURES if not math.isfinite(metrics.get(n, 0.0)))
        return cls(**({"non_finite": broken} | known | figures))
