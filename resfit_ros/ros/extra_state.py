"""Topics beside the joint state that become part of the state: poses, wrenches, arrays."""

from collections.abc import Callable

import numpy as np
from geometry_msgs.msg import PoseStamped, WrenchStamped
from std_msgs.msg import Float64MultiArray

from resfit_ros.core.observation import ARRAY_PREFIX, POSE_PREFIX, WRENCH_PREFIX, canonical_pose
from resfit_ros.ros.convert import from_doubles, to_ns


def pose_numbers(message: PoseStamped) -> np.ndarray:
    """(7,): position [m], unit quaternion x, y, z, w with w >= 0; raises ShapeError on one that is none."""
    p, q = message.pose.position, message.pose.orientation
    return canonical_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def wrench_numbers(message: WrenchStamped) -> np.ndarray:
    """(6,): force [N], torque [N m]."""
    f, t = message.wrench.force, message.wrench.torque
    return np.array((f.x, f.y, f.z, t.x, t.y, t.z))


def array_numbers(message: Float64MultiArray) -> np.ndarray:
    """(N,) in the order published."""
    return from_doubles(message.data)


# Prefix of the block to the topic's type and how to read it.
READERS: dict[str, tuple[type, Callable[..., np.ndarray]]] = {
    POSE_PREFIX: (PoseStamped, pose_numbers),
    WRENCH_PREFIX: (WrenchStamped, wrench_numbers),
    ARRAY_PREFIX: (Float64MultiArray, array_numbers),
}


def reader_of(block: str) -> tuple[type, Callable[..., np.ndarray]]:
    """Message type of a block's topic, and how to read it."""
    return READERS[block.partition("/")[0] + "/"]


def stamp_of(message) -> int | None:
    """Stamp [ns] of the header; None for a message without one."""
    return to_ns(message.header.stamp) if hasattr(message, "header") else None
