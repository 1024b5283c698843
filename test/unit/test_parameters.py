"""Parameters of the nodes: defaults, units, and what does not go together."""

import dataclasses

import pytest

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.parameter_groups import GraphParameters, JointParameters
from resfit_ros.core.parameters import (
    NODE_PARAMETERS,
    AggregatorParameters,
    EpisodeParameters,
    LearnerParameters,
)
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.core.schema import contract_of, from_mapping, to_mapping

REQUIRED = {
    "joint_names": ["a", "b"],
    "lower": [-1.0],
    "upper": [1.0],
    "max_velocity": [1.0],
    "max_acceleration": [5.0],
    "bag_dir": "bags",
    "run_dir": "run",
    "result_path": "result.json",
}


def build(cls: type, **values):
    known = {field.name for field in dataclasses.fields(cls)}
    required = {name: value for name, value in REQUIRED.items() if name in known}
    return from_mapping(cls, required | values, "test")


@pytest.mark.parametrize("cls", NODE_PARAMETERS.values(), ids=NODE_PARAMETERS)
def test_when_required_values_are_given_expect_every_default_valid(cls):
    built = build(cls)
    assert from_mapping(cls, to_mapping(built), "again") == built


@pytest.mark.parametrize("cls", NODE_PARAMETERS.values(), ids=NODE_PARAMETERS)
def test_when_declared_expect_a_description_of_every_parameter(cls):
    assert [f.name for f in dataclasses.fields(cls) if len(contract_of(f).doc) < 4] == []


@pytest.mark.parametrize("cls", NODE_PARAMETERS.values(), ids=NODE_PARAMETERS)
def test_when_a_name_ends_with_its_unit_expect_the_same_unit_declared(cls):
    units = {"_s": "s", "_hz": "Hz"}
    odd = [
        field.name
        for field in dataclasses.fields(cls)
        for ending, unit in units.items()
        if field.name.endswith(ending) and contract_of(field).unit != unit
    ]
    assert odd == []


def test_when_control_rate_is_given_expect_its_period():
    assert GraphParameters(control_hz=20.0).control_period_ns == 50_000_000


@pytest.mark.parametrize(("timing", "expected"), [("lockstep", True), ("realtime", False)])
def test_when_timing_is_given_expect_lockstep_or_not(timing, expected):
    assert GraphParameters(timing=timing).lockstep is expected


@pytest.mark.parametrize(
    ("cls", "values", "message"),
    [
        (GraphParameters, {"timing": "lock_step"}, "timing must be one of realtime, lockstep"),
        (GraphParameters, {"control_hz": 0.0}, "control_hz must be greater than 0"),
        (JointParameters, {"joint_names": []}, "joint_names is empty"),
        (JointParameters, {"joint_names": ["a", "a"]}, "joint_names lists a joint twice"),
        (AggregatorParameters, {"state": ["joint_position"]}, "unknown block 'joint_position'"),
        (SafetyParameters, {"lower": [2.0]}, "joint 'a': lower limit must be below"),
        (SafetyParameters, {"lower": [-1.0] * 3}, "lower: expected 2 values"),
        (SafetyParameters, {"lower": [-1.0, float("nan")]}, r"lower\[1\] must be finite"),
        (SafetyParameters, {"max_velocity": [1.0, 0.0]}, r"max_velocity\[1\] must be greater than 0"),
        (SafetyParameters, {"tick_hz": 10.0}, "tick_hz 10 must not be below control_hz 20"),
        (EpisodeParameters, {"max_steps": 0}, "max_steps must be at least 1"),
        (LearnerParameters, {"discount": 1.0}, "discount must be less than 1"),
    ],
)
def test_when_values_make_no_sense_expect_the_reason(cls, values, message):
    with pytest.raises(ConfigError, match=message):
        build(cls, **values)


def test_when_limits_are_given_once_expect_them_for_every_joint():
    limits = build(SafetyParameters, max_velocity=[3.0]).limits
    assert limits.max_velocity.tolist() == [3.0, 3.0]
    assert limits.joint_names == ("a", "b")


def test_when_state_has_poses_expect_the_layouts_size():
    built = build(AggregatorParameters, state=["joint_positions", "pose/box"])
    assert built.layout.size == 2 + 7


def test_when_learner_is_configured_expect_the_algorithms_settings_alone():
    built = build(LearnerParameters, n_step=5, batch_size=64)
    assert built.learning == LearningConfig(n_step=5, batch_size=64)


@pytest.mark.parametrize(
    ("name", "value"),
    [("discount", 1.0), ("offline_fraction", 1.0), ("residual_scale", 0.0), ("n_step", 0), ("utd", 0.0)],
)
def test_when_a_learning_setting_is_out_of_range_expect_it_named(name, value):
    with pytest.raises(ConfigError, match=name):
        LearningConfig(**{name: value})
