"""What the safety filter watches beside the commands, on injected time."""

from dataclasses import dataclass

from resfit_ros.core.types import Reason

CLOCK_JUMP_NS = 500_000_000


class TickWatch:
    """Counts ticks that did not happen: the computer was busy elsewhere."""

    def __init__(self, tick_ns: int, allowed: int) -> None:
        """allowed: fewer missed in a row than this are only counted; 0: any number."""
        self._tick_ns, self._allowed = tick_ns, allowed
        self._last_ns: int | None = None
        self.missed = 0  # since start

    def overloaded(self, now_ns: int) -> bool:
        """Call once per tick; True when too many were missed just before it."""
        last, self._last_ns = self._last_ns, now_ns
        if last is None:
            return False
        missed = max(0, round((now_ns - last) / self._tick_ns) - 1)
        self.missed += missed
        return bool(self._allowed) and missed >= self._allowed


class ClockWatch:
    """Notices when the ROS clock is set, by comparing its progress with the steady clock's."""

    def __init__(self) -> None:
        self._offset_ns: int | None = None
        self.jumps = 0

    def jumped(self, ros_ns: int, steady_ns: int) -> bool:
        """True when the two clocks moved apart by more than CLOCK_JUMP_NS since the last call."""
        if not ros_ns:  # simulated time that has not begun
            return False
        last, self._offset_ns = self._offset_ns, ros_ns - steady_ns
        jumped = last is not None and abs(self._offset_ns - last) > CLOCK_JUMP_NS
        self.jumps += jumped
        return jumped


@dataclass(frozen=True)
class Holding:
    """Who asks for a hold, and why."""

    reasons: Reason
    why: str


class HoldRequests:
    """Open requests to hold, one per source; a source takes back only its own."""

    def __init__(self) -> None:
        self._open: dict[str, Holding] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def ask(self, source: str, reasons: Reason, why: str) -> None:
        """Opens or replaces the request of `source`."""
        self._open[source] = Holding(reasons, why)

    def release(self, source: str) -> None:
        """Takes back the request of `source`, if there is one."""
        self._open.pop(source, None)

    @property
    def reasons(self) -> Reason:
        """All reasons together."""
        together = Reason.NONE
        for holding in self._open.values():
            together |= holding.reasons
        return together

    @property
    def words(self) -> str:
        """Every request in words, e.g. "/resfit/aggregator: camera 'wrist' is silent"."""
        return "; ".join(f"{source}: {holding.why}" for source, holding in self._open.items())


class Health:
    """Since when everything the robot needs has been there without a break."""

    def __init__(self, needed_ns: int) -> None:
        self._needed_ns = needed_ns
        self._since_ns: int | None = None
        self._missing = "inputs that were never seen"

    def note(self, missing: str, now_ns: int) -> None:
        """missing: what is not there now, in words; empty when all is well."""
        if missing:
            self._since_ns, self._missing = None, missing
        elif self._since_ns is None:
            self._since_ns = now_ns

    def refusal(self, now_ns: int) -> str | None:
        """Why it is too early, or None."""
        if not self._needed_ns:
            return None
        if self._since_ns is None:
            return f"not everything is there: {self._missing}"
        left_s = (self._needed_ns - (now_ns - self._since_ns)) * 1e-9
        return f"inputs must be there for {left_s:.1f} s more without a break" if left_s > 0 else None
