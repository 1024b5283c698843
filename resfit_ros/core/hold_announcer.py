"""When a node tells the safety filter to hold, and when it takes that back."""

from dataclasses import dataclass

from resfit_ros.core.types import HoldRequest, Reason

REPEAT_NS = 500_000_000


@dataclass(frozen=True)
class Trouble:
    """Why the robot must not move."""

    reasons: Reason
    why: str  # one sentence for people


class HoldAnnouncer:
    """Says what to publish: each change at once, a hold again every 0.5 s, a release again once.

    Whoever joins is told: a safety filter that was started anew must not miss an open hold, nor keep
    the hold of a process that died and came back.
    """

    def __init__(self) -> None:
        self._open: Trouble | None = None
        self._listeners = 0
        self._next_ns: int | None = None  # when to repeat; None: said often enough

    @property
    def holding(self) -> bool:
        """True while a hold is open."""
        return self._open is not None

    def update(
        self, trouble: Trouble | None, listeners: int, now_ns: int
    ) -> tuple[HoldRequest, Trouble | None] | None:
        """What to publish now, if anything. listeners: subscribers there are."""
        news = trouble != self._open or listeners > self._listeners
        due = self._next_ns is not None and now_ns >= self._next_ns
        self._open, self._listeners = trouble, listeners
        if not news and not due:
            return None
        self._next_ns = now_ns + REPEAT_NS if news or trouble is not None else None
        return (HoldRequest.RELEASE if trouble is None else HoldRequest.HOLD), trouble
