"""ROS parameters declared from the dataclasses of `core.parameters`."""

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.schema import REQUIRED, Contract, contract_of, element_type, from_mapping, hints

T = TypeVar("T")

TYPES = {
    (bool, False): Parameter.Type.BOOL,
    (int, False): Parameter.Type.INTEGER,
    (float, False): Parameter.Type.DOUBLE,
    (str, False): Parameter.Type.STRING,
    (bool, True): Parameter.Type.BOOL_ARRAY,
    (int, True): Parameter.Type.INTEGER_ARRAY,
    (float, True): Parameter.Type.DOUBLE_ARRAY,
    (str, True): Parameter.Type.STRING_ARRAY,
}
BUILT_IN = ("use_sim_time", "start_type_description_service", "qos_overrides")
LARGEST = 1.7e308


def _descriptor(contract: Contract, kind: type, many: bool) -> ParameterDescriptor:
    unit = f" [{contract.unit}]" if contract.unit else ""
    descriptor = ParameterDescriptor(
        description=contract.doc + unit, read_only=not contract.live
    )
    if contract.choices:
        descriptor.additional_constraints = "one of " + ", ".join(map(str, contract.choices))
    # rclpy checks ranges of scalars only, and takes them as closed; the dataclass checks the rest.
    low = contract.gt if contract.ge is None else contract.ge
    high = contract.lt if contract.le is None else contract.le
    if kind is float and not many and (low is not None or high is not None):
        descriptor.floating_point_range = [
            FloatingPointRange(
                from_value=-LARGEST if low is None else float(low), to_value=LARGEST if high is None else float(high)
            )
        ]
    # Without an end, rqt_reconfigure could not show it: its sliders know C's int alone.
    elif kind is int and not many and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor


def _refuse_unknown(node: Node, known: list[str]) -> None:
    # rclpy ignores overrides nobody declares, which hides a mistyped name; it offers no public list.
    for name in node._parameter_overrides:
        if name not in known and not name.startswith(BUILT_IN):
            raise ConfigError(f"unknown parameter '{name}'; {nearest(name, known)}")


def _declare_empty(
    node: Node, name: str, kind: Parameter.Type, descriptor: ParameterDescriptor
) -> None:
    # rclpy takes an empty list for bytes, and a node with a parameter that has no value answers no
    # `ros2 param dump`: the list is set with its type, and only then made read-only.
    node.declare_parameter(name, kind, ParameterDescriptor())
    node.set_parameters([Parameter(name, kind, [])])
    descriptor.type = kind.value
    node.set_descriptor(name, descriptor)


def declare(node: Node, cls: type[T]) -> T:
    """Declares one parameter per field of `cls` and returns them as an instance.

    Raises ConfigError on an unknown or missing parameter, a wrong type or a value out of range.
    """
    fields = dataclasses.fields(cls)
    annotations = hints(cls)
    _refuse_unknown(node, [f.name for f in fields])
    values = {}
    for field in fields:
        kind, many = element_type(annotations[field.name])
        wanted = TYPES[kind, many]
        override = node._parameter_overrides.get(field.name)
        if override is not None and override.value is None:
            override = None  # "[]" on the command line
        if override is None and field.default is REQUIRED:
            raise ConfigError(f"parameter '{field.name}' is missing: {contract_of(field).doc}")
        if override is None and field.default == ():
            node._parameter_overrides.pop(field.name, None)
            _declare_empty(node, field.name, wanted, _descriptor(contract_of(field), kind, many))
            values[field.name] = ()
            continue
        start = wanted if field.default in (REQUIRED, ()) else list(field.default) if many else field.default
        try:
            parameter = node.declare_parameter(
                field.name, start, _descriptor(contract_of(field), kind, many)
            )
        except InvalidParameterTypeException:
            raise ConfigError(
                f"parameter '{field.name}': expected {wanted.name.lower()}, "
                f"got {override.value if override is not None else start!r}"
            ) from None
        except ParameterException as error:
            raise ConfigError(f"parameter '{field.name}': {error}") from None
        values[field.name] = parameter.value
    return from_mapping(cls, values, f"parameters of node {node.get_name()}")


class LiveParameters:
    """Current parameters of a node; changes are validated as a whole before they take effect."""

    def __init__(self, node: Node, cls: type[T], refusal: Callable[[T], str | None] | None = None) -> None:
        """refusal: why the node does not take valid parameters now, or None."""
        self._node, self._refusal = node, refusal
        self.value: T = declare(node, cls)
        node.add_on_set_parameters_callback(self._on_set)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        known = hints(type(self.value))
        changes = {p.name: p.value for p in parameters if p.name in known}
        try:
            wanted = from_mapping(
                type(self.value),
                {f: getattr(self.value, f) for f in known} | changes,
                f"parameters of node {self._node.get_name()}",
            )
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        why = self._refusal(wanted) if self._refusal else None
        if why:
            return SetParametersResult(successful=False, reason=why)
        self.value = wanted
        return SetParametersResult(successful=True)
