"""Publishers that offer less than is asked for."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402

from resfit_ros.ros.qos import LATCHED, ROBOT, SENSORS  # noqa: E402
from resfit_ros.ros.qos_check import mismatches  # noqa: E402


def publisher(profile: QoSProfile, name: str = "driver") -> SimpleNamespace:
    return SimpleNamespace(node_namespace="/", node_name=name, qos_profile=profile)


def test_when_a_publisher_is_best_effort_but_we_need_all_expect_it_named():
    assert mismatches("/joint_states", ROBOT, [publisher(SENSORS), publisher(ROBOT, "other")]) == [
        "topic /joint_states: publisher /driver offers best effort, we ask reliable"
    ]


def test_when_a_publisher_keeps_nothing_for_late_joiners_expect_it_named():
    (said,) = mismatches("/weights", LATCHED, [publisher(ROBOT)])
    assert said.endswith("/driver offers volatile, we ask transient local")


@pytest.mark.parametrize("offered", [ROBOT, SENSORS, LATCHED])
def test_when_we_take_either_expect_no_complaint(offered):
    assert mismatches("/image", SENSORS, [publisher(offered)]) == []


def test_when_a_publisher_offers_more_expect_no_complaint():
    offered = QoSProfile(
        depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
    )
    assert mismatches("/a", ROBOT, [publisher(offered)]) == []
