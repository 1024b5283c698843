"""Joint commands in three message types, in any joint order."""

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from sensor_msgs.msg import JointState  # noqa: E402
from std_msgs.msg import Float64MultiArray  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from resfit_ros.core.errors import ShapeError  # noqa: E402
from resfit_ros.ros.commands import MESSAGE_TYPES, CommandParser, CommandPublisher  # noqa: E402

NAMES = ("a", "b", "c")
STAMP = 5_000_000_007


class Recorder:
    """Stands in for a node: keeps what is published."""

    def __init__(self) -> None:
        self.sent: list = []

    def create_publisher(self, _type, _topic, _qos):
        return self

    def publish(self, message) -> None:
        self.sent.append(message)


@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_when_published_and_parsed_expect_the_same_positions(kind):
    position = np.array([0.1, -0.2, 1e-9])
    node = Recorder()
    CommandPublisher(node, kind, NAMES).publish(position, STAMP, 50_000_000)
    command = CommandParser(NAMES).parse(node.sent[0])
    assert command.position.tolist() == position.tolist()
    assert command.stamp_ns == (0 if kind == "multi_array" else STAMP)
    assert command.duration_s == (0.05 if kind == "joint_trajectory" else None)


def test_when_joints_come_in_another_order_expect_the_configured_one():
    message = JointState(name=["c", "x", "a", "b"], position=array("d", [3, 9, 1, 2]))
    assert CommandParser(NAMES).parse(message).position.tolist() == [1, 2, 3]


def test_when_trajectory_has_several_points_expect_the_last():
    points = [JointTrajectoryPoint(positions=[float(i)] * 3) for i in range(3)]
    message = JointTrajectory(joint_names=list(NAMES), points=points)
    assert CommandParser(NAMES).parse(message).position.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Float64MultiArray(data=[1.0, 2.0]), "2 values, expected 3"),
        (Float64MultiArray(data=[1.0, float("nan"), 2.0]), "NaN or Inf"),
        (JointState(name=["a", "b"], position=[1.0, 2.0]), "lacks joint 'c'"),
        (JointState(name=list(NAMES), position=[1.0]), "3 names but 1 positions"),
        (JointTrajectory(joint_names=list(NAMES)), "without points"),
    ],
)
def test_when_command_is_unusable_expect_the_reason(message, reason):
    with pytest.raises(ShapeError, match=reason):
        CommandParser(NAMES).parse(message)
