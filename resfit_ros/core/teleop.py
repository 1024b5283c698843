"""A human's joint commands as targets of the safety filter."""

import numpy as np

from resfit_ros.core.command_path import CommandFollower, CommandPath
from resfit_ros.core.types import Float64


class TeleopFollower:
    """Follows the newest teleop command until it has been silent for `timeout_ns`; 0: takes none."""

    def __init__(self, timeout_ns: int, tick_ns: int, interval_ns: int) -> None:
        """interval_ns: a single target without a duration is reached in so long."""
        self._timeout_ns, self._tick_ns = timeout_ns, tick_ns
        self._interval_s = interval_ns * 1e-9
        self._follower = CommandFollower()
        self._received_ns: int | None = None

    def active(self, now_ns: int) -> bool:
        """Whether a human drives."""
        return self._received_ns is not None and now_ns - self._received_ns <= self._timeout_ns

    def receive(self, path: CommandPath, here: Float64 | None, now_ns: int) -> None:
        """Takes a command; the first one sets out from `here` (A,), the set point, None: unknown."""
        if not self._timeout_ns:
            return
        if not self.active(now_ns):
            self._follower = CommandFollower(here)
        shown = np.maximum(path.times_s, self._interval_s) if len(path.times_s) == 1 else path.times_s
        self._follower.receive(CommandPath(shown, path.positions), now_ns)
        self._received_ns = now_ns

    def target(self, now_ns: int) -> Float64 | None:
        """Where the human wants the joints at the next tick, (A,); None where nobody drives."""
        return self._follower.at(now_ns + self._tick_ns) if self.active(now_ns) else None

    def forget(self) -> None:
        """Nobody drives until the next command."""
        self._received_ns = None
