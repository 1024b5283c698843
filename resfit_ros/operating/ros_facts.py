"""What never changes while a graph runs, asked for over ROS: joint names, bounds, cameras, ranges."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.node import Node

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32
from resfit_ros.msg import ActorWeights
from resfit_ros.operating.ros_parameters import AskedParameters
from resfit_ros.ros.qos import LATCHED

ASK_EVERY_NS = 10_000_000_000  # a node may have been restarted with other parameters
ASKED = {
    "safety_filter": ("joint_names", "max_residual", "control_hz"),
    "episode_manager": ("max_steps",),
    "aggregator": ("camera_names",),
}


class GraphFacts:
    """Asks without waiting; `on_parameters` and `on_range` hear the answers."""

    def __init__(
        self,
        node: Node,
        namespace: str,
        on_parameters: Callable[[Mapping[str, Any]], None],
        on_range: Callable[[Float32 | None, float], None],
    ) -> None:
        """on_range: (half range of the action per joint (A,) or None, residual_scale)."""
        self._node, self._topic = node, f"{namespace}/actor_weights"
        self._on_parameters, self._on_range = on_parameters, on_range
        self._parameters = AskedParameters(node, namespace, ASKED, self._on_values, ASK_EVERY_NS)
        self._weights = None
        self._wants_range, self._publishers = True, 0

    def poll(self, now_ns: int) -> None:
        """Call a few times a second: asks what is due."""
        self._parameters.poll(now_ns)
        self._watch_weights()

    def _on_values(self, name: str, values: Mapping[str, Any]) -> None:
        try:
            self._on_parameters(values)
        except (AttributeError, TypeError, ValueError) as error:  # a node of another version
            self._node.get_logger().warning(f"parameters of {name} passed over: {error}")

    def _watch_weights(self) -> None:
        """Weights are large: they are heard once per learner, for the ranges that come with them."""
        publishers = self._node.count_publishers(self._topic)
        if publishers > self._publishers:
            self._wants_range = True
        self._publishers = publishers
        if self._wants_range and self._weights is None:
            self._weights = self._node.create_subscription(
                ActorWeights, self._topic, self._on_weights, LATCHED
            )
        elif not self._wants_range and self._weights is not None:
            self._node.destroy_subscription(self._weights)
            self._weights = None

    def _on_weights(self, message: ActorWeights) -> None:
        self._wants_range = False
        half_range = None
        if not message.without_base:  # else the correction is the whole way from the base action
            try:
                half_range = Normaliser.from_dict(json.loads(message.normaliser)).action_half_range
            except (ResfitError, AttributeError, KeyError, TypeError, ValueError):
                pass  # the bars then show the largest value so far; the residual node reports the weights
        self._on_range(None if half_range is None else np.array(half_range), message.residual_scale)

    def close(self) -> None:
        """Asks no more."""
        self._parameters.close()
        if self._weights is not None:
            self._node.destroy_subscription(self._weights)
            self._weights = None
