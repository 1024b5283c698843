"""Ticks that come just after the actions they are for, on injected time."""

MARGIN = 0.1  # of a tick, between an action's usual arrival and the tick for it
DEAD_BAND = 0.15  # of a tick: as late as this is early enough
LONGEST = 0.05  # a tick is lengthened by this share at most
AVERAGE = 0.1  # rate of the running average of arrivals


class PhaseLock:
    """Shifts a train of ticks until one of them follows the arrival of actions closely.

    Without it an action waits half a tick on average. Ticks are only ever lengthened, so that no set
    points follow each other faster than the limits were computed for.
    """

    def __init__(self, tick_ns: int) -> None:
        self._tick_ns = tick_ns
        self._phase_ns: float | None = None  # usual arrival, modulo a tick

    def on_action(self, now_ns: int) -> None:
        """An action has just arrived."""
        phase_ns = now_ns % self._tick_ns
        if self._phase_ns is None:
            self._phase_ns = float(phase_ns)
            return
        self._phase_ns += AVERAGE * self._around(phase_ns - self._phase_ns)
        self._phase_ns %= self._tick_ns

    def _around(self, difference_ns: float) -> float:
        """The shorter way round, in [-tick/2, tick/2)."""
        half = self._tick_ns / 2
        return (difference_ns + half) % self._tick_ns - half

    def until_next(self, now_ns: int) -> int:
        """At a tick: ns until the next one, between 1 and 1 + LONGEST ticks."""
        tick = self._tick_ns
        if self._phase_ns is None:
            return tick
        late = (now_ns - self._phase_ns - MARGIN * tick) % tick
        if late <= DEAD_BAND * tick:
            return tick
        return tick + round(min(tick - late, LONGEST * tick))
