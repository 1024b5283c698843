"""Adds the learned residual correction to the base policy's actions."""

from pathlib import Path

import numpy as np
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from resfit_ros.core.chunks import ChunkBuffer, ChunkVerdict
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.parameters import ResidualParameters
from resfit_ros.core.residual import CorrelatedNoise, bounded_residual, compose
from resfit_ros.core.types import Action, Float32, Mode, Observation
from resfit_ros.learning.checkpoint import load_run_actor
from resfit_ros.learning.weights import ActorPolicy, load_actor
from resfit_ros.msg import Action as ActionMsg
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import ActorWeights
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.chunk_policy import load_normaliser
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
        self._weights = ActorWeights()
        if p.actor_path:
            loaded = load_run_actor(Path(p.actor_path), self._normaliser)
            self._actor = loaded.actor
            self._weights = ActorWeights(version=1, residual_scale=loaded.residual_scale)
            for problem in loaded.problems:
                self.get_logger().warning(f"checkpoint passed over: {problem}")
            self.get_logger().info(f"acting with {loaded.path}")
        self._episode_id = 0
        self._last: ActionMsg | None = None
        self._pending: Observation | None = None
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
            "actor version": self._weights.version,
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
            actor = load_actor(bytes(message.data), message.sha256, self._normaliser)
        except ResfitError as error:
            self._rejected_weights += 1
            self.report(WARN, f"weights rejected, the old ones stay: {error}")
            return
        self._actor, self._weights = actor, message

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

    def _on_observation(self, message: ObservationMsg) -> None:
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
        command, residual, mode, version = base, np.zeros_like(base), Mode.BASE, 0
        if self.params.enabled and self._actor is not None:
            w = self._weights
            proposal = self._actor(observation.state, base, phase)
            noise = self._noise.sample() if self.params.explore else None
            normalised = bounded_residual(
                np.zeros_like(proposal) if w.warm_up else proposal,
                noise,
                w.residual_scale,
                w.exploration_std,
            )
            if np.all(np.isfinite(normalised)):
                command, residual = compose(base, normalised, self._normaliser)
                mode = Mode.RESIDUAL if noise is None else Mode.EXPLORE
                version = w.version
            else:
                self.report(WARN, "residual is not finite; base action alone")
        return Action(
            stamp_ns=observation.stamp_ns,
            episode_id=observation.episode_id,
            step=observation.step,
            base=base,
            residual=residual,
            command=command,
            chunk_phase=phase,
            actor_version=version,
            mode=mode,
            source_id=self.source_id,
        )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros residual`."""
    return run_node(ResidualNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
