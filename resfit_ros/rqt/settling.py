"""A button that has just changed takes no press: a second press must not mean the opposite of the first."""

import time
from collections.abc import Callable

from resfit_ros.operating.controls import STOPS, Control

SETTLE_S = 0.7
SAID_S = 3.0
MOVES = (Control.ARM,)  # one key stroke: it counts only where the button has been seen to offer it
CHANGED = "this has just changed; press again if you mean it"
NOT_OFFERED = "its key counts once the button has been on for 0.7 s"


class Settling:
    """What one button has shown, and since when."""

    def __init__(self, control: Control, clock: Callable[[], float] = time.monotonic) -> None:
        """control: what it shows at first; clock: steady [s]."""
        self._clock = clock
        self._control, self._enabled = control, False
        self._changed_s = self._refused_s = float("-inf")
        self._enabled_s = float("inf")
        self._refused = ""

    def show(self, control: Control, enabled: bool) -> None:
        """What it shows from now on."""
        now_s = self._clock()
        if control is not self._control:
            self._changed_s, self._enabled = now_s, False
        if enabled and not self._enabled:
            self._enabled_s = now_s
        self._control, self._enabled = control, enabled

    def refuse(self, by_key: bool) -> str:
        """Why a press is not taken now, in words; empty: it is."""
        now_s = self._clock()
        self._refused = ""
        if self._control in STOPS:
            return ""
        if now_s - self._changed_s < SETTLE_S:
            self._refused = CHANGED
        elif by_key and self._control in MOVES:
            offered = self._enabled and now_s - self._enabled_s >= SETTLE_S
            self._refused = "" if offered else NOT_OFFERED
        self._refused_s = now_s
        return self._refused

    @property
    def refused(self) -> str:
        """As `refuse` said last, for a while."""
        return self._refused if self._clock() - self._refused_s <= SAID_S else ""
