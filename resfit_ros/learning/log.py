"""The learner's curves: TensorBoard, and a plain file beside it for plots without its reader."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from resfit_ros.core.run_layout import LEARNING_LOG, TENSORBOARD
from resfit_ros.learning.worker import Progress

# What LearnerStatus calls otherwise: TensorBoard shows its fields under their own names, too.
GRADIENT_UPDATES, DEAD_SHARE = "gradient_updates", "dead_share"


class LearningLog:
    """Appends to the curves in `run_dir`; a full disk stops a curve, never the learner.

    `problem`: what is not being written and why, or "".
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self.problem = ""
        self._board = None
        self._open_board()

    def _open_board(self) -> None:
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._board = SummaryWriter(str(self._run_dir / TENSORBOARD))
        except OSError as error:
            self._lose_board(error)

    def _lose_board(self, error: OSError) -> None:
        self._board = None  # its thread has ended: this one takes nothing more
        self.problem = f"TensorBoard's log is not written ({error}); free some disk space"

    def write(self, now: Progress, warnings: Sequence[str]) -> None:
        """Appends one point to each curve."""
        self.problem = ""
        scalars = dataclasses.asdict(now) | now.metrics
        line = {k: v for k, v in scalars.items() if k not in ("metrics", "phase")}
        line["warnings"] = list(warnings)
        try:
            with (self._run_dir / LEARNING_LOG).open("a") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            self.problem = f"the learning log was not written ({error}); free some disk space"
            return
        if self._board is None:
            self._open_board()  # in a file of its own, which TensorBoard shows as the same curve
        self._write_board(scalars | _named_as_in_status(scalars), now.env_steps)

    def _write_board(self, scalars: dict[str, object], env_steps: int) -> None:
        try:
            for name, value in scalars.items():
                if self._board is not None and isinstance(value, int | float) and value == value:
                    self._board.add_scalar(f"learner/{name}", value, env_steps)
        except OSError as error:
            self._lose_board(error)

    def close(self) -> None:
        """Writes what is left."""
        if self._board is not None:
            with suppress(OSError):
                self._board.close()


def _named_as_in_status(scalars: dict[str, object]) -> dict[str, object]:
    dead = [scalars[n] for n in ("dead_share_critic", "dead_share_actor") if n in scalars]
    worst = {DEAD_SHARE: max(dead)} if dead else {}
    return {GRADIENT_UPDATES: scalars["critic_updates"]} | worst
