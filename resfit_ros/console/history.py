"""What the charts show: figures over the whole run in bounded memory."""

from collections.abc import Mapping

LONGEST = 600  # points; more than a screen can show


class History:
    """Points (time [s], one value or None per series); when full, every second point goes.

    The distance between points then doubles, so that the charts always span everything since the start.
    """

    def __init__(self, names: tuple[str, ...], period_s: float = 1.0, longest: int = LONGEST) -> None:
        """period_s: at first, the least time between two points."""
        self.names = names
        self.period_s = period_s
        self._longest = longest
        self._points: list[tuple[float, ...]] = []

    def add(self, time_s: float, values: Mapping[str, float | None]) -> bool:
        """Takes a point unless the last one is too recent; returns whether it did."""
        if self._points and time_s - self._points[-1][0] < self.period_s:
            return False
        self._points.append((round(time_s, 2), *(values.get(name) for name in self.names)))
        if len(self._points) > self._longest:
            del self._points[1::2]
            self.period_s *= 2
        return True

    @property
    def last(self) -> tuple[float, ...] | None:
        """The newest point."""
        return self._points[-1] if self._points else None

    def message(self) -> dict:
        """All of it, for a browser that has just connected."""
        return {"type": "history", "names": list(self.names), "points": self._points}
