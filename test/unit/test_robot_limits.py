"""Limits out of the configuration and the URDF."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError
from resfit_ros.robot.limits import NOWHERE, URDF, YAML, limits_of, merge_limits, resolve_limits
from resfit_ros.robot.urdf import Urdf, UrdfJoint, read_urdf

FRANKA = Path(__file__).parent / "robots" / "franka_like.urdf"
NAMES = ("hip", "knee")
ROBOT = Urdf(
    "arm.urdf",
    "arm",
    {
        "hip": UrdfJoint("hip", "revolute", -1.0, 1.0, 2.0),
        "knee": UrdfJoint("knee", "revolute", 0.0, 2.0, 3.0),
        "wheel": UrdfJoint("wheel", "continuous", velocity=5.0),
        "bare": UrdfJoint("bare", "revolute"),
        "toe": UrdfJoint("toe", "revolute", 0.0, 1.0, 1.0, mimic="knee"),
    },
)


def resolve(names=NAMES, lower=(), upper=(), velocity=(), acceleration=(5.0,), urdf=ROBOT, **options):
    return resolve_limits(names, lower, upper, velocity, acceleration, urdf, **options)


def refused(*args, **fields) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(*args, **fields)
    return str(caught.value)


def test_when_yaml_is_empty_expect_the_urdfs_limits():
    limits = resolve()
    np.testing.assert_array_equal(limits.lower, [-1.0, 0.0])
    np.testing.assert_array_equal(limits.upper, [1.0, 2.0])
    np.testing.assert_array_equal(limits.max_velocity, [2.0, 3.0])
    np.testing.assert_array_equal(limits.max_acceleration, [5.0, 5.0])


def test_when_yaml_is_narrower_expect_yaml():
    limits = resolve(lower=[-0.5, 0.5], upper=[0.6], velocity=[1.0])
    np.testing.assert_array_equal(limits.lower, [-0.5, 0.5])
    np.testing.assert_array_equal(limits.upper, [0.6, 0.6])
    np.testing.assert_array_equal(limits.max_velocity, [1.0, 1.0])


def test_when_there_is_no_urdf_expect_yaml_alone():
    limits = resolve(("a",), [-9.0], [9.0], [7.0], urdf=None)
    assert (limits.lower[0], limits.upper[0], limits.max_velocity[0]) == (-9.0, 9.0, 7.0)


def test_when_yaml_equals_the_urdf_but_for_rounding_expect_it_accepted():
    assert resolve(upper=[1.0 + 1e-12, 2.0]).upper[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("fields", "joint", "given", "bound"),
    [
        ({"lower": [-1.0, -0.1]}, "knee", "-0.1", "0"),
        ({"upper": [1.5, 2.0]}, "hip", "1.5", "1"),
        ({"velocity": [2.0, 3.25]}, "knee", "3.25", "3"),
        ({"velocity": [2.5]}, "hip", "2.5", "2"),
    ],
)
def test_when_yaml_is_wider_than_the_urdf_expect_joint_and_both_values(fields, joint, given, bound):
    said = refused(**fields)
    assert said.startswith(f"joint '{joint}': ")
    assert f"{given} rad" in said
    assert f"the {bound} of arm.urdf" in said


def test_when_joints_share_a_fault_expect_one_sentence():
    problems = merge_limits(NAMES, (), [5.0, 2.0], [9.0], [5.0], ROBOT).problems
    assert [p.split(":")[0] for p in problems] == ["joint 'hip'", "joint 'hip'", "joint 'knee'"]
    same = merge_limits(NAMES, (), (), (), [-1.0], ROBOT).problems
    assert same == ("joint 'hip' (and 1 more): max_acceleration -1 must be positive",)


def test_when_no_acceleration_is_given_expect_the_joint_and_what_to_add():
    said = refused(acceleration=())
    assert said.startswith("joint 'hip' (and 1 more): no max_acceleration, and a URDF never has one")
    assert "add max_acceleration to section 'robot'" in said


@pytest.mark.parametrize(
    ("names", "urdf", "words"),
    [
        (("a",), None, "joint 'a': no lower, and there is no URDF to take it from; add lower to section 'robot'"),
        (("wheel",), ROBOT, "joint 'wheel': no lower, and the joint is continuous in arm.urdf"),
        (("bare",), ROBOT, "joint 'bare': no lower, and arm.urdf gives none"),
        (("hip", "kne"), ROBOT, "joint 'kne' is not in arm.urdf; did you mean 'knee'"),
        (("knee", "toe"), ROBOT, "joint 'toe' follows joint 'knee'"),
    ],
)
def test_when_a_joint_has_no_limits_expect_it_refused_by_name(names, urdf, words):
    assert words in refused(names, urdf=urdf)


def test_when_a_continuous_joint_has_limits_in_yaml_expect_them():
    limits = resolve(("wheel",), [-3.0], [3.0])
    assert (limits.lower[0], limits.upper[0], limits.max_velocity[0]) == (-3.0, 3.0, 5.0)


def test_when_lower_is_not_below_upper_expect_the_joint_named():
    said = refused(lower=[0.5, 0.5], upper=[0.5, 1.0])
    assert "joint 'hip': lower 0.5 must be below upper 0.5" in said


def test_when_the_number_of_values_is_wrong_expect_both_numbers():
    assert "lower: expected 2 values (one per joint) or one for all, got 3" in refused(lower=[0.0] * 3)


@pytest.mark.parametrize("field", ["lower", "upper", "velocity", "acceleration"])
def test_when_a_value_is_not_finite_expect_the_joint_named(field):
    assert refused(**{field: [0.5, float("nan")]}).startswith("joint 'knee': ")


def test_when_everything_is_wrong_expect_every_problem_listed():
    merged = merge_limits(("hip", "nowhere"), [-2.0, 0.0], (), (), (), ROBOT)
    assert [p.split(":")[0].split(" is ")[0] for p in merged.problems] == [
        "joint 'nowhere'",
        "joint 'hip'",
        "joint 'hip' (and 1 more)",
    ]


def test_when_merged_expect_the_source_of_each_limit():
    merged = merge_limits(NAMES, (), (), [1.0], (), ROBOT)
    assert merged.sources == {"lower": URDF, "upper": URDF, "max_velocity": YAML, "max_acceleration": NOWHERE}


def test_when_scaled_expect_slower_and_narrower_limits():
    limits = resolve(velocity_scale=0.5, position_margin=0.1)
    np.testing.assert_allclose(limits.max_velocity, [1.0, 1.5])
    np.testing.assert_allclose(limits.lower, [-0.9, 0.1])
    np.testing.assert_allclose(limits.upper, [0.9, 1.9])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"velocity_scale": 1.5}, "velocity_scale 1.5"),
        ({"velocity_scale": 0.0}, "velocity_scale 0"),
        ({"position_margin": -0.1}, "position_margin -0.1"),
        ({"position_margin": 1.0}, "joint 'hip': position_margin 1 leaves no room"),
    ],
)
def test_when_a_scale_makes_no_sense_expect_it_refused(options, words):
    assert words in refused(**options)


values = st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=2)


@given(lower=values, upper=values, velocity=values)
def test_when_limits_are_accepted_expect_none_wider_than_the_urdfs(lower, upper, velocity):
    try:
        limits = resolve(lower=lower, upper=upper, velocity=velocity)
    except ConfigError:
        return
    assert np.all(limits.lower >= np.array([-1.0, 0.0]) - 2e-9)
    assert np.all(limits.upper <= np.array([1.0, 2.0]) + 2e-9)
    assert np.all(limits.max_velocity <= np.array([2.0, 3.0]) + 6e-9)


def parameters(**fields):
    names = tuple(f"panda_joint{i}" for i in range(1, 8))
    empty = {"lower": (), "upper": (), "max_velocity": (), "max_acceleration": (5.0,)}
    return SimpleNamespace(joint_names=names, **(empty | fields))


def test_when_parameters_come_with_a_urdfs_text_expect_its_limits():
    limits = limits_of(parameters(), FRANKA.read_text())
    assert limits.upper[3] == -0.0698
    assert limits.max_velocity[0] == 2.175


def test_when_parameters_come_without_a_urdf_expect_what_is_missing_named():
    with pytest.raises(ConfigError, match="joint 'panda_joint1' .and 6 more.: no lower"):
        limits_of(parameters(), None)


def test_when_both_fingers_are_commanded_expect_the_following_one_refused():
    with pytest.raises(ConfigError, match="joint 'panda_finger_joint2' follows joint 'panda_finger_joint1'"):
        names = ("panda_finger_joint1", "panda_finger_joint2")
        resolve_limits(names, (), (), (), [0.5], read_urdf(FRANKA))
