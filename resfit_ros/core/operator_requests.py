"""What the operator's wishes come to over time: an e-stop that gets through, and a hold."""

from resfit_ros.core.types import Reason, SafetyState

RETRY_NS = 100_000_000


class EstopRequest:
    """Pressed once, asked for until the safety filter shows it; a filter that restarts is asked again.

    It ends with a release here, or when somebody else has released it and armed the filter again.
    """

    def __init__(self, retry_ns: int = RETRY_NS) -> None:
        self._retry_ns = retry_ns
        self.pressed = False
        self.shown = False  # the filter has it
        self._answered = False
        self._asked_ns: int | None = None

    def press(self) -> None:
        """From now on `due` says when to ask."""
        self.pressed, self.shown, self._answered, self._asked_ns = True, False, False, None

    def release(self) -> None:
        """Nothing is asked for any more."""
        self.pressed = self.shown = False

    def due(self, now_ns: int) -> bool:
        """Whether to ask the safety filter now; True counts as having asked."""
        if not self.pressed or self.shown:
            return False
        if self._asked_ns is not None and now_ns - self._asked_ns < self._retry_ns:
            return False
        self._asked_ns = now_ns
        return True

    def on_answer(self) -> None:
        """The safety filter has taken the request; its status has to show it, too."""
        self._answered = True

    def on_status(self, state: SafetyState, reasons: Reason) -> None:
        """What the safety filter's status says."""
        if not self.pressed:
            return
        if reasons & Reason.ESTOP:
            self.shown = self.shown or self._answered
        elif self.shown and state is SafetyState.DISARMED:
            self.press()  # restarted: the new one does not know
        elif self.shown and state in (SafetyState.ARMED, SafetyState.HOLD):
            self.release()


class HoldWish:
    """Whether the operator wants the robot to hold: asked for, dead-man let go, or the pad silent."""

    def __init__(self, dead_man: bool, silence_ns: int) -> None:
        """dead_man: the robot moves only while an input is held."""
        self._dead_man, self._silence_ns = dead_man, silence_ns
        self._asked = False
        self._held_down = False
        self._heard_ns: int | None = None

    def ask(self, hold: bool) -> None:
        """The operator pressed hold, or resume."""
        self._asked = hold

    def on_message(self, held_down: bool, now_ns: int) -> None:
        """The pad was heard; held_down: of the dead-man input."""
        self._held_down, self._heard_ns = held_down, now_ns

    def silent_s(self, now_ns: int) -> float:
        """Since the last message of the pad, [s]; infinite before the first."""
        return float("inf") if self._heard_ns is None else (now_ns - self._heard_ns) * 1e-9

    def why(self, now_ns: int) -> str:
        """Why to hold, in words; empty: the robot may move."""
        if self._dead_man and (self._heard_ns is None or now_ns - self._heard_ns > self._silence_ns):
            return "the pad is silent; check its cable or battery"
        if self._asked:
            return "the operator asked to hold"
        if self._dead_man and not self._held_down:
            return "the dead-man button is not held"
        return ""
