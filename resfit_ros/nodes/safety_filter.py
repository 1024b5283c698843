"""The last node before the robot: limits, watchdogs, hold, arming."""

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.observation import JointOrder
from resfit_ros.core.parameters import BASE_COMMAND, TOPIC, SafetyParameters
from resfit_ros.core.safety import SafetyFilter, SafetyTiming, SetPoint
from resfit_ros.core.transparent import TransparentFilter
from resfit_ros.core.types import Action, EpisodeEnded, Executed, Reason, SafetyState
from resfit_ros.msg import Action as ActionMsg
from resfit_ros.msg import Episode, ExecutedAction, SafetyStatus
from resfit_ros.ros.commands import MESSAGE_TYPES, CommandParser, CommandPublisher
from resfit_ros.ros.convert import (
    action_from_msg,
    episode_from_msg,
    executed_to_msg,
    from_doubles,
    header,
    to_ns,
)
from resfit_ros.ros.node import ERROR, OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import EPISODES, ROBOT, SENSORS, STEPS

STATUS_PERIOD_S = 0.1
LEVELS = {
    SafetyState.ARMED: OK,
    SafetyState.DISARMED: WARN,
    SafetyState.HOLD: WARN,
    SafetyState.FAULT: ERROR,
}


class SafetyFilterNode(ResfitNode[SafetyParameters]):
    """Realtime: one set point per tick. Lockstep: one set point per action, of a control period."""

    def __init__(self) -> None:
        super().__init__("safety_filter")
        p = self.params
        self._period_ns = p.control_period_ns
        self._tick_ns = self._period_ns if p.lockstep else round(1e9 / p.tick_hz)
        self._filter = self._make_filter()
        self._order = JointOrder(p.joint_names)
        self._waiting: Action | None = None  # lockstep: came before the state it needs
        self._last: tuple[SetPoint, Executed] | None = None
        self._reasons = Reason.NONE
        self._commands = CommandPublisher(self, p.command_type, p.joint_names)
        self._executed = self.create_publisher(ExecutedAction, "executed_action", STEPS)
        self._status = self.create_publisher(SafetyStatus, "safety_status", 10)
        self.hear(ActionMsg, "action", self._on_action, STEPS)
        self.hear(Episode, "episode", self._on_episode, EPISODES)
        qos = ROBOT if p.lockstep else SENSORS
        self.hear(JointState, "joint_states", self._on_joint_state, qos)
        self.create_service(SetBool, "arm", self._on_arm)
        self.create_service(SetBool, "estop", self._on_estop)
        if not p.lockstep:
            self.every(self._tick_ns * 1e-9, self._tick)
        self.every(STATUS_PERIOD_S, self._publish_status)

    def _make_filter(self) -> SafetyFilter:
        p, timing, trusted = self.params, self._timing(), self._trusted_source()
        if p.base_source != TOPIC:
            return SafetyFilter(p.limits, timing, trusted)
        same_type = p.base_command_type == p.command_type
        passing = TransparentFilter(p.limits, timing, trusted, round(p.base_timeout_s * 1e9), same_type)
        kind, parser = MESSAGE_TYPES[p.base_command_type], CommandParser(p.joint_names)

        def on_command(data: bytes) -> None:
            # Serialised, so that what passes on is the controller's message bit for bit.
            path = parser.path(deserialize_message(data, kind))
            if passing.on_base_command(path, self.now_ns()):
                self._commands.forward(data)

        self.hear(kind, BASE_COMMAND, on_command, ROBOT, raw=True)
        return passing

    def _trusted_source(self) -> str:
        namespace = self.get_namespace().rstrip("/")
        return f"{namespace}/residual"

    def _timing(self) -> SafetyTiming:
        p = self.params
        if p.lockstep:  # the simulation waits: nothing can be late
            return SafetyTiming(self._tick_ns, self._period_ns, 0, 0)
        timeouts = round(p.action_timeout_s * 1e9), round(p.state_timeout_s * 1e9)
        return SafetyTiming(self._tick_ns, self._period_ns, *timeouts)

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        c = self._filter.counters
        return {
            "state": self._filter.state.name,
            "reasons": self._reasons.words or "none",
            "accepted": c.accepted,
            "rejected": c.rejected,
            "clamped": c.clamped,
            "dropped": c.dropped,
            "passed on from the controller": getattr(self._filter, "passed_on", 0),
        }

    # -- inputs -----------------------------------------------------------------------------

    def _on_joint_state(self, message: JointState) -> None:
        try:
            position = self._order.pick(message.name, from_doubles(message.position), "positions")
            self._filter.on_joint_state(position, to_ns(message.header.stamp), self.now_ns())
        except ResfitError as error:
            self.report(WARN, f"joint state rejected: {error}")
            return
        if self.params.auto_arm and self._filter.state is SafetyState.DISARMED:
            self._filter.arm()
        if self._waiting is not None and self._filter.synchronised:
            action, self._waiting = self._waiting, None
            self._execute(action)

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
        if self.params.lockstep:
            self._execute(action)
            return
        _, cut_short = self._filter.on_action(action, self.now_ns())
        if cut_short is not None:
            self._publish_executed(cut_short)

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
        set_point = self._filter.tick(self.now_ns())
        if set_point is None:
            return
        if set_point.forwarded:
            self._reasons = set_point.reasons
        else:
            self._send(set_point, self.stamp_ns())
        if set_point.executed is not None:
            self._publish_executed(set_point.executed)

    def _send(self, set_point: SetPoint, stamp_ns: int) -> None:
        self._reasons = set_point.reasons
        self._commands.publish(set_point.position, stamp_ns, self._tick_ns)

    def _publish_executed(self, executed: Executed) -> None:
        message = executed_to_msg(executed)
        message.source_id = self.source_id
        self._executed.publish(message)

    def _publish_status(self) -> None:
        f, now, nan = self._filter, self.now_ns(), float("nan")
        c = f.counters

        def age(received_ns: int | None) -> float:
            return nan if received_ns is None else (now - received_ns) * 1e-9

        reasons = self._reasons | f.latched
        self._status.publish(
            SafetyStatus(
                header=header(self.stamp_ns()),
                state=int(f.state),
                reasons=int(reasons),
                actions_accepted=c.accepted,
                actions_rejected=c.rejected,
                actions_clamped=c.clamped,
                actions_dropped=c.dropped,
                action_age_s=age(f.action_received_ns),
                state_age_s=age(f.state_received_ns),
                largest_clamp=f.largest_clamp,
            )
        )
        why = f": {reasons.words}" if reasons else ""
        self.report(LEVELS[f.state], f"{f.state.name.lower()}{why}")

    # -- operator ---------------------------------------------------------------------------

    def _on_arm(self, request: SetBool.Request, response: SetBool.Response):
        if not request.data:
            self._filter.disarm()
            response.success, response.message = True, "disarmed: nothing is sent to the robot"
            return response
        refusal = self._filter.arm()
        response.success, response.message = refusal is None, refusal or "armed"
        return response

    def _on_estop(self, request: SetBool.Request, response: SetBool.Response):
        self._filter.set_estop(request.data)
        response.success = True
        response.message = "stopped" if request.data else "released; call arm to go on"
        return response


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros safety_filter`."""
    return run_node(SafetyFilterNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
