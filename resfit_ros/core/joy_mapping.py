"""Which button of a gamepad asks for what, and presses found in a stream of gamepad messages."""

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resfit_ros.core.errors import ConfigError, nearest

ACTIONS = "actions"  # the one section of a mapping file
KEYS = ("button", "axis", "threshold", "hold_s")
AXIS_THRESHOLD = 0.5
MAX_HOLD_S = 10.0


class PadAction(enum.Enum):
    """What an operator can ask for."""

    SUCCESS = "success"
    FAILURE = "failure"
    DISCARD = "discard"
    RESET = "reset"
    ESTOP = "estop"
    RELEASE_ESTOP = "release_estop"
    ARM = "arm"
    DISARM = "disarm"
    ENABLE_RESIDUAL = "enable_residual"
    DISABLE_RESIDUAL = "disable_residual"
    HOLD = "hold"
    RESUME = "resume"
    DEAD_MAN = "dead_man"


@dataclass(frozen=True)
class PadInput:
    """A button, or an axis beyond a threshold (below it where the threshold is negative).

    hold_s: it counts as pressed once it has been held for so long.
    """

    action: PadAction
    button: int | None = None
    axis: int | None = None
    threshold: float = AXIS_THRESHOLD
    hold_s: float = 0.0

    def is_down(self, buttons: Sequence[int], axes: Sequence[float]) -> bool | None:
        """Whether it is pressed; None where the message has no such button or axis."""
        values = buttons if self.button is not None else axes
        index = self.button if self.button is not None else self.axis
        if index >= len(values):
            return None
        if self.button is not None:
            return bool(values[index])
        return values[index] >= self.threshold if self.threshold > 0 else values[index] <= self.threshold

    @property
    def place(self) -> str:
        """Where it is on the pad, e.g. "button 3"."""
        if self.button is not None:
            return f"button {self.button}"
        return f"axis {self.axis} {'above' if self.threshold > 0 else 'below'} {self.threshold:g}"

    @property
    def _wire(self) -> tuple:
        """Equal for two inputs that the same press would set off."""
        return (self.button, self.axis, self.axis is not None and self.threshold > 0)


@dataclass(frozen=True)
class JoyMapping:
    """The inputs of a pad that mean something, in the file's order."""

    inputs: tuple[PadInput, ...]

    @property
    def has_dead_man(self) -> bool:
        """Whether the robot only moves while an input is held."""
        return any(i.action is PadAction.DEAD_MAN for i in self.inputs)


def mapping_from(values: Any, where: str) -> JoyMapping:
    """From a mapping file's content, read from `where` (named in errors).

    Raises ConfigError on an unknown action or key, a button used twice, a negative index or a value
    out of range.
    """
    if not isinstance(values, Mapping) or set(values) != {ACTIONS} or not isinstance(values[ACTIONS], Mapping):
        raise ConfigError(f"{where}: expected one section '{ACTIONS}:' with lines like 'success: {{button: 0}}'")
    known = [a.value for a in PadAction]
    inputs = []
    for name, entry in values[ACTIONS].items():
        if name not in known:
            raise ConfigError(f"{where}: unknown action '{name}'; {nearest(str(name), known)}")
        inputs.append(_input(PadAction(name), entry, f"{where}, action '{name}'"))
    _refuse_duplicates(inputs, where)
    if not inputs:
        raise ConfigError(f"{where}: no action is mapped; add e.g. 'success: {{button: 0}}'")
    return JoyMapping(tuple(inputs))


def _input(action: PadAction, entry: Any, where: str) -> PadInput:
    if isinstance(entry, int) and not isinstance(entry, bool):
        entry = {"button": entry}
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where}: expected {{button: N}} or {{axis: N, threshold: X}}, got {entry!r}")
    for key in entry:
        if key not in KEYS:
            raise ConfigError(f"{where}: unknown key '{key}'; {nearest(str(key), KEYS)}")
    if ("button" in entry) == ("axis" in entry):
        raise ConfigError(f"{where}: give either button or axis")
    if "button" in entry and "threshold" in entry:
        raise ConfigError(f"{where}: threshold is for an axis; leave it out with a button")
    threshold = _number(entry, "threshold", AXIS_THRESHOLD, where)
    if not 0.0 < abs(threshold) <= 1.0:
        raise ConfigError(f"{where}: threshold must be in [-1, 1] and not 0, got {threshold:g}")
    hold_s = _number(entry, "hold_s", 0.0, where)
    if not 0.0 <= hold_s <= MAX_HOLD_S:
        raise ConfigError(f"{where}: hold_s must be between 0 and {MAX_HOLD_S:g} s, got {hold_s:g}")
    if hold_s and action in (PadAction.ESTOP, PadAction.DEAD_MAN):
        raise ConfigError(f"{where}: it must act at once; leave hold_s out")
    return PadInput(action, _index(entry, "button", where), _index(entry, "axis", where), threshold, hold_s)


def _index(entry: Mapping, key: str, where: str) -> int | None:
    if key not in entry:
        return None
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{where}: {key} must be a whole number of at least 0, got {value!r}")
    return value


def _number(entry: Mapping, key: str, default: float, where: str) -> float:
    value = entry.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where}: {key} must be a number, got {value!r}")
    return float(value)


def _refuse_duplicates(inputs: Sequence[PadInput], where: str) -> None:
    first: dict[tuple, PadInput] = {}
    for i in inputs:
        other = first.setdefault(i._wire, i)
        if other is not i:
            raise ConfigError(
                f"{where}: {i.place} is given to both '{other.action.value}' and '{i.action.value}'; one press "
                "must mean one thing"
            )


@dataclass(frozen=True)
class PadReading:
    """What one message of the pad says."""

    pressed: tuple[PadAction, ...] = ()  # presses it completes, in the mapping's order
    dead_man: bool = False  # held down
    problem: str = ""  # mapped buttons that it does not have


class PressDetector:
    """Finds presses in every message, so that one shorter than any tick is not lost.

    What is down in the first message has not been pressed, but for the e-stop. A long press is one
    that messages show without a pause of more than `max_gap_ns`: an unplugged pad holds nothing.
    """

    def __init__(self, mapping: JoyMapping, max_gap_ns: int) -> None:
        self.mapping = mapping
        self._max_gap_ns = max_gap_ns
        self._since: dict[PadAction, int | None] = {}  # down since; None: up, or done with this press
        self._down: dict[PadAction, bool] = {}
        self._last_ns: int | None = None

    def read(self, buttons: Sequence[int], axes: Sequence[float], now_ns: int) -> PadReading:
        """Takes the next message; `now_ns`: steady clock at its arrival."""
        paused = self._last_ns is not None and now_ns - self._last_ns > self._max_gap_ns
        self._last_ns = now_ns
        pressed, missing, dead_man = [], [], False
        for i in self.mapping.inputs:
            state = i.is_down(buttons, axes)
            if state is None:
                missing.append(f"{i.place} ({i.action.value})")
            if i.action is PadAction.DEAD_MAN:
                dead_man = bool(state)
            elif self._completes(i, bool(state), paused, now_ns):
                pressed.append(i.action)
        return PadReading(tuple(pressed), dead_man, self._problem(missing, buttons, axes))

    def _completes(self, i: PadInput, down: bool, paused: bool, now_ns: int) -> bool:
        before = self._down.get(i.action, i.action is not PadAction.ESTOP)
        self._down[i.action] = down
        if not down:
            self._since[i.action] = None
            return False
        if not before:
            self._since[i.action] = now_ns
        elif paused and self._since.get(i.action) is not None:
            self._since[i.action] = now_ns
        since = self._since.get(i.action)
        if since is None or now_ns - since < i.hold_s * 1e9:
            return False
        self._since[i.action] = None
        return True

    @staticmethod
    def _problem(missing: Sequence[str], buttons: Sequence[int], axes: Sequence[float]) -> str:
        if not missing:
            return ""
        return (
            f"the pad sends {len(buttons)} buttons and {len(axes)} axes, but the mapping names "
            f"{', '.join(missing)}; use the mapping of this pad"
        )
