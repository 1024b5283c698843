"""Step-indexed bookkeeping of action chunks, the same online and for labelling demonstrations."""

import enum
from collections import Counter
from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import ActionChunk, Float32


class ChunkVerdict(enum.Enum):
    """What became of a chunk handed to the buffer."""

    ACCEPTED = "accepted"
    WRONG_EPISODE = "wrong episode"
    DUPLICATE = "duplicate"
    STALE = "older than one that is there"
    LATE = "arrived after its last action was due"
    SHORT = "fewer actions than execute_steps + prefetch_steps + blend_steps"
    WRONG_SIZE = "wrong action dimension"
    NON_FINITE = "NaN or Inf"


@dataclass(frozen=True)
class Chunking:
    """When a chunk is asked for, from which step on it is used, and how it meets the one before.

    A chunk is computed from the observation of every `execute_steps`-th step and used from
    `prefetch_steps` later on (the first one at once, there is none before it), so that a policy has
    that many control periods to answer without anybody waiting for it.
    """

    execute_steps: int = 8
    prefetch_steps: int = 0
    blend_steps: int = 0  # from the chunk before into the new one, linearly
    temporal_ensembling: bool = False  # average of all chunks in use (ACT, arXiv 2304.13705, section IV-B)
    ensemble_decay: float = 0.01  # weight exp(-decay i) of the i-th oldest chunk

    def __post_init__(self) -> None:
        if self.execute_steps < 1:
            raise ConfigError(f"execute_steps must be at least 1, got {self.execute_steps}")
        if self.prefetch_steps < 0 or self.blend_steps < 0:
            raise ConfigError("prefetch_steps and blend_steps must be at least 0")
        if self.temporal_ensembling and self.blend_steps:
            raise ConfigError("temporal_ensembling averages at every step: set blend_steps to 0")
        if self.blend_steps > self.execute_steps:
            raise ConfigError(
                f"blend_steps {self.blend_steps} is more than execute_steps {self.execute_steps}: the next chunk would "
                "take over in the middle of a blend, and the base action would jump; lower blend_steps"
            )

    @property
    def least_horizon(self) -> int:
        """Actions a chunk needs to last until the next one has taken over on time, blend included."""
        return self.execute_steps + self.prefetch_steps + self.blend_steps

    def is_request(self, step: int) -> bool:
        """Whether a chunk is computed from the observation of `step`."""
        return step % self.execute_steps == 0

    def first_use(self, chunk_step: int) -> int:
        """Step from which the chunk computed from step `chunk_step` is used when it is not late."""
        return chunk_step + self.prefetch_steps if chunk_step else 0

    def required_chunk_step(self, step: int) -> int:
        """Step whose observation the newest chunk in use at `step` is computed from, nothing being late."""
        due = step - self.prefetch_steps
        return max(0, due - due % self.execute_steps)

    def phase(self, chunk_step: int, step: int) -> float:
        """Position within the executed part of a chunk, in [0, 1)."""
        row = step - self.first_use(chunk_step)
        return min(max(row, 0), self.execute_steps - 1) / self.execute_steps


class ChunkBuffer:
    """Holds the chunks of the running episode and hands out one base action per step.

    Chunks are indexed by step: one that comes late takes over at the current step, never at its
    first row. Where no chunk in use covers a step, one that is there too early is used.
    """

    def __init__(self, action_dim: int, chunking: Chunking) -> None:
        self.action_dim = action_dim
        self.chunking = chunking
        self.counts: Counter[ChunkVerdict] = Counter()
        self.reset(0)

    def reset(self, episode_id: int) -> None:
        """Flushes every chunk; only chunks of `episode_id` are accepted from now on."""
        self._episode_id = episode_id
        self._chunks: list[ActionChunk] = []  # by step
        self._newest_step = -1
        self._active: ActionChunk | None = None
        self._before: ActionChunk | None = None
        self._took_over_at = 0

    def add(self, chunk: ActionChunk, current_step: int = 0) -> ChunkVerdict:
        """Takes `chunk`, or says why not. `current_step`: the next step an action is needed for."""
        verdict = self._judge(chunk, current_step)
        self.counts[verdict] += 1
        if verdict is ChunkVerdict.ACCEPTED:
            self._chunks = [c for c in self._chunks if _covers(c, current_step)] + [chunk]
            self._newest_step = chunk.step
        return verdict

    def _judge(self, chunk: ActionChunk, current_step: int) -> ChunkVerdict:
        if chunk.episode_id != self._episode_id:
            return ChunkVerdict.WRONG_EPISODE
        if chunk.actions.ndim != 2 or chunk.actions.shape[1] != self.action_dim or not len(chunk.actions):
            return ChunkVerdict.WRONG_SIZE
        if not np.all(np.isfinite(chunk.actions)):
            return ChunkVerdict.NON_FINITE
        if chunk.step == self._newest_step:
            return ChunkVerdict.DUPLICATE
        if chunk.step < self._newest_step:
            return ChunkVerdict.STALE
        if len(chunk.actions) < self.chunking.least_horizon:
            return ChunkVerdict.SHORT
        if chunk.step + len(chunk.actions) <= current_step:
            return ChunkVerdict.LATE
        return ChunkVerdict.ACCEPTED

    def is_fresh(self, step: int) -> bool:
        """True when the chunk that `step` should use has arrived (lockstep waits for it)."""
        required = self.chunking.required_chunk_step(step)
        return any(required <= c.step <= step for c in self._chunks)

    def action(self, step: int) -> tuple[Float32, float] | None:
        """(base action (A,), phase in [0, 1)) for `step`; None when no chunk covers it.

        Steps are asked for in ascending order.
        """
        covering = [c for c in self._chunks if _covers(c, step)]
        if not covering:
            return None
        due = [c for c in covering if self.chunking.first_use(c.step) <= step] or covering[-1:]
        chunk = due[-1]
        if chunk is not self._active:
            self._before, self._active, self._took_over_at = self._active, chunk, step
        phase = self.chunking.phase(chunk.step, step)
        if self.chunking.temporal_ensembling:
            return self._ensemble(due, step), phase
        return self._blended(chunk, step), phase

    def _ensemble(self, due: list[ActionChunk], step: int) -> Float32:
        if len(due) == 1:
            return _row(due[0], step)
        weights = np.exp(-self.chunking.ensemble_decay * np.arange(len(due)))
        rows = np.stack([_row(c, step) for c in due]).astype(np.float64)
        return (weights / weights.sum() @ rows).astype(np.float32)

    def _blended(self, chunk: ActionChunk, step: int) -> Float32:
        new, before = _row(chunk, step), self._before
        blended = step - self._took_over_at
        if before is None or blended >= self.chunking.blend_steps or not _covers(before, step):
            return new
        share = np.float32((blended + 1) / (self.chunking.blend_steps + 1))
        return _row(before, step) * (1 - share) + new * share


def _covers(chunk: ActionChunk, step: int) -> bool:
    return chunk.step <= step < chunk.step + len(chunk.actions)


def _row(chunk: ActionChunk, step: int) -> Float32:
    return chunk.actions[step - chunk.step]
