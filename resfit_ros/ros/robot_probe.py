"""Joins the running ROS graph for a few seconds and notes what the robot's side of it does."""

import time
from collections.abc import Sequence
from typing import Any

import rclpy
from rclpy.duration import Infinite
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.robot.interfaces import OFFERS, PUBLISHES, TRANSFORMS, Interface
from resfit_ros.robot.limits import MergedLimits
from resfit_ros.robot.live import Endpoint, SeenGraph
from resfit_ros.ros.own_node import OwnNode
from resfit_ros.ros.robot_listener import Listener

DISCOVERY_S, SETTLED_S = 12.0, 4.0  # Fast DDS announces itself every 3 s


def look_at_robot(
    interfaces: Sequence[Interface], aggregator: AggregatorParameters, limits: MergedLimits, seconds: float
) -> SeenGraph:
    """What is there within DISCOVERY_S at most, and `seconds` of its messages."""
    with OwnNode("resfit_check_robot") as own:
        node = own.node
        _discover(own, interfaces)
        if node.get_publishers_info_by_topic("/clock"):
            node.set_parameters([Parameter("use_sim_time", value=True)])
        others = {i.name: _others(node, i) for i in interfaces}
        names = _names(node)
        ears = [Listener(node, i, aggregator, limits) for i in interfaces if _audible(i, others[i.name])]
        own.spin(seconds)
        nodes = len(node.get_node_names()) - 1
        return SeenGraph(seconds, nodes, others, {e.interface.name: e.heard() for e in ears}, *names)


def _discover(own: OwnNode, interfaces: Sequence[Interface]) -> None:
    """Waits until everybody needed was found, or nobody new has shown up for SETTLED_S."""
    node, start = own.node, time.monotonic()
    changed = start
    known: Any = None
    while time.monotonic() < start + DISCOVERY_S and time.monotonic() < changed + SETTLED_S:
        own.spin(0.1)
        seen = [_others(node, i) for i in interfaces]
        if all(others for others, i in zip(seen, interfaces, strict=True) if i.needed):
            own.spin(0.5)  # for the optional ones
            return
        now = (seen, sorted(node.get_node_names()), sorted(node.get_topic_names_and_types()))
        if now != known:
            known, changed = now, time.monotonic()


def _audible(interface: Interface, others: Sequence[Endpoint]) -> bool:
    wanted = interface.robot == PUBLISHES
    return wanted and any(e.type == interface.type and not e.qos_conflict for e in others)


# -- who is there ---------------------------------------------------------------------------------


def _others(node: Node, interface: Interface) -> tuple[Endpoint, ...]:
    """Everybody on the robot's side of an interface."""
    if interface.robot == OFFERS:
        return _servers(node, interface.name)
    publishes = interface.robot == PUBLISHES
    find = node.get_publishers_info_by_topic if publishes else node.get_subscriptions_info_by_topic
    ours = graph_qos(interface)
    found = []
    static = find("/tf_static") if interface.what == TRANSFORMS else []
    for info in [*find(interface.name), *static]:
        pair = (info.qos_profile, ours) if publishes else (ours, info.qos_profile)
        name = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
        found.append(Endpoint(name, info.topic_type, qos_conflict(*pair)))
    return tuple(found)


def _servers(node: Node, service: str) -> tuple[Endpoint, ...]:
    found = []
    for name, namespace in node.get_node_names_and_namespaces():
        try:
            offered = node.get_service_names_and_types_by_node(name, namespace)
        except rclpy.node.NodeNameNonExistentError:
            continue  # it has just ended
        found += [Endpoint(f"{namespace.rstrip('/')}/{name}", t[0]) for s, t in offered if s == service and t]
    return tuple(found)


def _names(node: Node) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """(published topics, subscribed topics, services), each with its type."""
    topics = {name: types[0] for name, types in node.get_topic_names_and_types() if types}
    published = {n: t for n, t in topics.items() if node.count_publishers(n)}
    taken = {n: t for n, t in topics.items() if node.count_subscribers(n)}
    services = {n: t[0] for n, t in node.get_service_names_and_types() if t}
    return published, taken, services


def graph_qos(interface: Interface) -> QoSProfile:
    """The quality of service that the graph's own node has on an interface."""
    reliability = ReliabilityPolicy.RELIABLE if interface.reliable else ReliabilityPolicy.BEST_EFFORT
    durability = DurabilityPolicy.TRANSIENT_LOCAL if interface.latched else DurabilityPolicy.VOLATILE
    return QoSProfile(
        depth=10,
        reliability=reliability,
        durability=durability,
        # As discovered profiles spell them; the defaults' spelling, 0, would not compare.
        deadline=Infinite,
        liveliness=LivelinessPolicy.AUTOMATIC,
        liveliness_lease_duration=Infinite,
    )


def qos_conflict(publisher: QoSProfile, subscription: QoSProfile) -> str:
    """Why a publisher and a subscription never connect, by policy; empty: they do."""
    found = [
        f"{policy}: publisher {mine.name}, subscription {wanted.name}"
        for policy, mine, wanted, lacks in (
            ("reliability", publisher.reliability, subscription.reliability, ReliabilityPolicy.BEST_EFFORT),
            ("durability", publisher.durability, subscription.durability, DurabilityPolicy.VOLATILE),
        )
        if mine == lacks and mine != wanted and wanted.name in ("RELIABLE", "TRANSIENT_LOCAL")
    ]
    if not found:
        verdict, why = qos_check_compatible(publisher, subscription)
        if verdict == QoSCompatibility.ERROR:
            found = [why.strip().rstrip(";").removeprefix("ERROR: ")]
    return "; ".join(found)
