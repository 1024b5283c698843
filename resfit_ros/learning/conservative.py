"""Conservative regularisation of critics that learn from recorded data: CQL and Cal-QL.

Recorded data say nothing about actions nobody took; bootstrapping then believes in the best of them.
CQL (arXiv 2006.04779, eq. 4) pushes their values down and those of the recorded actions up. Cal-QL
(arXiv 2303.05479, eq. 5.1) pushes no value below the return that was observed from the same step, so
that fine-tuning need not first unlearn a pessimism.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from resfit_ros.core.types import Float32, Segment
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.diagnostics import discounted_returns

if TYPE_CHECKING:
    from resfit_ros.learning.agent import Agent
    from resfit_ros.learning.replay import SampledRows


def sampled_actions(agent: Agent, observation: ObservationBatch, features: Tensor) -> Tensor:
    """Actions whose values are pushed down, (B, 2n, A), normalised.

    n uniform in the box that the residual is bounded by, n around the actor's own residual, noisy as
    in target policy smoothing and clamped to the box.
    """
    c, scale, device = agent.config, agent.residual_scale, agent.device
    with torch.no_grad():
        start, residual = agent.start_of(observation), agent.residual(features)
        shape = len(start), c.conservative_actions, start.shape[-1]
        uniform = torch.rand(shape, generator=agent.generator, device=device).mul_(2.0).sub_(1.0) * scale
        noise = torch.randn(shape, generator=agent.generator, device=device)
        noise = (noise * c.target_noise).clamp_(-c.target_noise_clip, c.target_noise_clip) * scale
        near = (residual[:, None] + noise).clamp_(-scale, scale)
        return start[:, None] + torch.cat((uniform, near), dim=1)


def conservative_loss(
    agent: Agent,
    observation: ObservationBatch,
    features: Tensor,
    q_data: Tensor,
    observed_return: Tensor | None = None,
) -> Tensor:
    """Soft maximum of Q over sampled actions less Q of the recorded one, averaged over batch and members.

    q_data: Q of the recorded actions, (M, B). observed_return: (B,), Cal-QL's lower bound of what is
    pushed down; None: CQL. For distributional critics Q is the expectation of their distribution.
    """
    actions = sampled_actions(agent, observation, features)
    rows, count = actions.shape[:2]
    outputs = agent.critic(features.repeat_interleave(count, dim=0), actions.flatten(0, 1))
    q = agent.values.value(outputs).unflatten(-1, (rows, count))
    if observed_return is not None:
        # Equation 5.1 of Cal-QL bounds the policy's actions; the uniform ones come first.
        uniform, near = q.tensor_split(2, dim=-1)
        q = torch.cat((uniform, torch.maximum(near, observed_return[:, None].to(q.dtype))), dim=-1)
    temperature = agent.config.conservative_temperature
    soft_maximum = temperature * (torch.logsumexp(q / temperature, dim=-1) - math.log(count))
    return (soft_maximum - q_data).mean()


class ObservedReturns:
    """Monte Carlo return from each row of a replay buffer, counted as the buffer counts its rows.

    capacity: that of the buffer. A segment that was cut off (timeout, gap) shows a part of its return:
    with rewards that are never negative that is a lower bound as well.
    """

    def __init__(self, capacity: int, discount: float) -> None:
        self._returns = np.zeros(capacity, np.float32)
        self._discount = discount
        self._rows = 0

    def add(self, segment: Segment) -> None:
        """Takes a segment that has been added to the buffer."""
        if not len(segment):
            return
        values = np.append(discounted_returns(segment.rewards, self._discount), 0.0)
        slots = np.arange(self._rows, self._rows + len(values)) % len(self._returns)
        self._returns[slots] = values
        self._rows += len(values)

    def of(self, rows: np.ndarray) -> Float32:
        """(count,) returns of rows as the buffer numbers them."""
        return self._returns[rows % len(self._returns)]


def returns_of_batch(rows: SampledRows, known: dict[int, ObservedReturns]) -> Tensor:
    """(B,) observed returns of a batch; `known`: by `id` of the buffer."""
    return torch.from_numpy(np.concatenate([known[id(buffer)].of(drawn) for buffer, drawn in rows.parts]))
