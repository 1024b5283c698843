"""Joints and their limits out of a URDF."""

from pathlib import Path

import pytest

from resfit_ros.core.errors import ConfigError
from resfit_ros.robot.urdf import parse_urdf, read_urdf

ROBOTS = Path(__file__).parent / "robots"
LIMIT = '<limit lower="-1" upper="2" velocity="3" effort="4"/>'


def joint(body: str = LIMIT, kind: str = "revolute", name: str = "elbow") -> str:
    links = '<parent link="a"/><child link="b"/>'
    return f'<joint name="{name}" type="{kind}">{links}{body}</joint>'


def robot(*joints: str) -> str:
    return f'<?xml version="1.0" encoding="utf-8"?>\n<robot name="r">{"".join(joints)}</robot>'


def test_when_a_robot_is_read_expect_its_moving_joints_in_order():
    urdf = read_urdf(ROBOTS / "franka_like.urdf")
    arm = [f"panda_joint{i}" for i in range(1, 8)]
    assert list(urdf.joints) == [*arm, "panda_finger_joint1", "panda_finger_joint2"]
    assert urdf.fixed == {"panda_hand_joint"}


def test_when_a_joint_has_limits_expect_all_of_them():
    j = parse_urdf(robot(joint())).joints["elbow"]
    assert (j.lower, j.upper, j.velocity, j.effort) == (-1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(("kind", "unit"), [("revolute", "rad"), ("continuous", "rad"), ("prismatic", "m")])
def test_when_a_joint_turns_or_slides_expect_its_unit(kind, unit):
    assert parse_urdf(robot(joint(kind=kind))).joints["elbow"].unit == unit


def test_when_a_joint_is_continuous_expect_no_position_limits():
    j = parse_urdf(robot(joint(kind="continuous"))).joints["elbow"]
    assert (j.lower, j.upper, j.velocity) == (None, None, 3.0)


def test_when_a_revolute_joint_has_no_range_expect_no_position_limits_instead_of_zero():
    j = parse_urdf(robot(joint('<limit velocity="3" effort="4"/>'))).joints["elbow"]
    assert (j.lower, j.upper) == (None, None)


def test_when_the_velocity_is_zero_expect_it_unknown():
    body = '<limit lower="-1" upper="2" velocity="0" effort="4"/>'
    assert parse_urdf(robot(joint(body))).joints["elbow"].velocity is None


def test_when_soft_limits_are_narrower_expect_them():
    body = LIMIT + '<safety_controller soft_lower_limit="-0.5" soft_upper_limit="9" k_velocity="1"/>'
    j = parse_urdf(robot(joint(body))).joints["elbow"]
    assert (j.lower, j.upper) == (-0.5, 2.0)


def test_when_a_joint_follows_another_expect_its_name():
    urdf = read_urdf(ROBOTS / "franka_like.urdf")
    assert urdf.joints["panda_finger_joint2"].mimic == "panda_finger_joint1"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<robot", "not valid XML"),
        ("<sdf/>", "outermost element is <sdf>, expected <robot>"),
        ("<robot/>", "no joint that moves"),
        (robot(joint(name="")), "type 'revolute' has no name"),
        (robot(joint(kind="hinge")), "joint 'elbow' has type 'hinge'"),
        (robot(joint(), joint()), "two joints are called 'elbow'"),
        (robot(joint(LIMIT.replace("-1", "left"))), "joint 'elbow': lower 'left' is not a number"),
        (robot(joint(LIMIT.replace("-1", "nan"))), "joint 'elbow': lower 'nan' is not a number"),
        (robot(joint(LIMIT.replace('"3"', '"-3"'))), "joint 'elbow': velocity -3 is negative"),
    ],
)
def test_when_the_text_is_wrong_expect_file_and_joint_named(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse_urdf(text, "arm.urdf")
    assert str(caught.value).startswith("arm.urdf: ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (joint(kind="fixed"), "joint 'elbow' is fixed in arm.urdf"),
        (joint(kind="planar"), "joint 'elbow' is planar"),
        (joint(LIMIT + '<mimic joint="other"/>'), "follows joint 'other'"),
        (joint(LIMIT.replace('"2"', '"-1"')), "joint 'elbow': lower -1 must be below upper -1"),
        (joint(name="elbow_joint"), "joint 'elbow' is not in arm.urdf; did you mean 'elbow_joint'"),
    ],
)
def test_when_a_joint_cannot_be_commanded_expect_it_refused_by_name(given, words):
    urdf = parse_urdf(robot(given, joint(name="other")), "arm.urdf")
    with pytest.raises(ConfigError, match=words):
        urdf.controlled("elbow")


@pytest.mark.parametrize("name", ["arm.urdf.xacro", "arm.urdf"])
def test_when_the_file_is_xacro_expect_the_command_to_run(tmp_path, name):
    path = tmp_path / name
    path.write_text('<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:include filename="a"/></robot>')
    with pytest.raises(ConfigError, match=rf"run 'xacro {path} > {tmp_path}/arm.urdf'"):
        read_urdf(path)


def test_when_xacro_only_left_its_namespace_behind_expect_the_robot():
    text = robot(joint()).replace("<robot ", '<robot xmlns:xacro="http://www.ros.org/wiki/xacro" ')
    assert list(parse_urdf(text).joints) == ["elbow"]


def test_when_the_file_is_missing_expect_it_named(tmp_path):
    with pytest.raises(ConfigError, match="none.urdf: cannot be read"):
        read_urdf(tmp_path / "none.urdf")
