"""A gamepad in the operator's hands: labels, resets, arming, e-stop, hold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml
from sensor_msgs.msg import Joy
from std_srvs.srv import SetBool, Trigger

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.joy_mapping import JoyMapping, PadAction, PressDetector, mapping_from
from resfit_ros.core.operator_requests import RETRY_NS, EstopRequest, HoldWish
from resfit_ros.core.parameters import OperatorParameters
from resfit_ros.core.types import HoldRequest, Outcome, Reason, SafetyState
from resfit_ros.msg import Action, Label, SafetyStatus
from resfit_ros.ros.convert import header, to_ns
from resfit_ros.ros.node import ERROR, OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS

POLL_S = 0.05
ANSWER_TIMEOUT_S = 2.0
REPORT_STAYS_S = 3.0  # what went wrong is shown for so long
LABELS = {
    PadAction.SUCCESS: Outcome.SUCCESS,
    PadAction.FAILURE: Outcome.FAILURE,
    PadAction.DISCARD: Outcome.ABORTED,
}
# Action to service, request and the node that offers it.
CALLS = {
    PadAction.RESET: ("reset", Trigger.Request(), "episode_manager"),
    PadAction.ARM: ("arm", SetBool.Request(data=True), "safety_filter"),
    PadAction.DISARM: ("arm", SetBool.Request(data=False), "safety_filter"),
    PadAction.ENABLE_RESIDUAL: ("enable_residual", SetBool.Request(data=True), "residual"),
    PadAction.DISABLE_RESIDUAL: ("enable_residual", SetBool.Request(data=False), "residual"),
}


@dataclass
class _Call:
    what: str
    sent_ns: int


def load_mapping(path: Path) -> JoyMapping:
    """The content of a mapping file. Raises ConfigError."""
    if path == Path():
        raise ConfigError("parameter 'mapping' is empty; give a file like those in config/joy")
    try:
        return mapping_from(yaml.safe_load(path.read_text()), str(path))
    except OSError as error:
        raise ConfigError(
            f"mapping {path}: cannot be read ({error.strerror}); give a file like those in config/joy"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


class Operator(ResfitNode[OperatorParameters]):
    """Every message is looked at, so the shortest press counts; nothing waits for an answer."""

    def __init__(self) -> None:
        super().__init__("operator")
        p = self.params
        mapping = load_mapping(Path(p.mapping))
        silence_ns = round(p.joy_timeout_s * 1e9)
        self._presses = PressDetector(mapping, silence_ns)
        self._estop = EstopRequest()
        self._hold = HoldWish(mapping.has_dead_man, silence_ns)
        self._dead_man = mapping.has_dead_man
        self._held = ""  # why the safety filter was last asked to hold
        self._hold_sent_ns: int | None = None
        self._step_stamp_ns = 0  # lockstep: of the newest step
        self._pending: list[_Call] = []
        self._counts = dict.fromkeys(PadAction, 0)
        self._told_ns: int | None = None
        self._pad_problem = ""
        self._labels = self.create_publisher(Label, "label_event", STEPS)
        self.may_hold()
        self._calls = {
            "reset": self.create_client(Trigger, "reset"),
            "arm": self.create_client(SetBool, "arm"),
            "estop": self.create_client(SetBool, "estop"),
            "enable_residual": self.create_client(SetBool, "enable_residual"),
        }
        self.hear(Joy, "joy", self._on_joy, STEPS)
        self.create_subscription(SafetyStatus, "safety_status", self._on_safety, 10)
        if p.lockstep:
            self.create_subscription(Action, "action", self._on_action, STEPS)
        self.every(POLL_S, self._poll)
        self.report(WARN, "waiting for the pad")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        presses = {f"presses: {a.value}": n for a, n in self._counts.items() if n}
        return {
            "e-stop": "pressed" if self._estop.pressed else "not pressed here",
            "hold": self._held or "no",
            "pad silent [s]": f"{self._hold.silent_s(self.now_ns()):.1f}",
        } | presses

    # -- inputs -----------------------------------------------------------------------------

    def _on_joy(self, message: Joy) -> None:
        now_ns = self.now_ns()
        reading = self._presses.read(message.buttons, message.axes, now_ns)
        self._hold.on_message(reading.dead_man, now_ns)
        self._pad_problem = reading.problem
        # The e-stop first, whatever else was pressed with it.
        for action in sorted(reading.pressed, key=lambda a: a is not PadAction.ESTOP):
            self._counts[action] += 1
            self._do(action, to_ns(message.header.stamp))
        self._send_hold(now_ns)

    def _on_safety(self, message: SafetyStatus) -> None:
        self._estop.on_status(SafetyState(message.state), Reason(message.reasons))

    def _on_action(self, message: Action) -> None:
        self._step_stamp_ns = to_ns(message.header.stamp)

    # -- what a press does ------------------------------------------------------------------

    def _do(self, action: PadAction, stamp_ns: int) -> None:
        if action in LABELS:
            self._label(LABELS[action], stamp_ns)
        elif action is PadAction.ESTOP:
            self._estop.press()
            self._press_estop()
        elif action is PadAction.RELEASE_ESTOP:
            self._estop.release()
            self._call("estop", SetBool.Request(data=False), "safety_filter", "release of the e-stop")
        elif action in (PadAction.HOLD, PadAction.RESUME):
            self._hold.ask(action is PadAction.HOLD)
        else:
            service, request, node = CALLS[action]
            self._call(service, request, node, action.value)

    def _label(self, outcome: Outcome, stamp_ns: int) -> None:
        now_ns = self.stamp_ns()
        if self.params.lockstep:  # no clock runs there: a press is for what the robot shows
            stamp_ns = max(1, self._step_stamp_ns)
        elif not stamp_ns:
            stamp_ns = now_ns
        elif abs(now_ns - stamp_ns) > self.params.max_stamp_error_s * 1e9:
            self._tell(
                WARN,
                f"the pad's stamp is {(now_ns - stamp_ns) * 1e-9:+.1f} s off; the label is stamped with its arrival: "
                "synchronise the clocks, or give the joy driver this graph's use_sim_time",
            )
            stamp_ns = now_ns
        self._labels.publish(
            Label(header=header(stamp_ns), outcome=int(outcome), labelled_by=self.get_name())
        )

    def _press_estop(self) -> None:
        if self._estop.due(self.now_ns()):
            request = SetBool.Request(data=True)
            self._call("estop", request, "safety_filter", "e-stop", ERROR, self._estop.on_answer)

    def _call(
        self,
        service: str,
        request,
        node: str,
        what: str,
        level: bytes = WARN,
        on_answer: Callable[[], None] | None = None,
    ) -> None:
        client = self._calls[service]
        if not client.service_is_ready():
            name = self.resolve_service_name(service)
            self._tell(level, f"{what}: service {name} is absent; is node {node} running?")
            return
        call = _Call(what, self.now_ns())

        def done(future) -> None:
            if call in self._pending:
                self._pending.remove(call)
            answer = future.result()
            if answer is None or not answer.success:
                self._tell(level, f"{what} refused: {answer.message if answer else 'no answer'}")
                return
            self.get_logger().info(f"{what}: {answer.message}")
            if on_answer is not None:
                on_answer()

        self._pending.append(call)
        client.call_async(request).add_done_callback(done)

    # -- by the clock -----------------------------------------------------------------------

    def _poll(self) -> None:
        now_ns = self.now_ns()
        self._press_estop()
        self._send_hold(now_ns)
        for call in [c for c in self._pending if (now_ns - c.sent_ns) * 1e-9 > ANSWER_TIMEOUT_S]:
            self._pending.remove(call)
            self._tell(WARN, f"{call.what}: no answer in {ANSWER_TIMEOUT_S:g} s; look at /diagnostics")
        self._report_state(now_ns)

    def _send_hold(self, now_ns: int) -> None:
        """On a change at once, and then again and again: a filter that starts later has to know, too."""
        why, sent_ns = self._hold.why(now_ns), self._hold_sent_ns
        never_held = sent_ns is None and not why and not self._dead_man
        repeat = sent_ns is None or now_ns - sent_ns >= RETRY_NS
        if never_held or (bool(why) == bool(self._held) and not repeat):
            self._held = why
            return
        self._held, self._hold_sent_ns = why, now_ns
        self.ask_to_hold(HoldRequest.HOLD if why else HoldRequest.RELEASE, Reason.OPERATOR, why)

    def _tell(self, level: bytes, text: str) -> None:
        self._told_ns = self.now_ns()
        self.report(level, text)

    def _report_state(self, now_ns: int) -> None:
        if self._told_ns is not None and (now_ns - self._told_ns) * 1e-9 < REPORT_STAYS_S:
            return
        if self._estop.pressed:
            self.report(ERROR, "e-stop pressed" if self._estop.shown else "e-stop pressed, not confirmed yet")
        elif self._pad_problem:
            self.report(WARN, self._pad_problem)
        elif self._held:
            self.report(WARN, f"hold: {self._held}")
        elif self._hold.silent_s(now_ns) == float("inf"):
            self.report(WARN, "waiting for the pad")
        else:
            self.report(OK, "listening to the pad")


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros operator`."""
    return run_node(Operator, args)


if __name__ == "__main__":
    raise SystemExit(main())
