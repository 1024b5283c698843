"""Base of every node, and how a node process is run."""

import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from std_msgs.msg import Header

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.parameter_groups import GraphParameters
from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.core.types import HoldRequest, Reason
from resfit_ros.msg import Episode, Hold
from resfit_ros.ros.parameters import LiveParameters
from resfit_ros.ros.qos import EPISODES, STEPS
from resfit_ros.ros.qos_check import QosCheck

P = TypeVar("P", bound=GraphParameters)

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
DIAGNOSTICS_PERIOD_S = 0.5
WAITING_FOR, NOTHING = "waiting for", "nothing"  # key and value in /diagnostics
OPEN_BAGS = "open bags"  # key of the recorder's figures: episodes that are not on the disk as a whole
STOP_LATENCY_S = 0.1  # how long a signal may go unnoticed while nothing happens


class ResfitNode(Node, Generic[P]):
    """A node with validated parameters, a steady clock and one line on /diagnostics.

    Timers run on the steady clock: a jump of the ROS clock must not stop a watchdog.
    """

    niceness = 0  # priority of the process, where the system allows it; lower is served first

    def __init__(self, name: str, **kwargs) -> None:
        super().__init__(name, **kwargs)
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._live = LiveParameters(self, NODE_PARAMETERS[name], self.refuse_change)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._level, self._summary = OK, "starting"
        self._needed: list[Subscription] = []
        self._strangers = 0
        self._qos_check = QosCheck(self)
        self._mismatched: list[str] = []
        self.every(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics)

    @property
    def params(self) -> P:
        """The node's current parameters."""
        return self._live.value

    def refuse_change(self, wanted: P) -> str | None:
        """Why the node does not take valid parameters now, or None; nodes override this."""

    @property
    def source_id(self) -> str:
        """What this node signs its messages with."""
        return self.get_fully_qualified_name()

    def now_ns(self) -> int:
        """The steady clock, for ages and timeouts."""
        return self.steady.now().nanoseconds

    def stamp_ns(self) -> int:
        """The ROS clock, for stamps."""
        return self.get_clock().now().nanoseconds

    def every(self, period_s: float, callback: Callable[[], None]):
        """A timer on the steady clock."""
        return self.create_timer(period_s, callback, clock=self.steady)

    def hear(self, kind: type, topic: str, callback, qos, needed: bool = True, **options) -> None:
        """Subscribes to a topic; without one that is needed the node is not ready to work.

        A message the callback refuses with a ResfitError is reported and passed over.
        """

        def guarded(message) -> None:
            try:
                callback(message)
            except ResfitError as error:
                self.report(WARN, f"message on {topic} passed over: {error}")

        events = self._qos_check.callbacks(topic, qos)
        subscription = self.create_subscription(kind, topic, guarded, qos, event_callbacks=events, **options)
        if needed:
            self._needed.append(subscription)

    def hear_episodes(self, callback: Callable[[Episode], None]) -> None:
        """Subscribes to the episodes of our own episode manager; nobody else may begin or end one."""

        def trusted(message: Episode) -> None:
            if self.trusts(message, "episode_manager"):
                callback(message)

        self.hear(Episode, "episode", trusted, EPISODES)

    def trusts(self, message, name: str) -> bool:
        """Whether node `name` of our own namespace signed the message; other ones are reported."""
        wanted = f"{self.get_namespace().rstrip('/')}/{name}"
        if message.source_id == wanted:
            return True
        self._strangers += 1
        self.report(WARN, f"{type(message).__name__} of '{message.source_id}' ignored: only {wanted} is heard")
        return False

    def may_hold(self) -> None:
        """The node will ask the safety filter to hold."""
        self._hold_requests = self.create_publisher(Hold, "hold_request", STEPS)

    def ask_to_hold(self, request: HoldRequest, reasons: Reason, why: str) -> None:
        """Asks the safety filter to hold, to fault, or takes that back; after `may_hold`."""
        self._hold_requests.publish(
            Hold(
                header=Header(stamp=self.get_clock().now().to_msg()),
                request=int(request),
                reasons=int(reasons),
                why=why,
                source_id=self.source_id,
            )
        )

    def unheard(self) -> list[str]:
        """Needed topics on which no publisher has been found yet."""
        return [s.topic_name for s in self._needed if s.get_publisher_count() == 0]

    def not_ready(self) -> list[str]:
        """What the node still waits for before an episode can start; nodes may add to it."""
        return [f"a publisher on {topic}" for topic in self.unheard()]

    def report(self, level: bytes, summary: str) -> None:
        """Sets what /diagnostics says of this node; a change for the worse goes out at once."""
        worse = level > self._level
        if level != OK and summary != self._summary:
            self.get_logger().warning(summary)
        self._level, self._summary = level, summary
        if worse:
            self._publish_diagnostics()

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics; nodes override this."""
        return {}

    def _publish_diagnostics(self) -> None:
        figures = self.figures() | self._own_figures() | {WAITING_FOR: ", ".join(self.not_ready()) or NOTHING}
        status = DiagnosticStatus(
            level=self._level,
            name=self.get_fully_qualified_name(),
            message=self._summary,
            hardware_id="resfit_ros",
            values=[KeyValue(key=k, value=str(v)) for k, v in figures.items()],
        )
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _own_figures(self) -> dict[str, object]:
        complaints = self._qos_check.complaints()
        if complaints and complaints != self._mismatched:
            self.get_logger().warning("; ".join(complaints))
            self._level, self._summary = max(self._level, WARN), "; ".join(complaints)
        self._mismatched = complaints
        mismatched = {"incompatible publishers": "; ".join(complaints)} if complaints else {}
        return mismatched | ({"messages of strangers": self._strangers} if self._strangers else {})

    def shutdown(self) -> None:
        """Called once before the process ends; nodes override this to stop threads and save."""


def make_executor(context: Context | None = None) -> Executor:
    """One thread. The events executor does not rebuild a wait set per message; early Jazzy lacks it."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def _set_priority(niceness: int) -> None:
    if niceness:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, niceness)
        except PermissionError:
            pass  # rising needs a privilege that most users do not have; control works without


def run_node(node_class: type[ResfitNode], args: list[str] | None = None) -> int:
    """Runs one node until SIGINT or SIGTERM; returns the exit status.

    0: stopped as asked. 2: refused its configuration, after one line on stderr saying why.
    """
    stop = threading.Event()
    # rclpy's own handlers would interrupt a callback half-way, e.g. a bag that is being closed.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node = None
    try:
        _set_priority(node_class.niceness)
        node = node_class()
        executor = make_executor()
        executor.add_node(node)
        # Everything allocated so far stays: the collector must not walk it in the control path.
        gc.collect()
        gc.freeze()
        # Not executor.spin(): the events executor of Jazzy 7.1.6 never fires timers from there.
        while rclpy.ok() and not stop.is_set():
            executor.spin_once(timeout_sec=STOP_LATENCY_S)
    except ResfitError as error:
        print(f"{node_class.__name__}: {error}", file=sys.stderr)
        return 2
    except ExternalShutdownException:
        pass
    finally:
        if node is not None:
            node.shutdown()
        if rclpy.ok():
            rclpy.shutdown()
    return 0
