"""Adds the learned residual correction to the base policy's actions."""

from pathlib import Path

from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from resfit_ros.core.acting import ActingSchedule, base_action, residual_action
from resfit_ros.core.chunks import ChunkBuffer, ChunkVerdict
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.parameters import ResidualParameters
from resfit_ros.core.residual import CorrelatedNoise
from resfit_ros.core.types import Action, Float32, Observation
from resfit_ros.learning.checkpoint import load_run_actor
from resfit_ros.learning.weights import ActorPolicy, load_actor
from resfit_ros.msg import Action as ActionMsg
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import ActorWeights
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.chunk_policy import load_normaliser, policy_sha256
from resfit_ros.ros.convert import action_to_msg, chunk_from_msg, observation_from_msg
from resfit_ros.ros.node import OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import LATCHED, STEPS


class ResidualNode(ResfitNode[ResidualParameters]):
    """One action per observation: base action of the step plus residual.

    Lockstep: waits for the chunk a step should use. Realtime: uses the newest chunk, and publishes
    nothing when no chunk covers the step (the safety filter then holds).
    """

    def __init__(self) -> None:
        super().__init__("residual")
        p = self.params
        self._normaliser = load_normaliser(Path(p.policy_path)) if p.policy_path else None
        self._chunks = ChunkBuffer(len(p.joint_names), p.execute_steps)
        self._noise = CorrelatedNoise(len(p.joint_names), p.exploration_correlation)
        self._actor: ActorPolicy | None = None
        self._schedule = ActingSchedule()
        if p.actor_path:
            base_policy = policy_sha256(Path(p.policy_path)) if p.policy_path else ""
            loaded = load_run_actor(
                Path(p.actor_path), self._normaliser, base_policy, p.feature_extractor
            )
            self._actor = loaded.actor
            self._schedule = loaded.schedule
            for problem in loaded.problems:
                self.get_logger().warning(f"checkpoint passed over: {problem}")
            self.get_logger().info(f"acting with {loaded.path}")
        self._episode_id = 0
        self._last: ActionMsg | None = None
        self._pending: Observation | None = None
        self._next: ObservationMsg | None = None  # lockstep: of an episode that begins too early
        self._rejected_weights = self._without_chunk = self._actions = 0
        self._publisher = self.create_publisher(ActionMsg, "action", STEPS)
        self.hear(ObservationMsg, "observation", self._on_observation, STEPS)
        self.hear(ActionChunkMsg, "action_chunk", self._on_chunk, STEPS)
        if not p.actor_path:
            self.create_subscription(ActorWeights, "actor_weights", self._on_weights, LATCHED)
        self.create_service(SetBool, "enable_residual", self._on_enable)
        self.report(OK, "waiting for observations")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        dropped = {f"chunks: {v.value}": n for v, n in self._chunks.counts.items()}
        return {
            "actions": self._actions,
            "residual enabled": self.params.enabled,
            "actor version": self._schedule.version,
            "rejected weights": self._rejected_weights,
            "steps without a chunk": self._without_chunk,
        } | dropped

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response):
        if request.data and self._normaliser is None:
            response.message = "no base policy scaling is loaded; set policy_path"
            return response
        self.set_parameters([Parameter("enabled", value=request.data)])
        response.success = True
        response.message = f"residual {'enabled' if request.data else 'disabled'}"
        return response

    def _on_weights(self, message: ActorWeights) -> None:
        try:
            if self._normaliser is None:
                raise ResfitError("actor weights came, but policy_path is empty")
            if message.normaliser_sha256 != self._normaliser.sha256:
                raise ResfitError(
                    f"actor weights are for normaliser {message.normaliser_sha256[:12]}, "
                    f"this node has {self._normaliser.sha256[:12]}; use the same base policy"
                )
            actor = load_actor(
                bytes(message.data), message.sha256, self._normaliser, self.params.feature_extractor
            )
        except ResfitError as error:
            self._rejected_weights += 1
            self.report(WARN, f"weights rejected, the old ones stay: {error}")
            return
        self._actor = actor
        self._schedule = ActingSchedule(
            residual_scale=message.residual_scale,
            exploration_std=message.exploration_std,
            warm_up=message.warm_up,
            without_base=message.without_base,
            version=message.version,
        )

    def _begin(self, episode_id: int) -> None:
        """Flushes everything of the previous episode."""
        if episode_id > self._episode_id:
            self._episode_id = episode_id
            self._chunks.reset(episode_id)
            self._noise.reset(self.params.seed, episode_id)
            self._last = self._pending = None

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        self._begin(message.episode_id)
        step = self._last.step + 1 if self._last is not None else 0
        verdict = self._chunks.add(chunk_from_msg(message), step)
        if verdict in (ChunkVerdict.NON_FINITE, ChunkVerdict.WRONG_SIZE):
            self.report(WARN, f"chunk of '{message.source_id}' rejected: {verdict.value}")
        elif self._pending is not None:
            self._try_to_act(self._pending)
        if self._next is not None and self._pending is None:
            following, self._next = self._next, None
            self._on_observation(following)

    def _on_observation(self, message: ObservationMsg) -> None:
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
            if self.params.lockstep:
                self._publisher.publish(last)  # asked again: the first answer may have got lost
            return
        if self._pending is not None and self._pending.step < message.step:
            self._without_chunk += 1
            self.report(WARN, "a step had no chunk; is base_policy running and fast enough?")
        self._try_to_act(observation_from_msg(message))

    def _try_to_act(self, observation: Observation) -> None:
        self._pending = observation
        if self.params.lockstep and not self._chunks.is_fresh(observation.step):
            return
        base = self._chunks.action(observation.step)
        if base is None:
            return
        self._pending = None
        self._last = action_to_msg(self._act(observation, *base))
        self._publisher.publish(self._last)
        self._actions += 1
        self.report(OK, "acting")

    def _act(self, observation: Observation, base: Float32, phase: float) -> Action:
        alone = base_action(observation, base, phase, self.source_id)
        if not self.params.enabled or self._actor is None:
            return alone
        proposal = self._actor(observation, base, phase)
        noise = self._noise.sample() if self.params.explore else None
        action = residual_action(alone, proposal, noise, self._schedule, self._normaliser)
        if action is None:
            self.report(WARN, "residual is not finite; base action alone")
        return action or alone


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros residual`."""
    return run_node(ResidualNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
