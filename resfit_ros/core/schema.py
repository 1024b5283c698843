"""Configuration as frozen dataclasses whose fields carry their contract.

One declaration per value (type, default, range, unit, description) serves the YAML files, the ROS
parameters and the reference documentation.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from resfit_ros.core.errors import ConfigError, nearest

T = TypeVar("T")
REQUIRED = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class Contract:
    """What a value must satisfy; bounds hold for each element of a sequence."""

    doc: str
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[Any, ...] = ()
    live: bool = False  # may change while the node runs

    def violation(self, value: Any) -> str | None:
        """Why `value` (one element) breaks the contract, or None."""
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}"
        if isinstance(value, float) and not math.isfinite(value):
            return "must be finite"
        bounds = (
            (self.ge, lambda v, b: v >= b, "at least"),
            (self.gt, lambda v, b: v > b, "greater than"),
            (self.le, lambda v, b: v <= b, "at most"),
            (self.lt, lambda v, b: v < b, "less than"),
        )
        for bound, holds, words in bounds:
            if bound is not None and not holds(value, bound):
                return f"must be {words} {bound:g}"
        return None


def param(default: Any = REQUIRED, *, doc: str, **contract: Any) -> Any:
    """A dataclass field with a contract; without a default it is required."""
    metadata = {"contract": Contract(doc=doc, **contract)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def contract_of(field: dataclasses.Field) -> Contract:
    """The contract of a field made by `param`."""
    return field.metadata["contract"]


def element_type(annotation: Any) -> tuple[type, bool]:
    """(type, is_sequence) of an annotation: bool, int, float, str, or tuple[X, ...] of those."""
    if typing.get_origin(annotation) is tuple:
        return typing.get_args(annotation)[0], True
    return annotation, False


def _convert_one(value: Any, kind: type, name: str) -> Any:
    accepted = {float: (int, float), int: (int,), str: (str,), bool: (bool,)}[kind]
    if isinstance(value, bool) and kind is not bool or not isinstance(value, accepted):
        raise ConfigError(f"{name}: expected {kind.__name__}, got {type(value).__name__} {value!r}")
    return kind(value)


def convert(value: Any, annotation: Any, name: str) -> Any:
    """`value` (as YAML or a ROS parameter gives it) in the field's own type.

    Raises ConfigError naming the field, the type expected and the value found.
    """
    kind, is_sequence = element_type(annotation)
    if not is_sequence:
        return _convert_one(value, kind, name)
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise ConfigError(f"{name}: expected a list of {kind.__name__}, got {value!r}")
    return tuple(_convert_one(item, kind, f"{name}[{i}]") for i, item in enumerate(value))


def hints(cls: type) -> dict[str, Any]:
    """Field name to resolved annotation."""
    resolved = typing.get_type_hints(cls)
    return {f.name: resolved[f.name] for f in dataclasses.fields(cls)}


def validate(config: Any) -> None:
    """Checks each field against its contract; call from `__post_init__`.

    Raises ConfigError naming the field, the rule and the value.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        many = isinstance(value, tuple)
        for i, item in enumerate(value if many else (value,)):
            why = contract_of(field).violation(item)
            if why:
                where = f"{field.name}[{i}]" if many else field.name
                raise ConfigError(f"{where} {why}, got {item!r}")


def from_mapping(cls: type[T], values: Mapping[str, Any], where: str) -> T:
    """Builds `cls` from a mapping read from `where` (named in errors).

    Raises ConfigError on an unknown key (naming the nearest known one), a missing required key, a
    wrong type or a value out of range.
    """
    annotations = hints(cls)
    for key in values:
        if key not in annotations:
            raise ConfigError(f"{where}: unknown key '{key}'; {nearest(str(key), annotations)}")
    missing = [
        f.name
        for f in dataclasses.fields(cls)
        if f.default is REQUIRED and f.default_factory is REQUIRED and f.name not in values
    ]
    if missing:
        raise ConfigError(f"{where}: missing key '{missing[0]}'; add it")
    try:
        return cls(**{k: convert(v, annotations[k], k) for k, v in values.items()})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain lists and scalars, as YAML, JSON and ROS parameters want them."""
    return {
        f.name: list(v) if isinstance(v := getattr(config, f.name), tuple) else v
        for f in dataclasses.fields(config)
    }


def markdown_table(cls: type) -> str:
    """Every parameter of a dataclass as a Markdown table: name, default, range, unit, meaning."""
    lines = ["| Parameter | Default | Range | Unit | Meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(cls):
        c = contract_of(field)
        bounds = [f"{sign} {b:g}" for sign, b in (("≥", c.ge), (">", c.gt), ("≤", c.le), ("<", c.lt)) if b is not None]
        allowed = ", ".join(map(str, c.choices)) or ", ".join(bounds)
        default = "required" if field.default is REQUIRED else str(field.default) or "empty"
        lines.append(f"| `{field.name}` | {default} | {allowed} | {c.unit} | {c.doc} |")
    return "\n".join(lines) + "\n"
