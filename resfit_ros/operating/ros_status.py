"""Listens to a running graph for a moment, for `resfit status`; light enough for a busy robot."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray

from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.msg import Action, LearnerStatus, SafetyStatus
from resfit_ros.operating.graph_health import MANAGER, Heard, Word, control_rate, expected_nodes, readable
from resfit_ros.operating.plain import fields_of
from resfit_ros.operating.ros_parameters import AskedParameters
from resfit_ros.ros.own_node import OwnNode
from resfit_ros.ros.qos import LATCHED, SENSORS

SILENT_NS = 3_000_000_000  # what was said longer ago does not count
RATE_OVER_NS = 2_000_000_000
TICK_S = 0.05
ASKED = {
    MANAGER: ("wait_for_nodes", "max_steps"),
    "aggregator": ("control_hz", "timing"),
}


class StatusListener:
    """Context manager around a small node of its own; `heard` is what `graph_health.judge` takes."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace.rstrip("/")
        self._words: dict[str, tuple[int, Word]] = {}
        self._newest: dict[str, tuple[int, dict[str, Any]]] = {}
        self._steps: deque[tuple[int, int, int]] = deque(maxlen=4000)
        self._parameters: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> "StatusListener":
        self._own = OwnNode("resfit_status")
        self._node = self._own.node
        for kind, topic, callback, qos in (
            (DiagnosticArray, "/diagnostics", self._on_diagnostics, 50),
            (SafetyStatus, f"{self._namespace}/safety_status", self._keep("safety"), SENSORS),
            (LearnerStatus, f"{self._namespace}/learner_status", self._keep("learner"), LATCHED),
            # Best effort: who looks on must not hold anything up.
            (Action, f"{self._namespace}/action", self._on_action, SENSORS),
        ):
            self._node.create_subscription(kind, topic, callback, qos)
        self._asked = AskedParameters(self._node, self._namespace, ASKED, self._parameters.__setitem__)
        return self

    def __exit__(self, *_: object) -> None:
        self._own.close()

    # -- listening --------------------------------------------------------------------------

    def spin(self, seconds: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Listens for so long, or until `enough()`."""

        def asked_enough() -> bool:
            self._asked.poll(time.monotonic_ns())
            return enough()

        self._own.spin(seconds, asked_enough, TICK_S)

    def knows_nodes(self) -> bool:
        """Whether everybody who is expected was heard."""
        heard = self.heard()
        if heard.expected is None or expected_nodes(heard) - set(heard.nodes) or heard.safety is None:
            return False
        return bool(heard.timing) and ("learner" not in heard.nodes or heard.learner is not None)

    def knows_enough(self) -> bool:
        """Whether listening longer would hardly tell more: the control rate, too, while an episode runs."""
        if not self.knows_nodes():
            return False
        heard = self.heard()
        running = heard.nodes[MANAGER].figures.get("state") == "running"
        return not running or control_rate(heard.steps) is not None

    def heard(self) -> Heard:
        """What was said within the last seconds."""
        now_ns = time.monotonic_ns()
        while self._steps and now_ns - self._steps[0][0] > RATE_OVER_NS:
            self._steps.popleft()
        facts = {key: value for values in self._parameters.values() for key, value in values.items()}
        expected = facts.get("wait_for_nodes")
        return Heard(
            namespace=self._namespace or "/",
            nodes={n: word for n, (at_ns, word) in self._words.items() if now_ns - at_ns <= SILENT_NS},
            present=self._present(),
            expected=None if expected is None else tuple(expected),
            safety=self._recent("safety", now_ns),
            learner=self._recent("learner", now_ns),
            steps=tuple(self._steps),
            control_hz=facts.get("control_hz"),
            timing=facts.get("timing") or "",
            max_steps=facts.get("max_steps"),
        )

    def _present(self) -> frozenset[str]:
        found = self._node.get_node_names_and_namespaces()
        wanted = self._namespace or "/"
        return frozenset(name for name, namespace in found if namespace == wanted and name in NODE_PARAMETERS)

    def _recent(self, name: str, now_ns: int) -> dict[str, Any] | None:
        at_ns, fields = self._newest.get(name, (0, None))
        return fields if fields is not None and now_ns - at_ns <= SILENT_NS else None

    # -- what arrives -----------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            namespace, _, name = status.name.rpartition("/")
            if namespace == self._namespace:
                figures = {v.key: v.value for v in status.values}
                self._words[name] = time.monotonic_ns(), Word(status.level[0], status.message, figures)

    def _keep(self, name: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            fields = fields_of(message)
            if readable(fields):  # else of another version: as if nothing was heard
                self._newest[name] = time.monotonic_ns(), fields

        return keep

    def _on_action(self, message: Action) -> None:
        self._steps.append((time.monotonic_ns(), message.episode_id, message.step))
