"""The robot's URDF, from a file or from /robot_description."""

import time
from pathlib import Path

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String

from resfit_ros.core.errors import ConfigError
from resfit_ros.robot.urdf import urdf_text
from resfit_ros.ros.qos import LATCHED

FROM_TOPIC = "topic"
ROBOT_DESCRIPTION = "/robot_description"
TIMEOUT_S = 30.0


def robot_description(node: Node, source: str) -> str | None:
    """The text of the URDF. source: a file, "topic" for /robot_description, or empty for None.

    Raises ConfigError when the file cannot be read or nothing is published within TIMEOUT_S.
    """
    if not source:
        return None
    if source == FROM_TOPIC:
        return _from_topic(node)
    return urdf_text(Path(source).expanduser())


def _from_topic(node: Node) -> str:
    heard: list[str] = []
    subscription = node.create_subscription(String, ROBOT_DESCRIPTION, lambda m: heard.append(m.data), LATCHED)
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    deadline = time.monotonic() + TIMEOUT_S
    while not heard and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
    executor.remove_node(node)
    executor.shutdown()
    node.destroy_subscription(subscription)
    if not heard:
        raise ConfigError(
            f"nothing on {ROBOT_DESCRIPTION} within {TIMEOUT_S:g} s: start robot_state_publisher, or give the URDF "
            "as a file in 'urdf'"
        )
    return heard[-1]
