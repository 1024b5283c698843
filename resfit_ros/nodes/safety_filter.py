"""The last node before the robot: limits, watchdogs, hold, arming."""

import dataclasses
import time

import numpy as np
from geometry_msgs.msg import WrenchStamped
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.joint_states import JointStates
from resfit_ros.core.parameter_groups import BASE_COMMAND, TOPIC
from resfit_ros.core.phase_lock import PhaseLock
from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.safety_parameters import POSITION_VELOCITY, SafetyParameters
from resfit_ros.core.safety_settings import SetPoint
from resfit_ros.core.transparent import TransparentFilter
from resfit_ros.core.types import Action, EpisodeEnded, Executed, HoldRequest, Reason, SafetyState
from resfit_ros.msg import Action as ActionMsg
from resfit_ros.msg import Episode, ExecutedAction, Hold, SafetyStatus
from resfit_ros.robot.filter_setup import filter_options, force_guard, notes
from resfit_ros.ros.commands import MESSAGE_TYPES, CommandParser, CommandPublisher
from resfit_ros.ros.convert import (
    action_from_msg,
    episode_from_msg,
    executed_to_msg,
    from_doubles,
    to_ns,
)
from resfit_ros.ros.node import ERROR, OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import ROBOT, SENSORS, STEPS
from resfit_ros.ros.robot_description import robot_description
from resfit_ros.ros.safety_status import safety_figures, safety_status

POSITIONS = "joint_positions"
STATUS_PERIOD_S = 0.1
STOP_WITHIN_S = 0.9  # a stopping process brakes the robot for so long at most
LEVELS = {
    SafetyState.ARMED: OK,
    SafetyState.DISARMED: WARN,
    SafetyState.HOLD: WARN,
    SafetyState.FAULT: ERROR,
}


class SafetyFilterNode(ResfitNode[SafetyParameters]):
    """Realtime: one set point per tick. Lockstep: one set point per action, of a control period."""

    niceness = -15

    def __init__(self) -> None:
        self._filter: SafetyFilter | None = None
        super().__init__("safety_filter")
        p = self.params
        self._timing = p.safety_timing
        self._filter = self._make_filter()
        self._filter.limiter.speed_scale = p.speed_scale
        self._joints = JointStates(p.joint_names, (POSITIONS,))
        self._waiting: Action | None = None  # lockstep: came before the state it needs
        self._last: tuple[SetPoint, Executed] | None = None
        self._reasons = Reason.NONE
        self._shown_state = self._filter.state
        self._forces = force_guard(p)
        self._arm_by_itself = p.auto_arm
        self._bad_state_stamps = 0
        self._operator_ns: int | None = None  # when node operator was last heard
        self._lead_ns = self._timing.tick_ns if p.lockstep else round(p.command_lead_s * 1e9)
        self._commands = CommandPublisher(
            self, p.command_type, p.joint_names, p.command_fields == POSITION_VELOCITY
        )
        self._executed = self.create_publisher(ExecutedAction, "executed_action", STEPS)
        self._status = self.create_publisher(SafetyStatus, "safety_status", 10)
        self._hear_inputs()
        self.create_service(SetBool, "arm", self._on_arm)
        self.create_service(SetBool, "estop", self._on_estop)
        self.create_service(SetBool, "hold", self._on_hold)
        if not p.lockstep:
            self._phase = PhaseLock(self._timing.tick_ns)
            self._ticker = self.every(self._timing.tick_ns * 1e-9, self._tick)
        self.every(STATUS_PERIOD_S, self._watch_inputs)

    def _make_filter(self) -> SafetyFilter:
        p = self.params
        limits, options = filter_options(p, robot_description(self, p.urdf))
        for note in notes(options):
            self.get_logger().warning(note)
        trusted = f"{self.get_namespace().rstrip('/')}/residual"
        if p.base_source != TOPIC:
            return SafetyFilter(limits, self._timing, trusted, **options)
        timeout_ns, same_type = round(p.base_timeout_s * 1e9), p.base_command_type == p.command_type
        return TransparentFilter(limits, self._timing, trusted, timeout_ns, same_type, **options)

    def _hear_inputs(self) -> None:
        p = self.params
        self.hear(ActionMsg, "action", self._on_action, STEPS)
        self.hear_episodes(self._on_episode)
        self.hear(JointState, "joint_states", self._on_joint_state, ROBOT if p.lockstep else SENSORS)
        self.hear(Hold, "hold_request", self._on_hold_request, STEPS, needed=False)
        self._parser = CommandParser(p.joint_names)
        if p.base_source == TOPIC:
            # Serialised, so that what passes on is the controller's message bit for bit.
            kind = MESSAGE_TYPES[p.base_command_type]
            self.hear(kind, BASE_COMMAND, lambda data: self._on_base_command(kind, data), ROBOT, raw=True)
        if p.teleop:
            kind = MESSAGE_TYPES[p.teleop_command_type]
            self.hear(kind, "teleop_command", self._on_teleop, ROBOT, needed=False)
        if self._forces is not None:
            self.hear(WrenchStamped, "wrench", self._on_wrench, SENSORS)

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        f = self._filter
        if f is None:
            return {}
        others = {"joint states with a bad stamp": self._bad_state_stamps}
        return safety_figures(f, self._reasons) | others

    def not_ready(self) -> list[str]:
        """The description, too, where limits come from it."""
        return super().not_ready() + (["the robot description"] if self._filter is None else [])

    # -- inputs -----------------------------------------------------------------------------

    def _on_joint_state(self, message: JointState) -> None:
        stamp_ns = to_ns(message.header.stamp)
        if not self.params.lockstep and not self._is_plausible(stamp_ns):
            self._bad_state_stamps += 1
            self.report(WARN, "joint state rejected: its stamp is zero or in the future; check the clocks")
            return
        try:
            fields = {POSITIONS: from_doubles(message.position)}
            new = self._joints.update(message.name, fields, stamp_ns, self.now_ns())
            whole = self._joints.complete() if new else None
            if whole is None:
                return
            self._filter.on_joint_state(whole.value[POSITIONS], whole.stamp_ns, whole.received_ns)
        except ResfitError as error:
            self.report(WARN, f"joint state rejected: {error}")
            return
        if self._arm_by_itself and self._filter.arm(self.now_ns()) is None:
            self._arm_by_itself = False
        if self._waiting is not None and self._filter.synchronised:
            action, self._waiting = self._waiting, None
            self._execute(action)

    def _is_plausible(self, stamp_ns: int) -> bool:
        return stamp_ns > 0 and not self._begins_later(stamp_ns)

    def _begins_later(self, stamp_ns: int) -> bool:
        return stamp_ns > self.stamp_ns() + self._timing.stamp_tolerance_ns

    def _on_episode(self, message: Episode) -> None:
        event = episode_from_msg(message)
        if isinstance(event, EpisodeEnded):
            self._filter.on_episode_ended(event.episode_id, event.steps)
        else:
            self._filter.on_episode_started(event.episode_id, event.stamp_ns)

    def _on_action(self, message: ActionMsg) -> None:
        action = action_from_msg(message)
        if action.source_id == self._filter.trusted_source:
            self._filter.on_episode_started(action.episode_id, action.stamp_ns)
        else:
            self.report(WARN, f"action of '{action.source_id}' ignored: only {self._filter.trusted_source} is heard")
        if self.params.lockstep:
            self._execute(action)
            return
        now_ns = self.now_ns()
        taken, cut_short = self._filter.on_action(action, now_ns, self.stamp_ns())
        if taken:
            self._phase.on_action(now_ns)
        if cut_short is not None:
            self._publish_executed(cut_short)

    def _on_base_command(self, kind: type, data: bytes) -> None:
        message = deserialize_message(data, kind)
        path = self._parser.path(message)
        if hasattr(message, "header") and self._begins_later(to_ns(message.header.stamp)):
            path = dataclasses.replace(path, plain=False)  # followed from now on, never passed on
        if self._filter.on_base_command(path, self.now_ns()):
            self._commands.forward(data)

    def _on_teleop(self, message) -> None:
        self._filter.on_teleop(self._parser.path(message), self.now_ns())

    def _on_wrench(self, message: WrenchStamped) -> None:
        f, t = message.wrench.force, message.wrench.torque
        force, torque = np.array([f.x, f.y, f.z]), np.array([t.x, t.y, t.z])
        reasons = self._forces.on_wrench(force, torque, to_ns(message.header.stamp), self.now_ns())
        if reasons:
            self._filter.fault(reasons)

    def _watch_forces(self, now_ns: int) -> None:
        """A sensor that was heard once must go on."""
        if self._forces is not None and self._filter.state is not SafetyState.DISARMED:
            reasons = self._forces.check(now_ns)
            if reasons:
                self._filter.fault(reasons)

    def _watch_operator(self, now_ns: int) -> None:
        timeout_s = self.params.operator_timeout_s
        if not timeout_s:
            return
        if self._operator_ns is None or (now_ns - self._operator_ns) * 1e-9 > timeout_s:
            self._filter.requests.ask("safety_filter", Reason.OPERATOR, "node operator is not heard")
        else:
            self._filter.requests.release("safety_filter")

    def _on_hold_request(self, m: Hold) -> None:
        if m.source_id == f"{self.get_namespace().rstrip('/')}/operator":
            self._operator_ns = self.now_ns()
        if m.request == HoldRequest.RELEASE:
            self._filter.requests.release(m.source_id)
            return
        # Whoever asks for a stop gets it: a foreign one costs time, not a robot.
        self.report(WARN, f"{m.source_id} asks to hold: {m.why}")
        if m.request == HoldRequest.FAULT:
            self._filter.fault(Reason(m.reasons))
        else:
            self._filter.requests.ask(m.source_id, Reason(m.reasons), m.why)

    # -- output -----------------------------------------------------------------------------

    def _execute(self, action: Action) -> None:
        """Lockstep: one action in, one set point out."""
        if not self._filter.synchronised:
            self._waiting = action
            return
        last = self._last
        if last is not None and (last[1].episode_id, last[1].step) == (action.episode_id, action.step):
            self._send(last[0], last[1].stamp_ns)  # asked again: the first answer may have got lost
            self._publish_executed(last[1])
            return
        taken, _ = self._filter.on_action(action, self.now_ns())
        if not taken:
            return
        set_point = self._filter.tick(self.now_ns())
        if set_point is not None and set_point.executed is not None:
            self._last = (set_point, set_point.executed)
            self._send(set_point, action.stamp_ns)
            self._publish_executed(set_point.executed)

    def _tick(self) -> None:
        now_ns, ros_ns = self.now_ns(), self.stamp_ns()
        period_ns = self._phase.until_next(now_ns)
        if period_ns != self._ticker.timer_period_ns:
            self._ticker.timer_period_ns = period_ns
        if self._filter.on_clock(ros_ns, now_ns):
            self._joints.forget()
            if self._forces is not None:
                self._forces.forget_stamps()
        self._watch_forces(now_ns)
        self._watch_operator(now_ns)
        set_point = self._filter.tick(now_ns)
        if set_point is not None:
            if set_point.forwarded:
                self._reasons = set_point.reasons
            else:
                self._send(set_point, ros_ns)
            if set_point.executed is not None:
                self._publish_executed(set_point.executed)
        if self._filter.state is not self._shown_state:
            self._publish_status()

    def _send(self, set_point: SetPoint, stamp_ns: int) -> None:
        self._reasons = set_point.reasons
        self._commands.publish(set_point.position, stamp_ns, self._lead_ns, set_point.velocity)

    def _publish_executed(self, executed: Executed) -> None:
        message = executed_to_msg(executed)
        message.source_id = self.source_id
        self._executed.publish(message)

    def _watch_inputs(self) -> None:
        f, now_ns, timeout_ns = self._filter, self.now_ns(), self._timing.state_timeout_ns
        missing = [f"no publisher on {topic}" for topic in self.unheard()]
        if f.state_received_ns is None or (timeout_ns and now_ns - f.state_received_ns > timeout_ns):
            absent = ", ".join(self._joints.missing())
            missing.append(f"joint states lack {absent}" if absent else "no fresh joint state")
        f.health.note(", ".join(missing), now_ns)
        self._publish_status()

    def _publish_status(self) -> None:
        f = self._filter
        reasons = self._reasons | f.latched | f.requests.reasons
        self._shown_state = f.state
        self._status.publish(safety_status(f, reasons, self.now_ns(), self.stamp_ns()))
        why = f": {reasons.words}" if reasons else ""
        asked = f" ({f.requests.words})" if f.requests else ""
        self.report(LEVELS[f.state], f"{f.state.name.lower()}{why}{asked}")

    # -- operator ---------------------------------------------------------------------------

    def refuse_change(self, wanted: SafetyParameters) -> str | None:
        """No limit is widened while the robot may move."""
        return self._filter.set_speed_scale(wanted.speed_scale)

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response):
        self._arm_by_itself = False
        if not request.data:
            self._filter.disarm(self.now_ns())
            response.success = True
            response.message = "disarmed: nothing is sent to the robot once it stands still"
            return response
        refusal = self._filter.arm(self.now_ns())
        response.success, response.message = refusal is None, refusal or "armed"
        return response

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response):
        self._filter.set_estop(request.data)
        response.success = True
        response.message = "stopped" if request.data else "released; call arm to go on"
        return response

    def _on_hold(self, request: SetBool.Request, response: SetBool.Response):
        if request.data:
            self._filter.requests.ask("operator", Reason.OPERATOR, "the operator asked to hold")
        else:
            self._filter.requests.release("operator")
        response.success = True
        response.message = "holding" if request.data else "released; the next action goes on"
        return response

    def shutdown(self) -> None:
        """Brings a moving robot to a standstill before the commands end."""
        f, tick_s = self._filter, self._timing.tick_ns * 1e-9
        if f is None or self.params.lockstep or f.state is SafetyState.DISARMED:
            return
        f.requests.ask("shutdown", Reason.OPERATOR, "the process ends")
        for _ in range(round(STOP_WITHIN_S / tick_s)):
            set_point = f.tick(self.now_ns())
            if set_point is None:
                return
            self._send(set_point, self.stamp_ns())
            if not np.any(f.limiter.velocity):
                return
            time.sleep(tick_s)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros safety_filter`."""
    return run_node(SafetyFilterNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
