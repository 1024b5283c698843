"""Fields of messages as values that JSON has."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOTHING = "nothing"  # as in ros.node


def plain(value: Any) -> Any:
    """NaN and infinities become None, numpy scalars numbers, tuples lists."""
    if isinstance(value, (bool, str)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else number


def waits_for(figures: Mapping[str, str]) -> str:
    """What a node that reports these key figures needs before an episode can start; empty: nothing."""
    text = figures.get("waiting for", NOTHING)
    return "" if text == NOTHING else text


def fields_of(message: Any) -> dict[str, Any]:
    """A flat ROS message's fields but its header."""
    names = message.get_fields_and_field_types()
    return {name: getattr(message, name) for name in names if name != "header"}


@dataclass(frozen=True)
class Heard:
    """The newest message of a kind, and when it came on the steady clock."""

    fields: Mapping[str, Any]
    at_ns: int

    def silent_s(self, now_ns: int) -> float:
        """Since then, [s]."""
        return (now_ns - self.at_ns) * 1e-9

    def plain(self) -> dict[str, Any]:
        """Every field as JSON has it."""
        return {name: plain(value) for name, value in self.fields.items()}
