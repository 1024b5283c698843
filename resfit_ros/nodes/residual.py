"""Adds the learned residual correction to the base policy's actions."""

from pathlib import Path

from rclpy.parameter import Parameter
from std_msgs.msg import Header, UInt64MultiArray
from std_srvs.srv import SetBool

from resfit_ros.core.acting import ActingSchedule, base_action, residual_action
from resfit_ros.core.actor_settings import actor_settings
from resfit_ros.core.chunks import ChunkBuffer, ChunkVerdict
from resfit_ros.core.command_path import CommandFollower
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.intervention import Intervention, intervention_action
from resfit_ros.core.parameter_groups import BASE_ALIVE, BASE_COMMAND, TELEOP_COMMAND, TOPIC
from resfit_ros.core.parameters import HOLD, ResidualParameters
from resfit_ros.core.residual import CorrelatedNoise, ResidualFade
from resfit_ros.core.types import Action, Float32, HoldRequest, Observation, Reason
from resfit_ros.learning.actor_slot import ActorSlot, ReceivedActor
from resfit_ros.learning.contenders import Contenders
from resfit_ros.msg import Action as ActionMsg
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import ActorWeights
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.identity import controller_identity
from resfit_ros.ros.commands import MESSAGE_TYPES, CommandParser
from resfit_ros.ros.convert import action_to_msg, chunk_from_msg, observation_from_msg
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import LATCHED, ROBOT, STEPS


# Figures that tell who acts.
TELLING = ("actor version", "residuals that were not finite")
# Chunks that are refused, and what the safety filter hears of it: nothing where waiting is enough.
UNFIT = {
    ChunkVerdict.NON_FINITE: Reason.NON_FINITE,
    ChunkVerdict.WRONG_SIZE: Reason.WRONG_SIZE,
    ChunkVerdict.SHORT: Reason.NONE,
}


class ResidualNode(ResfitNode[ResidualParameters]):
    """One action per observation: base action of the step plus residual.

    While a human drives (realtime), the action is the human's target, and the base action is kept
    beside it. Lockstep: waits for the chunk a step should use. Realtime: uses the newest chunk, or the command of
    an existing controller, and publishes nothing where neither covers the step (the safety filter then
    holds). In a blind evaluation (`contenders`) it does not say on /diagnostics who acts.
    """

    niceness = -10

    def __init__(self) -> None:
        super().__init__("residual")
        p = self.params
        self._from_topic = p.base_source == TOPIC
        self._chunks = ChunkBuffer(len(p.joint_names), p.chunking)
        self._controller = CommandFollower()
        self._parser = CommandParser(p.joint_names)
        self._noise = CorrelatedNoise(len(p.joint_names), p.exploration_correlation)
        self._actor = ActorSlot(p.joint_names, p.feature_extractor)
        self._intervention = Intervention(
            round(p.teleop_timeout_s * 1e9) if p.teleop else 0, p.control_period_ns
        )
        self._episode_id = 0
        self._last: ActionMsg | None = None
        self._pending: Observation | None = None
        self._next: ObservationMsg | None = None  # lockstep: of an episode that begins too early
        self._rejected_weights = self._rejected_commands = self._rejected_teleop = 0
        self._interventions = self._hand_backs = self._before_hand_back = 0
        self._actions = self._without_base = self._late = 0
        self._observed_ns = 0  # when the newest step was first observed
        self._alive_ns: int | None = None  # when the base policy was last heard
        self._fade = ResidualFade(p.fade_s, p.control_period_ns * 1e-9)
        self.may_hold()
        self._contenders: Contenders | None = None
        if p.contenders:
            self._load_contenders()
        elif p.actor_path:
            self._load_actor(Path(p.actor_path))
        self._publisher = self.create_publisher(ActionMsg, "action", STEPS)
        self.hear(ObservationMsg, "observation", self._on_observation, STEPS)
        if self._from_topic:
            self._actor.see_base_policy(controller_identity(p.base_name))
            self.hear(MESSAGE_TYPES[p.base_command_type], BASE_COMMAND, self._on_command, ROBOT)
        else:
            self.hear(ActionChunkMsg, "action_chunk", self._on_chunk, STEPS)
            self._flushes = self.create_publisher(UInt64MultiArray, "flush_chunks", STEPS)
            self.create_subscription(Header, BASE_ALIVE, self._on_alive, STEPS)
        if p.teleop:
            kind = MESSAGE_TYPES[p.teleop_command_type]
            self.create_subscription(kind, TELEOP_COMMAND, self._on_teleop, ROBOT)
        if not (p.actor_path or p.contenders):
            self.create_subscription(ActorWeights, "actor_weights", self._on_weights, LATCHED)
        self.create_service(SetBool, "enable_residual", self._on_enable)
        self.report(OK, "waiting for observations")

    def _load_actor(self, path: Path) -> None:
        found, problems = self._actor.load(path, actor_settings(self.params))
        for problem in problems:
            self.get_logger().warning(f"checkpoint passed over: {problem}")
        learnt_on = self._actor.learnt_on or "unknown"
        self.get_logger().info(f"acting with {found}, learnt on top of base policy {learnt_on}")

    def _load_contenders(self) -> None:
        p = self.params
        base = controller_identity(p.base_name) if self._from_topic else ""
        self._contenders = Contenders(
            p.contenders, p.joint_names, p.feature_extractor, base, actor_settings(p)
        )
        for problem in self._contenders.problems:
            self.get_logger().warning(f"checkpoint passed over: {problem}")
        self._actor = self._contenders.begin_episode()
        self.create_service(SetBool, "~/choose", self._on_choose)

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        dropped = {f"chunks: {v.value}": n for v, n in self._chunks.counts.items()}
        figures = {
            "actions": self._actions,
            "residual enabled": self.params.enabled,
            "actor version": self._actor.schedule.version,
            "rejected weights": self._rejected_weights,
            "residuals that were not finite": self._fade.failures,
            "rejected controller commands": self._rejected_commands,
            "actions later than a control period": self._late,
            "steps without a base action": self._without_base,
            "intervention steps": self._interventions,
            "hand-backs": self._hand_backs,
            "chunks of before a hand-back": self._before_hand_back,
            "rejected teleop commands": self._rejected_teleop,
        } | dropped
        if self._contenders is not None:
            figures["blind"] = True
            for telling in TELLING:
                del figures[telling]
        return figures

    def refuse_change(self, wanted: ResidualParameters) -> str | None:
        """A blind evaluation may be let begin, but nobody decides who acts in it."""
        if wanted.contenders and self.params.enabled and not wanted.enabled:
            return "a blind evaluation chooses who acts"
        return None

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response):
        (result,) = self.set_parameters([Parameter("enabled", value=request.data)])
        if not result.successful:
            response.message = f"refused: {result.reason}"
            return response
        response.success = True
        response.message = f"residual {'enabled' if request.data else 'disabled'}"
        if request.data and self._contenders is None and not self._actor.usable:
            response.message += f", but {self._actor.problem or 'no actor has come yet'}"
        return response

    def _on_choose(self, request: SetBool.Request, response: SetBool.Response):
        """True: the second contender acts from the next episode on; the answer is the same for both."""
        problem = self._contenders.problem
        if not self.params.enabled:
            problem = "the residual is switched off; switch it on: the evaluation itself decides who acts"
        response.success, response.message = not problem, problem
        if not problem:
            self._contenders.choose(request.data)
        return response

    # -- inputs -----------------------------------------------------------------------------

    def _on_weights(self, m: ActorWeights) -> None:
        schedule = ActingSchedule(
            residual_scale=m.residual_scale,
            exploration_std=m.exploration_std,
            warm_up=m.warm_up,
            without_base=m.without_base,
            version=m.version,
        )
        received = ReceivedActor(
            bytes(m.data), m.sha256, m.normaliser, m.normaliser_sha256, m.base_policy_sha256, schedule
        )
        try:
            self._actor.receive(received)
        except ResfitError as error:
            self._rejected_weights += 1
            self.report(WARN, f"weights rejected, the old ones stay: {error}")

    def _begin(self, episode_id: int) -> None:
        """Flushes everything of the previous episode."""
        if episode_id > self._episode_id:
            self._episode_id = episode_id
            self._chunks.reset(episode_id)
            self._noise.reset(self.params.seed, episode_id)
            self._intervention.begin_episode()
            self._fade.begin_episode()
            self._last = self._pending = None
            if self._contenders is not None:
                self._actor = self._contenders.begin_episode()

    def _on_alive(self, message: Header) -> None:
        self._alive_ns = self.now_ns()
        if self._pending is not None and not self.params.lockstep:
            self._try_to_act(self._pending)

    def _base_is_lost(self) -> bool:
        """Realtime: a base policy that died takes its chunk with it after a while."""
        if self._from_topic or self.params.lockstep:
            return False
        silent_s = float("inf") if self._alive_ns is None else (self.now_ns() - self._alive_ns) * 1e-9
        return silent_s > self.params.base_alive_timeout_s

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        if not self.trusts(message, "base_policy"):
            return
        self._begin(message.episode_id)
        step = self._last.step + 1 if self._last is not None else 0
        self._watch_hand_back(step)
        if message.episode_id == self._episode_id and not self._intervention.accepts(message.step):
            self._before_hand_back += 1
            return
        verdict = self._chunks.add(chunk_from_msg(message), step)
        if verdict in UNFIT:
            why = f"chunk of '{message.source_id}' rejected: {verdict.value}"
            self.report(WARN, why)
            if UNFIT[verdict]:
                self.ask_to_hold(HoldRequest.FAULT, UNFIT[verdict], why)
            return
        if verdict is ChunkVerdict.ACCEPTED:
            (self._contenders or self._actor).see_base_policy(message.policy_sha256)
        if self._pending is not None:
            self._try_to_act(self._pending)
        if self._next is not None and self._pending is None:
            following, self._next = self._next, None
            self._on_observation(following)

    def _on_command(self, message) -> None:
        try:
            self._controller.receive(self._parser.path(message), self.now_ns())
        except ResfitError as error:
            self._rejected_commands += 1
            self.report(WARN, f"command of the base controller rejected: {error}")
            return
        if self._pending is not None:
            self._try_to_act(self._pending)

    def _on_teleop(self, message) -> None:
        try:
            self._intervention.receive(self._parser.path(message), self.now_ns())
        except ResfitError as error:
            self._rejected_teleop += 1
            self.report(WARN, f"teleop command rejected: {error}")

    def _watch_hand_back(self, step: int) -> None:
        """Where `step`, the next to be decided, is the first after an intervention: asks for a new chunk."""
        if self._intervention.handed_back(step, self.now_ns()):
            self._hand_backs += 1
            self._chunks.reset(self._episode_id)
            self._ask_for_fresh_chunk()

    def _ask_for_fresh_chunk(self) -> None:
        if not self._from_topic:
            self._flushes.publish(
                UInt64MultiArray(data=[self._episode_id, self._intervention.first_chunk_step])
            )

    def _on_observation(self, message: ObservationMsg) -> None:
        if not self.trusts(message, "aggregator"):
            return
        waits = self.params.lockstep and self._pending is not None
        if waits and message.episode_id > self._pending.episode_id:
            # The chunk for the observation that ended the episode is still on its way, and without
            # that action the episode's last transition would be lost.
            self._next = message
            return
        self._begin(message.episode_id)
        last = self._last
        if message.episode_id < self._episode_id or (last and message.step < last.step):
            return
        if last is not None and message.step == last.step:
            self._publisher.publish(last)  # asked again: the first answer may have got lost
            return
        if self._pending is not None and self._pending.step < message.step:
            self._without_base += 1
        if self._pending is None or self._pending.step != message.step:
            self._observed_ns = self.now_ns()
        elif not self.params.lockstep:
            if self._intervention.first_chunk_step:
                self._ask_for_fresh_chunk()  # base_policy may have been restarted since
            self.report(WARN, f"step {message.step} waits for its base action; {self._who_to_ask()}")
        self._try_to_act(observation_from_msg(message))

    # -- output -----------------------------------------------------------------------------

    def _try_to_act(self, observation: Observation) -> None:
        self._pending = observation
        self._watch_hand_back(observation.step)
        if self.params.lockstep and not self._chunks.is_fresh(observation.step):
            return
        if self._base_is_lost():
            return
        base = self._commanded() if self._from_topic else self._chunks.action(observation.step)
        if base is None:
            return
        self._pending = None
        self._last = action_to_msg(self._act(observation, *base))
        self._publisher.publish(self._last)
        self._actions += 1
        self._late += self.now_ns() - self._observed_ns > self.params.control_period_ns
        if self._actor.problem and self._contenders is None:
            self.report(WARN, f"base action alone: {self._actor.problem}")
        else:
            self.report(OK, "acting")

    def _who_to_ask(self) -> str:
        if self._from_topic:
            return "is the base controller running, and its topic remapped to base_command?"
        if self._base_is_lost():
            return "base_policy is not heard: is it running, and what does it report?"
        return "see what base_policy reports"

    def _commanded(self) -> tuple[Float32, float] | None:
        """Where the controller wants the joints at the end of this step; it has no chunks, so no phase."""
        now_ns, p = self.now_ns(), self.params
        if self._controller.silent_s(now_ns) > p.base_timeout_s:
            return None
        target = self._controller.at(now_ns + p.control_period_ns)
        return target.astype("float32"), 0.0

    def _act(self, observation: Observation, base: Float32, phase: float) -> Action:
        target = self._intervention.target(self.now_ns()) if self._intervention.driving else None
        if target is not None:
            self._interventions += 1
            return intervention_action(observation, base, phase, target, self.source_id)
        alone = base_action(observation, base, phase, self.source_id)
        slot = self._actor
        if not self.params.enabled or not slot.usable:
            return alone
        proposal = slot.actor(observation, base, phase)
        noise = self._noise.sample() if self.params.explore else None
        action = residual_action(alone, proposal, noise, slot.schedule, slot.normaliser)
        if action is None:
            return self._without_residual(alone)
        self._fade.keep(action)
        return action

    def _without_residual(self, alone: Action) -> Action:
        blind = self._contenders is not None  # what is wrong with the residual would tell who acts
        if not blind:
            self.report(WARN, "the residual is not finite; the last good one is faded out")
        if self.params.bad_residual == HOLD:
            what = "an action" if blind else "the residual"
            self.ask_to_hold(HoldRequest.FAULT, Reason.NON_FINITE, f"{what} is not finite")
        return self._fade.without(alone)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros residual`."""
    return run_node(ResidualNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
