"""Commands of an existing controller as positions over time."""

from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import Float64


@dataclass(frozen=True, eq=False)
class CommandPath:
    """Where a command wants the joints: positions float64 (N, A) at times_s (N,) after its arrival.

    A single target without a duration has times_s [0]. velocities and accelerations (N, A) are those
    the command itself asks for, None where it names none. plain: it asks for nothing beyond these,
    such as joints of somebody else.
    """

    times_s: Float64
    positions: Float64
    velocities: Float64 | None = None
    accelerations: Float64 | None = None
    plain: bool = True

    def __post_init__(self) -> None:
        if self.positions.ndim != 2 or self.times_s.shape != (len(self.positions),) or not len(self.positions):
            raise ShapeError(
                f"command: {len(self.times_s)} times do not go with positions of shape {self.positions.shape}"
            )
        if not (np.all(np.isfinite(self.positions)) and np.all(np.isfinite(self.times_s))):
            raise ShapeError("command holds NaN or Inf")
        for name in ("velocities", "accelerations"):
            values = getattr(self, name)
            if values is not None and not (values.shape == self.positions.shape and np.all(np.isfinite(values))):
                raise ShapeError(f"command: {name} are not finite, or not one per joint and point")
        if np.any(np.diff(self.times_s) <= 0) or self.times_s[0] < 0:
            raise ShapeError("command: time_from_start must ascend from point to point")


class CommandFollower:
    """The controller's newest command, evaluated at any time, straight from point to point."""

    def __init__(self, start: Float64 | None = None) -> None:
        """start: where the joints are before the first command, (A,); None: at its first point."""
        self._path: CommandPath | None = None
        self._start = start
        self._received_ns = 0

    def receive(self, path: CommandPath, now_ns: int) -> None:
        """Takes a command; it sets out from where the one before it is by now."""
        begin = self.at(now_ns)
        self._start = self._start if begin is None else begin
        self._path, self._received_ns = path, now_ns

    def at(self, now_ns: int) -> Float64 | None:
        """Position (A,) the controller wants at `now_ns`; None before its first command."""
        path = self._path
        if path is None:
            return None
        elapsed_s = (now_ns - self._received_ns) * 1e-9
        after = int(np.searchsorted(path.times_s, elapsed_s, side="right"))
        if after == len(path.times_s):
            return path.positions[-1]
        end, end_s = path.positions[after], path.times_s[after]
        if after:
            begin, begin_s = path.positions[after - 1], path.times_s[after - 1]
        else:
            begin, begin_s = (end if self._start is None else self._start), 0.0
        return begin + (end - begin) * ((elapsed_s - begin_s) / (end_s - begin_s))

    def velocity(self, now_ns: int) -> Float64 | None:
        """(A,) [1/s] at `now_ns`; None for a target without a duration, or without a command."""
        path = self._path
        if path is None or path.times_s[-1] == 0.0:
            return None
        elapsed_s = (now_ns - self._received_ns) * 1e-9
        after = int(np.searchsorted(path.times_s, elapsed_s, side="right"))
        if after == len(path.times_s):
            return np.zeros_like(path.positions[-1])
        begin_s = path.times_s[after - 1] if after else 0.0
        begin = path.positions[after - 1] if after else self._start
        if begin is None:
            return np.zeros_like(path.positions[-1])
        return (path.positions[after] - begin) / (path.times_s[after] - begin_s)

    def silent_s(self, now_ns: int) -> float:
        """How long the newest command has been at its end, [s]; infinite without one."""
        if self._path is None:
            return float("inf")
        return (now_ns - self._received_ns) * 1e-9 - float(self._path.times_s[-1])
