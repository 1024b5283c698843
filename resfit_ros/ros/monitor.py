"""What the command line watches of a running graph: episodes, the learner, diagnostics."""

import os
import time
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from resfit_ros.bringup import NAMESPACE
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.core.types import EpisodeEnded
from resfit_ros.msg import Episode, LearnerStatus
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.own_node import OwnNode
from resfit_ros.ros.qos import EPISODES, LATCHED

DISCOVERY_S = 1.0


class GraphMonitor:
    """Context manager around a small node of its own; `spin` once in a while."""

    def __init__(self, on_episode: Callable[[EpisodeEnded], None] = lambda e: None) -> None:
        self.learner: LearnerStatus | None = None
        self.last_activity = time.monotonic()
        self._on_episode = on_episode
        self._complaints: dict[str, str] = {}

    def __enter__(self) -> "GraphMonitor":
        self._own = OwnNode("resfit_cli", NAMESPACE)
        node = self._own.node
        node.create_subscription(Episode, "episode", self._episode, EPISODES)
        node.create_subscription(LearnerStatus, "learner_status", self._status, LATCHED)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnostics, 10)
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    def refuse_running_graph(self) -> None:
        """Raises ConfigError when somebody's graph runs in this ROS domain already."""
        end = time.monotonic() + DISCOVERY_S
        while time.monotonic() < end:
            self.spin(0.1)
            for name, namespace in self._own.node.get_node_names_and_namespaces():
                if namespace == NAMESPACE and name in NODE_PARAMETERS:
                    domain = os.environ.get("ROS_DOMAIN_ID", "0")
                    raise ConfigError(
                        f"ROS domain {domain} is in use: node {namespace}/{name} runs there already; "
                        "stop that graph, or choose another domain with ROS_DOMAIN_ID=<1-101>"
                    )

    def spin(self, seconds: float) -> None:
        """Handles what has arrived, for at most so long."""
        self._own.spin(seconds)

    def complaints(self) -> str:
        """What the nodes say is wrong, one line each."""
        return "\n".join(f"  {name}: {text}" for name, text in sorted(self._complaints.items()))

    def _episode(self, message: Episode) -> None:
        self.last_activity = time.monotonic()
        event = episode_from_msg(message)
        if isinstance(event, EpisodeEnded):
            self._on_episode(event)

    def _status(self, message: LearnerStatus) -> None:
        if self.learner is None or message.gradient_updates > self.learner.gradient_updates:
            self.last_activity = time.monotonic()
        self.learner = message

    def _diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level == DiagnosticStatus.OK and "waiting" not in status.message:
                self._complaints.pop(status.name, None)
            else:
                self._complaints[status.name] = status.message
