"""The graph over ROS for one operator: feeds the view model, calls the services, never waits.

    link = RosLink(node, labelled_by="rqt")      # node: an rclpy node that somebody spins
    link.snapshot()                              # -> dict, see view_model
    link.press(Control.SUCCESS)                  # or "success"; False: refused here, and why is told
    link.shortcut("Space")                       # key as in controls.SHORTCUTS
    link.picture("wrist")                        # newest picture of a camera, or None
    link.close()

Every method may be called from any thread. Whatever is pressed ends as a sentence in the snapshot's
`messages`: the service's answer, its refusal, that it is absent, or that it did not answer in 2 s. An
e-stop is never refused here, and asked for again every 0.1 s until the safety filter's status shows it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from resfit_ros.bringup import NAMESPACE
from resfit_ros.core.errors import ResfitError
from resfit_ros.msg import Action, Episode, ExecutedAction, LearnerStatus, Observation, SafetyStatus
from resfit_ros.operating.controls import ABOUT, SHORTCUTS, Control
from resfit_ros.operating.plain import fields_of
from resfit_ros.operating.ros_facts import GraphFacts
from resfit_ros.operating.view_model import ERROR, WARN, OperatorView
from resfit_ros.ros.convert import (
    action_from_msg,
    episode_from_msg,
    executed_from_msg,
    rgb8_from_msg,
    to_ns,
)
from resfit_ros.ros.qos import EPISODES, LATCHED, SENSORS
from resfit_ros.srv import Label

POLL_S = 0.05
PASSED_OVER = (ResfitError, AttributeError, KeyError, TypeError, ValueError)  # a publisher of another version
SERVICES_EVERY = 5  # polls
ANSWER_TIMEOUT_S = 2.0
NOT_DELIVERED = (
    "NOT DELIVERED, node safety_filter is not there: use the hardware e-stop; this one is asked for again"
)
SERVICE_TYPES = {
    "label": Label,
    "reset": Trigger,
    "enable_residual": SetBool,
    "arm": SetBool,
    "estop": SetBool,
    "hold": SetBool,
}


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture of a camera; pixels: uint8 (H, W, 3) RGB."""

    camera: str
    stamp_ns: int
    pixels: np.ndarray


@dataclass(eq=False)
class _Call:
    control: Control
    sent_ns: int
    client: Any
    future: Any = None


class RosLink:
    """Subscriptions and service clients on a node that is spun elsewhere."""

    def __init__(
        self, node: Node, namespace: str = NAMESPACE, labelled_by: str = "operator", window: int = 20
    ) -> None:
        """labelled_by: goes into the episodes that are labelled here; window: of the rolling success rate."""
        self._node, self._namespace, self._labelled_by = node, namespace.rstrip("/"), labelled_by
        self._view = OperatorView(window)
        self._lock = threading.RLock()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._images: tuple[int, list[Image]] = (0, [])
        self._calls: list[_Call] = []
        self._polls = 0
        self._clients = {
            name: node.create_client(kind, f"{self._namespace}/{name}")
            for name, kind in SERVICE_TYPES.items()
        }
        self._facts = GraphFacts(node, self._namespace, self._on_parameters, self._on_range)
        self._subscriptions = [
            self._hear(Episode, "episode", self._on_episode, EPISODES),
            # Best effort: a slow screen must not hold anything up.
            self._hear(Observation, "observation", self._on_observation, SENSORS),
            self._hear(Action, "action", self._on_action, SENSORS),
            self._hear(ExecutedAction, "executed_action", self._on_executed, SENSORS),
            self._hear(SafetyStatus, "safety_status", self._on_safety, 10),
            self._hear(LearnerStatus, "learner_status", self._on_learner, LATCHED),
            self._hear(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50),
        ]
        self._timer = node.create_timer(POLL_S, self._poll, clock=self._steady)

    def _hear(self, kind: type, topic: str, callback: Callable, qos):
        name = topic if topic.startswith("/") else f"{self._namespace}/{topic}"

        def guarded(message) -> None:
            with self._lock:
                try:
                    callback(message, self.now_ns())
                except PASSED_OVER as error:
                    self._view.tell(WARN, f"message on {name} passed over: {error}", self.now_ns())

        return self._node.create_subscription(kind, name, guarded, qos)

    # -- for front ends ---------------------------------------------------------------------

    def now_ns(self) -> int:
        """The steady clock."""
        return self._steady.now().nanoseconds

    def snapshot(self) -> dict:
        """Everything there is to show, JSON-able; see view_model."""
        with self._lock:
            return self._view.snapshot(self.now_ns()) | {"namespace": self._namespace}

    def picture(self, camera: str) -> Picture | None:
        """The newest picture of a camera, by the name the aggregator has for it."""
        with self._lock:
            stamp_ns, images = self._images
            names = self._view.cameras
        if camera not in names or names.index(camera) >= len(images):
            return None
        try:
            return Picture(camera, stamp_ns, rgb8_from_msg(images[names.index(camera)]))
        except ResfitError:
            return None

    def press(self, control: Control | str) -> bool:
        """What a button does; False: refused here. What came of it is told in the snapshot's messages."""
        control, now_ns = Control(control), self.now_ns()
        with self._lock:
            why = self._view.why_not(control, now_ns)
            if why:
                self._view.answer(control, False, why, now_ns)
                return False
            if control is Control.ESTOP:
                self._view.estop.press()
                self._ask_for_estop()
                return True
            if control is Control.RELEASE_ESTOP:
                self._view.estop.release()
            self._call(control)
        return True

    def shortcut(self, key: str) -> bool:
        """Presses what the key stands for; of two, the enabled one. False: refused, or no such key."""
        controls = SHORTCUTS.get(key, ())
        if not controls:
            return False
        with self._lock:
            now_ns = self.now_ns()
            enabled = [c for c in controls if not self._view.why_not(c, now_ns)]
            return self.press((enabled or controls)[0])

    def trouble(self, text: str) -> None:
        """Something went wrong on our own side: told in the snapshot's messages."""
        with self._lock:
            self._view.tell(ERROR, text, self.now_ns())

    def close(self) -> None:
        """Leaves the graph; the node stays."""
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for client in self._clients.values():
            self._node.destroy_client(client)
        self._facts.close()

    # -- what arrives -----------------------------------------------------------------------

    def _ours(self, message, name: str) -> bool:
        return message.source_id == f"{self._namespace}/{name}"

    def _on_episode(self, message: Episode, now_ns: int) -> None:
        if self._ours(message, "episode_manager"):
            self._view.on_episode(episode_from_msg(message), now_ns)

    def _on_observation(self, m: Observation, now_ns: int) -> None:
        if self._ours(m, "aggregator"):
            stamp_ns = to_ns(m.header.stamp)
            self._view.on_observation(m.episode_id, m.step, stamp_ns, now_ns)
            self._images = stamp_ns, list(m.images)

    def _on_action(self, message: Action, now_ns: int) -> None:
        if self._ours(message, "residual"):
            self._view.on_action(action_from_msg(message), now_ns)

    def _on_executed(self, message: ExecutedAction, now_ns: int) -> None:
        if self._ours(message, "safety_filter"):
            self._view.on_executed(executed_from_msg(message), now_ns)

    def _on_safety(self, message: SafetyStatus, now_ns: int) -> None:
        self._view.on_safety(fields_of(message), now_ns)

    def _on_learner(self, message: LearnerStatus, now_ns: int) -> None:
        self._view.on_learner(fields_of(message), now_ns)

    def _on_diagnostics(self, message: DiagnosticArray, now_ns: int) -> None:
        for status in message.status:
            namespace, _, name = status.name.rpartition("/")
            if namespace == self._namespace:
                figures = {v.key: v.value for v in status.values}
                self._view.on_diagnostics(name, status.level[0], status.message, figures, now_ns)

    def _on_parameters(self, values: Mapping[str, Any]) -> None:
        with self._lock:
            view = self._view
            view.cameras = tuple(values.get("camera_names", view.cameras))
            view.residual.joint_names = tuple(values.get("joint_names", view.residual.joint_names))
            view.episode.max_steps = values.get("max_steps", view.episode.max_steps)
            view.episode.control_hz = values.get("control_hz", view.episode.control_hz)
            if len(values.get("max_residual", ())):
                view.residual.max_residual = np.array(values["max_residual"], np.float32)

    def _on_range(self, half_range, scale: float) -> None:
        with self._lock:
            self._view.residual.half_range, self._view.residual.scale = half_range, scale

    # -- services ---------------------------------------------------------------------------

    def _request(self, control: Control):
        about = ABOUT[control]
        if about.outcome is not None:
            request = Label.Request(outcome=int(about.outcome), labelled_by=self._labelled_by)
            if hasattr(request, "episode_id"):  # messages may be those of an earlier build
                request.episode_id = self._view.episode.episode_id
            return request
        return Trigger.Request() if about.data is None else SetBool.Request(data=about.data)

    def _ask_for_estop(self) -> None:
        now_ns = self.now_ns()
        if not self._view.estop.due(now_ns):
            return
        if self._clients["estop"].service_is_ready():
            self._call(Control.ESTOP)
        else:
            self._view.answer(Control.ESTOP, False, NOT_DELIVERED, now_ns)

    def _call(self, control: Control) -> None:
        client = self._clients[ABOUT[control].service]
        call = _Call(control, self.now_ns(), client)
        self._calls.append(call)
        call.future = client.call_async(self._request(control))
        call.future.add_done_callback(lambda future: self._answered(call, future))

    def _answered(self, call: _Call, future) -> None:
        with self._lock:
            if call not in self._calls:
                return
            self._calls.remove(call)
            answer = future.result()
            ok = answer is not None and answer.success
            text = answer.message if answer is not None else "no answer"
            if not ok:
                text = f"refused: {text.removeprefix('refused: ')}"
            self._view.answer(call.control, ok, text, self.now_ns())
            if not ok:
                return
            if call.control is Control.ESTOP:
                self._view.estop.on_answer()
            elif call.control in (Control.ENABLE_RESIDUAL, Control.DISABLE_RESIDUAL):
                self._view.residual.on_switch(call.control is Control.ENABLE_RESIDUAL, self.now_ns())

    # -- by the clock -----------------------------------------------------------------------

    def _poll(self) -> None:
        with self._lock:
            now_ns = self.now_ns()
            self._ask_for_estop()
            self._drop_unanswered(now_ns)
            if self._polls % SERVICES_EVERY == 0:
                self._view.on_services({n: c.service_is_ready() for n, c in self._clients.items()})
                self._facts.poll(now_ns)
            self._polls += 1

    def _drop_unanswered(self, now_ns: int) -> None:
        for call in [c for c in self._calls if (now_ns - c.sent_ns) * 1e-9 > ANSWER_TIMEOUT_S]:
            self._calls.remove(call)
            call.client.remove_pending_request(call.future)
            text = f"no answer in {ANSWER_TIMEOUT_S:g} s; see what node {ABOUT[call.control].node} reports"
            self._view.answer(call.control, False, text, now_ns)
