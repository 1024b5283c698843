"""Whether what a policy gave is a chunk that a robot may get."""

import numpy as np

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Float32, Reason


class UnfitChunk(DataError):
    """A chunk no robot may get, with the reason."""

    def __init__(self, sentence: str, reason: Reason) -> None:
        super().__init__(sentence)
        self.reason = reason


def checked_chunk(actions: object, action_dim: int, least_horizon: int = 1) -> Float32:
    """float32 (H, A). Raises DataError on too few rows, UnfitChunk on another shape, NaN or Inf."""
    chunk = np.asarray(actions, np.float32)
    if chunk.ndim != 2 or chunk.shape[1] != action_dim or not len(chunk):
        sentence = f"it gave a chunk of shape {chunk.shape}, expected (horizon, {action_dim})"
        raise UnfitChunk(sentence, Reason.WRONG_SIZE)
    if len(chunk) < least_horizon:
        raise DataError(
            f"it gave a chunk of {len(chunk)} actions, execute_steps + prefetch_steps + blend_steps needs {least_horizon}; lower one of them"
        )
    wrong = np.argwhere(~np.isfinite(chunk))
    if len(wrong):
        row, joint = wrong[0]
        sentence = f"its chunk holds NaN or Inf, first in row {row}, joint {joint}; the whole chunk is rejected"
        raise UnfitChunk(sentence, Reason.NON_FINITE)
    return chunk
