"""What a browser may say, as JSON text messages; everything else is refused and counted.

{"type": "hello", "token": TEXT}                  first, within a few seconds
{"type": "press", "id": NUMBER, "control": TEXT, "seen": SECONDS or null}
                                                  a button; answered by {"type": "answer", "id": ...}
                                                  seen: now_s of the newest state the page has shown
{"type": "watch", "camera": TEXT or null}         which camera to send; null: none
{"type": "shown", "frame": NUMBER}                the frame is on the screen: send the next one
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resfit_ros.core.errors import DataError, nearest
from resfit_ros.operating.controls import STOPS, Control

LARGEST_MESSAGE = 2048  # bytes or characters from a browser
LARGEST_NUMBER = 2**53
LONGEST_NAME = 200
OLDEST_STATE_S = 1.5


@dataclass(frozen=True)
class Hello:
    """The first message; token: empty for none."""

    token: str


@dataclass(frozen=True)
class Press:
    """A button was pressed; number: of the press, by which the browser knows its answer.

    seen_s: when the newest state that the page had shown was made, on the console's clock; None: not said.
    """

    number: int
    control: Control
    seen_s: float | None = None

    def too_late(self, now_s: float) -> str:
        """Why it does not count any more, in words; empty: it does. now_s: of the console's own clock."""
        if self.control in STOPS:
            return ""
        if self.seen_s is None or self.seen_s > now_s:
            return "not done: the page does not say which state it shows; load it again"
        age_s = now_s - self.seen_s
        if age_s <= OLDEST_STATE_S:
            return ""
        return f"not done: it came from a page whose state was {age_s:.1f} s old (slow network); press again"


@dataclass(frozen=True)
class Watch:
    """The camera to show, None for none."""

    camera: str | None


@dataclass(frozen=True)
class Shown:
    """The frame with this number is on the screen."""

    frame: int


Message = Hello | Press | Watch | Shown


def read_message(text: str) -> Message:
    """One message of a browser. Raises DataError saying what is wrong with it."""
    if len(text) > LARGEST_MESSAGE:
        raise DataError(f"a message is at most {LARGEST_MESSAGE} characters")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("a message is JSON") from None
    if not isinstance(values, dict):
        raise DataError("a message is a JSON object")
    match values.get("type"):
        case "hello":
            return Hello(_text(values, "token", ""))
        case "press":
            return Press(_number(values, "id"), _control(values), _seconds(values, "seen"))
        case "watch":
            return Watch(None if values.get("camera") is None else _text(values, "camera"))
        case "shown":
            return Shown(_number(values, "frame"))
    raise DataError("'type' is one of hello, press, watch, shown")


def _number(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < LARGEST_NUMBER:
        raise DataError(f"'{key}' is a whole number, 0 or more")
    return value


def _seconds(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LARGEST_NUMBER:
        raise DataError(f"'{key}' is a time in seconds, 0 or more")
    return float(value)


def _text(values: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = values.get(key, default)
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise DataError(f"'{key}' is a text of at most {LONGEST_NAME} characters")
    return value


def _control(values: Mapping[str, Any]) -> Control:
    name = _text(values, "control")
    try:
        return Control(name)
    except ValueError:
        raise DataError(f"no control '{name}'; {nearest(name, (c.value for c in Control))}") from None


def answer(press: Press, taken: bool, why: str = "") -> str:
    """The press arrived; what the service says comes with the next states. why: it was not passed on."""
    control = press.control.value
    return as_text({"type": "answer", "id": press.number, "control": control, "taken": taken, "why": why})


def as_text(message: Mapping[str, Any]) -> str:
    """JSON that browsers read: NaN and infinite become null."""
    try:
        return json.dumps(message, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return json.dumps(_without_nan(message), separators=(",", ":"), allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None  # NaN compares false, too
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
