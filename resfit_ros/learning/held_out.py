"""What critics say of data they do, or do not, learn from: TD errors, and Q against observed returns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Float64, Outcome
from resfit_ros.learning.diagnostics import discounted_returns
from resfit_ros.learning.replay import ReplayBuffer, sample_batch
from resfit_ros.learning.trainer import Trainer

TRANSITIONS = 512  # that a TD error is the mean over
CALIBRATION_BINS = 10


def split_held_out(
    episodes: Sequence[AssembledEpisode], fraction: float, seed: int
) -> tuple[list[AssembledEpisode], list[AssembledEpisode]]:
    """(to learn from, held out): a share of the whole episodes, drawn at random within each outcome.

    Rounded, but at least one of every outcome that two or more episodes have, unless fraction is 0.
    """
    rng, held = np.random.default_rng(seed), set()
    for outcome in Outcome:
        alike = [i for i, e in enumerate(episodes) if e.end.outcome is outcome]
        if fraction and len(alike) > 1:
            count = min(len(alike) - 1, max(1, round(fraction * len(alike))))
            held.update(rng.choice(alike, count, replace=False).tolist())
    kept = [e for i, e in enumerate(episodes) if i not in held]
    return kept, [episodes[i] for i in sorted(held)]


class TDProbe:
    """Mean |Q - TD target| over the same transitions each time; leaves the training's random stream alone."""

    def __init__(self, trainer: Trainer, parts: Sequence[tuple[ReplayBuffer, int]]) -> None:
        """parts: buffers and how many transitions to draw of each, now."""
        c = trainer.config
        self._agent = trainer.agent
        self._batch, _ = sample_batch(parts, c.n_step, c.discount, np.random.default_rng(c.seed))

    @torch.no_grad()
    def __call__(self) -> tuple[float, float]:
        """(mean absolute TD error, mean Q)."""
        agent = self._agent
        state = agent.generator.get_state()
        agent.generator.manual_seed(0)  # the same smoothing noise and members each time
        try:
            batch = self._batch.to(agent.device)
            _, target = agent.td_target(batch)
            q = agent.q_values(batch.observation, batch.action)
        finally:
            agent.generator.set_state(state)
        return float((q - target).abs().mean()), float(q.mean())


def probe_of_episodes(trainer: Trainer, episodes: Sequence[AssembledEpisode]) -> TDProbe | None:
    """A probe of episodes that are in no buffer; None: there is not a step of them."""
    segments = [s for e in episodes for s in e.segments]
    if not segments:
        return None
    rows = sum(len(s) + 1 for s in segments)
    buffer = trainer.buffer_of(rows)
    for segment in segments:
        trainer.store(buffer, segment)
    return TDProbe(trainer, [(buffer, TRANSITIONS)])


@dataclass(frozen=True, eq=False)
class Calibration:
    """Q of recorded actions and the return observed from each, float64 (K,).

    truncated: bool (K,), steps of timeouts and gaps, whose observed return is a lower bound.
    """

    q: Float64
    returns: Float64
    truncated: np.ndarray

    def binned(self, bins: int = CALIBRATION_BINS) -> list[dict[str, float]]:
        """Mean Q and mean return of equally wide bins of Q that hold a step, with their counts."""
        if not len(self.q):
            return []
        edges = np.linspace(self.q.min(), self.q.max(), bins + 1)
        index = np.clip(np.searchsorted(edges, self.q, side="right") - 1, 0, bins - 1)
        rows = []
        for i in range(bins):
            chosen = index == i
            if chosen.any():
                returns = self.returns[chosen]
                rows.append(
                    {
                        "q": float(self.q[chosen].mean()),
                        "return": float(returns.mean()),
                        "return_std": float(returns.std()),
                        "count": int(chosen.sum()),
                        "truncated": int(self.truncated[chosen].sum()),
                    }
                )
        return rows

    def figures(self) -> dict[str, float | None]:
        """Means, bias Q - return, mean absolute error, and correlation (None: one of them is constant)."""
        if not len(self.q):
            return {}
        error = self.q - self.returns
        varies = self.q.std() > 1e-12 and self.returns.std() > 1e-12
        correlation = float(np.corrcoef(self.q, self.returns)[0, 1]) if varies else math.nan
        return {
            "steps": len(self.q),
            "q_mean": float(self.q.mean()),
            "return_mean": float(self.returns.mean()),
            "bias": float(error.mean()),
            "mean_absolute_error": float(np.abs(error).mean()),
            "correlation": None if math.isnan(correlation) else correlation,
            "truncated_share": float(self.truncated.mean()),
        }


def calibrate(trainer: Trainer, episodes: Sequence[AssembledEpisode]) -> Calibration:
    """The critics asked about every step of the episodes."""
    q, returns, truncated = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, bool)]
    for episode in episodes:
        for segment in episode.segments:
            q.append(trainer.q_values(segment).astype(np.float64))
            returns.append(discounted_returns(segment.rewards, trainer.config.discount))
            truncated.append(np.full(len(segment), not segment.terminal))
    return Calibration(np.concatenate(q), np.concatenate(returns), np.concatenate(truncated))
