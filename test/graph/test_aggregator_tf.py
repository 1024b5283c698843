"""State from the real tf tree, where tf2_ros is installed."""

import numpy as np
import pytest

tf2_ros = pytest.importorskip("tf2_ros", reason="tf2_ros is not installed: it comes with ROS from apt")

from geometry_msgs.msg import TransformStamped  # noqa: E402
from sensor_rig import Rig  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402

from resfit_ros.bringup import NodeSpec  # noqa: E402
from resfit_ros.msg import Hold  # noqa: E402
from resfit_ros.ros.convert import to_time  # noqa: E402
from resfit_ros.ros.qos import STEPS  # noqa: E402

PARAMETERS = {
    "timing": "realtime",
    "joint_names": ["a", "b"],
    "state": ["joint_positions", "tf/base/tool"],
    "max_source_age_s": 1.0,  # a shared machine may stop the publishing process for longer than a robot would
}
HALF = np.sqrt(0.5)


def transform(parent: str, child: str, stamp_ns: int) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, to_time(stamp_ns)
    message.transform.rotation.w = 1.0
    return message


@pytest.fixture
def rig(start) -> Rig:
    """A static frame 1 m along x, and in it the tool 0.5 m along y, turned by 90 degrees about z."""
    rig = Rig(start((NodeSpec("aggregator", PARAMETERS),), whole=False))
    rig.joints()
    mount = transform("base", "arm", rig.now_ns())
    mount.transform.translation.x = 1.0
    rig.broadcaster = tf2_ros.StaticTransformBroadcaster(rig.probe.node)
    rig.broadcaster.sendTransform(mount)
    rig.source("/tf", TFMessage, tool, qos=STEPS)
    rig.begin()
    return rig


def tool(stamp_ns: int) -> TFMessage:
    moving = transform("arm", "tool", stamp_ns)
    moving.transform.translation.y = 0.5
    moving.transform.rotation.z, moving.transform.rotation.w = -HALF, -HALF
    return TFMessage(transforms=[moving])


def test_when_frames_are_published_expect_the_pose_through_the_tree(rig):
    expected = [97, 98, 1.0, 0.5, 0, 0, 0, HALF, HALF]  # the sign of the quaternion makes w positive
    np.testing.assert_allclose(np.array(rig.observations[-1].state), expected, atol=1e-6)


def test_when_the_frame_is_published_no_more_expect_hold_and_resumption(rig):
    rig.sources["/tf"] = lambda stamp_ns: None
    assert "tf/base/tool" in rig.held("tf/").why
    rig.sources["/tf"] = tool
    rig.released()
    assert rig.holds(Hold.REQUEST_FAULT) == []
