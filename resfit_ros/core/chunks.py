"""Step-indexed bookkeeping of action chunks, the same online and for labelling demonstrations."""

import enum
from collections import Counter

import numpy as np

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import ActionChunk, Float32


class ChunkVerdict(enum.Enum):
    """What became of a chunk handed to the buffer."""

    ACCEPTED = "accepted"
    WRONG_EPISODE = "wrong episode"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "older than the chunk in use"
    LATE = "arrived after its last action was due"
    WRONG_SIZE = "wrong action dimension"
    NON_FINITE = "NaN or Inf"


def required_chunk_step(step: int, execute_steps: int) -> int:
    """Step whose observation the chunk for `step` is computed from when nothing is late."""
    return step - step % execute_steps


class ChunkBuffer:
    """Holds the newest chunk of the running episode and hands out one base action per step.

    `execute_steps` actions of each chunk are executed before the next one takes over; a chunk that
    comes late takes over at the current step, never at its first row.
    """

    def __init__(self, action_dim: int, execute_steps: int) -> None:
        if execute_steps < 1:
            raise ConfigError(f"execute_steps must be at least 1, got {execute_steps}")
        self.action_dim = action_dim
        self.execute_steps = execute_steps
        self.counts: Counter[ChunkVerdict] = Counter()
        self._episode_id = 0
        self._chunk: ActionChunk | None = None

    def reset(self, episode_id: int) -> None:
        """Flushes every chunk; only chunks of `episode_id` are accepted from now on."""
        self._episode_id = episode_id
        self._chunk = None

    def add(self, chunk: ActionChunk, current_step: int = 0) -> ChunkVerdict:
        """Takes `chunk`, or says why not. `current_step`: the next step an action is needed for."""
        verdict = self._judge(chunk, current_step)
        self.counts[verdict] += 1
        if verdict is ChunkVerdict.ACCEPTED:
            self._chunk = chunk
        return verdict

    def _judge(self, chunk: ActionChunk, current_step: int) -> ChunkVerdict:
        if chunk.episode_id != self._episode_id:
            return ChunkVerdict.WRONG_EPISODE
        if chunk.actions.ndim != 2 or chunk.actions.shape[1] != self.action_dim or not len(chunk.actions):
            return ChunkVerdict.WRONG_SIZE
        if not np.all(np.isfinite(chunk.actions)):
            return ChunkVerdict.NON_FINITE
        if self._chunk is not None and chunk.step == self._chunk.step:
            return ChunkVerdict.DUPLICATE
        if self._chunk is not None and chunk.step < self._chunk.step:
            return ChunkVerdict.OUT_OF_ORDER
        if chunk.step + len(chunk.actions) <= current_step:
            return ChunkVerdict.LATE
        return ChunkVerdict.ACCEPTED

    def is_fresh(self, step: int) -> bool:
        """True when the chunk that `step` should use has arrived (lockstep waits for it)."""
        required = required_chunk_step(step, self.execute_steps)
        return self._chunk is not None and required <= self._chunk.step <= step

    def action(self, step: int) -> tuple[Float32, float] | None:
        """(base action (A,), phase in [0, 1)) for `step`; None when no chunk covers it."""
        chunk = self._chunk
        if chunk is None or not chunk.step <= step < chunk.step + len(chunk.actions):
            return None
        row = step - chunk.step
        phase = min(row, self.execute_steps - 1) / self.execute_steps
        return chunk.actions[row], phase
