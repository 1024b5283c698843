"""Publishers that a subscription cannot hear because they offer less than it asks for, by name."""

from collections.abc import Sequence

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo


def mismatches(topic: str, asked: QoSProfile, publishers: Sequence[TopicEndpointInfo]) -> list[str]:
    """One sentence per publisher and policy that does not fit, e.g. "topic /a: publisher /b offers ..."."""
    found = []
    for publisher in publishers:
        offered = publisher.qos_profile
        who = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
        best_effort = offered.reliability == ReliabilityPolicy.BEST_EFFORT
        if best_effort and asked.reliability == ReliabilityPolicy.RELIABLE:
            found.append(f"topic {topic}: publisher {who} offers best effort, we ask reliable")
        volatile = offered.durability == DurabilityPolicy.VOLATILE
        if volatile and asked.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            found.append(f"topic {topic}: publisher {who} offers volatile, we ask transient local")
    return found


class QosCheck:
    """Collects mismatches of a node's subscriptions; pass `callbacks` where each is made."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._suspects: dict[str, QoSProfile] = {}

    def callbacks(self, topic: str, asked: QoSProfile) -> SubscriptionEventCallbacks:
        """For create_subscription(event_callbacks=...)."""
        name = self._node.resolve_topic_name(topic)
        return SubscriptionEventCallbacks(incompatible_qos=lambda _: self._suspects.update({name: asked}))

    def complaints(self) -> list[str]:
        """What does not fit now; a publisher that has gone is no longer named."""
        found = []
        for topic, asked in list(self._suspects.items()):
            here = mismatches(topic, asked, self._node.get_publishers_info_by_topic(topic))
            found += here
            if not here:
                del self._suspects[topic]
        return found
