"""Serves chunks of the frozen base policy, computed ahead of their use."""

import time

import numpy as np

from resfit_ros.core.chunks import required_chunk_step
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.core.types import ActionChunk, Observation
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.loading import load_base_policy
from resfit_ros.ros.convert import chunk_to_msg, observation_from_msg
from resfit_ros.ros.node import ERROR, OK, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS
from resfit_ros.srv import GetActionChunk


class BasePolicyNode(ResfitNode[BasePolicyParameters]):
    """Runs the policy on every `execute_steps`-th observation of an episode and publishes the chunk."""

    def __init__(self) -> None:
        super().__init__("base_policy")
        self._policy = load_base_policy(self.params)
        self._episode_id = 0
        self._last: ActionChunkMsg | None = None
        self._chunks = self._failures = 0
        self._publisher = self.create_publisher(ActionChunkMsg, "action_chunk", STEPS)
        self.hear(ObservationMsg, "observation", self._on_observation, STEPS)
        self.create_service(GetActionChunk, "base/get_action_chunk", self._on_request)
        self.report(OK, f"serving {self._policy.spec.name}")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        latency = self._last.inference_time_s if self._last else float("nan")
        return {
            "policy": self._policy.spec.name,
            "chunks": self._chunks,
            "failed inferences": self._failures,
            "last inference [s]": f"{latency:.4f}",
        }

    def _on_observation(self, message: ObservationMsg) -> None:
        if required_chunk_step(message.step, self.params.execute_steps) != message.step:
            return
        last = self._last
        if last is not None and (last.episode_id, last.step) == (message.episode_id, message.step):
            self._publisher.publish(last)  # asked again: the first answer may have got lost
            return
        try:
            self._last = chunk_to_msg(self._infer(observation_from_msg(message)))
        except (ResfitError, ValueError, RuntimeError) as error:
            self._failures += 1
            self.report(ERROR, f"policy {self._policy.spec.name} failed: {error}; no chunk is sent")
            return
        self._publisher.publish(self._last)
        self._chunks += 1
        self.report(OK, f"serving {self._policy.spec.name}")

    def _infer(self, observation: Observation) -> ActionChunk:
        if observation.episode_id != self._episode_id:
            self._episode_id = observation.episode_id
            self._policy.reset(observation.episode_id)
        begin = time.perf_counter()
        actions = np.asarray(self._policy.infer(observation), np.float32)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            episode_id=observation.episode_id,
            step=observation.step,
            actions=actions,
            source_id=self._policy.spec.name,
            inference_time_s=time.perf_counter() - begin,
        )

    def _on_request(self, request: GetActionChunk.Request, response: GetActionChunk.Response):
        try:
            response.chunk = chunk_to_msg(self._infer(observation_from_msg(request.observation)))
        except (ResfitError, ValueError, RuntimeError) as error:
            response.message = f"policy {self._policy.spec.name} failed: {error}"
            return response
        response.success, response.message = True, self._policy.spec.name
        return response


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros base_policy`."""
    return run_node(BasePolicyNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
