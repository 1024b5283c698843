"""Configuration contracts: what is wrong is named, with its value."""

import dataclasses
from dataclasses import dataclass

import pytest

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.schema import contract_of, from_mapping, hints, param, to_mapping, validate


@dataclass(frozen=True)
class Example:
    """One field of each kind."""

    names: tuple[str, ...] = param(doc="required list")
    rate: float = param(20.0, gt=0.0, le=100.0, doc="rate", unit="Hz")
    count: int = param(3, ge=1, lt=10, doc="count")
    kind: str = param("a", choices=("a", "b"), doc="choice")
    active: bool = param(False, doc="flag", live=True)
    gains: tuple[float, ...] = param((), gt=0.0, doc="gains")

    def __post_init__(self) -> None:
        validate(self)


def build(**values) -> Example:
    return from_mapping(Example, {"names": ["x"]} | values, "file.yaml")


def test_when_only_required_is_given_expect_defaults():
    assert build() == Example(names=("x",))


def test_when_written_and_read_back_expect_the_same_values():
    example = build(rate=5, gains=[1, 2.5], active=True)
    assert from_mapping(Example, to_mapping(example), "again") == example


def test_when_a_number_is_whole_expect_it_as_the_fields_type():
    assert type(build(rate=5).rate) is float
    assert [type(gain) for gain in build(gains=[1]).gains] == [float]


def test_when_a_key_is_mistyped_expect_the_nearest_named():
    with pytest.raises(ConfigError, match="file.yaml: unknown key 'cuont'; did you mean 'count'?"):
        build(cuont=3)


def test_when_a_key_resembles_nothing_expect_all_named():
    with pytest.raises(ConfigError, match="known: active, count, gains, kind, names, rate"):
        build(zzzzzz=3)


def test_when_a_required_key_is_missing_expect_it_named():
    with pytest.raises(ConfigError, match="file.yaml: missing key 'names'"):
        from_mapping(Example, {}, "file.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": "fast"}, "rate: expected float, got str 'fast'"),
        ({"rate": True}, "rate: expected float, got bool True"),
        ({"rate": None}, "rate: expected float, got NoneType None"),
        ({"count": 2.5}, "count: expected int, got float 2.5"),
        ({"count": 2.0}, "count: expected int, got float 2.0"),
        ({"active": 1}, "active: expected bool, got int 1"),
        ({"kind": 1}, "kind: expected str, got int 1"),
        ({"gains": 1.0}, "gains: expected a list of float, got 1.0"),
        ({"gains": "12"}, "gains: expected a list of float, got '12'"),
        ({"gains": {"a": 1}}, "gains: expected a list of float"),
        ({"gains": [1.0, "x"]}, r"gains\[1\]: expected float, got str 'x'"),
        ({"names": ["x", 3]}, r"names\[1\]: expected str, got int 3"),
    ],
)
def test_when_type_is_wrong_expect_field_type_and_value_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0.0}, "rate must be greater than 0, got 0.0"),
        ({"rate": 100.5}, "rate must be at most 100, got 100.5"),
        ({"rate": float("nan")}, "rate must be finite, got nan"),
        ({"rate": float("inf")}, "rate must be finite, got inf"),
        ({"count": 0}, "count must be at least 1, got 0"),
        ({"count": 10}, "count must be less than 10, got 10"),
        ({"kind": "c"}, "kind must be one of a, b, got 'c'"),
        ({"gains": [1.0, 2.0, -1.0]}, r"gains\[2\] must be greater than 0, got -1.0"),
        ({"gains": [1.0, float("nan")]}, r"gains\[1\] must be finite, got nan"),
        ({"gains": [float("-inf")]}, r"gains\[0\] must be finite, got -inf"),
    ],
)
def test_when_value_is_out_of_range_expect_rule_and_value_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build(**values)


@pytest.mark.parametrize("values", [{"rate": 100.0}, {"count": 1}, {"count": 9}])
def test_when_value_is_at_the_bound_expect_it_taken(values):
    ((name, value),) = values.items()
    assert getattr(build(**values), name) == value


def test_when_asked_for_a_contract_expect_what_was_declared():
    (rate,) = [f for f in dataclasses.fields(Example) if f.name == "rate"]
    contract = contract_of(rate)
    assert (contract.gt, contract.le, contract.unit, contract.live) == (0.0, 100.0, "Hz", False)


def test_when_asked_for_annotations_expect_them_resolved():
    assert hints(Example)["gains"] == tuple[float, ...]


def test_when_a_name_is_close_expect_a_question():
    assert nearest("joint_name", ["joint_names", "state"]) == "did you mean 'joint_names'?"
