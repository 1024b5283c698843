"""Serves chunks of the frozen base policy, computed ahead of their use."""

import dataclasses
import sys

from std_msgs.msg import Header, UInt64MultiArray

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.parameter_groups import BASE_ALIVE
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.core.types import ActionChunk, HoldRequest, Reason
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.chunk_server import ChunkServer
from resfit_ros.policies.loading import load_base_policy
from resfit_ros.policies.protocol import BasePolicy
from resfit_ros.ros.convert import chunk_to_msg, header, observation_from_msg
from resfit_ros.ros.node import ERROR, OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS
from resfit_ros.srv import GetActionChunk

STATUS_PERIOD_S = 0.1


class BasePolicyNode(ResfitNode[BasePolicyParameters]):
    """Runs the policy on every `execute_steps`-th observation of an episode and publishes the chunk.

    The policy lives in a thread of its own: whatever it does, the node stays there, says what is
    wrong, and tries again.
    """

    def __init__(self) -> None:
        super().__init__("base_policy")
        p = self.params
        self._publisher = self.create_publisher(ActionChunkMsg, "action_chunk", STEPS)
        self._alive = self.create_publisher(Header, BASE_ALIVE, STEPS)
        self.may_hold()
        self._server = ChunkServer(
            name=p.policy,
            load=self._load,
            on_chunk=self._publish,
            chunking=p.chunking,
            take_all=p.lockstep,
            retry_s=p.retry_s,
            timeout_s=p.inference_timeout_s,
            discard_s=p.discard_after_s,
            on_unfit=self._refuse,
        )
        self.hear(ObservationMsg, "observation", self._on_observation, STEPS)
        self.create_subscription(UInt64MultiArray, "flush_chunks", self._on_flush, STEPS)
        self.create_service(GetActionChunk, "base/get_action_chunk", self._on_request)
        self.every(STATUS_PERIOD_S, self._report_status)
        self.report(WARN, f"loading base policy '{p.policy}'")

    def _load(self) -> BasePolicy:
        policy = load_base_policy(self.params)
        if "torch" in sys.modules:  # it takes every core unless it is told not to
            sys.modules["torch"].set_num_threads(self.params.threads)
        return policy

    def not_ready(self) -> list[str]:
        """An episode had better not start before the policy is there."""
        return super().not_ready() + ([] if self._server.status().loaded else ["base policy"])

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        s = self._server.status()
        return {
            "policy": s.name,
            "chunks": s.chunks,
            "failed inferences": s.failures,
            "answers of a past episode or before a hand-back": s.discarded,
            "observations skipped": s.skipped,
            "last inference [s]": f"{s.last_inference_s:.4f}",
        }

    def _report_status(self) -> None:
        status = self._server.status()
        if status.loaded and not status.problem:
            self._alive.publish(header(self.stamp_ns(), self.source_id))
        if status.problem:
            self.report(ERROR, status.problem)
        elif status.loaded:
            self.report(OK, f"serving {status.name}")

    def _on_observation(self, message: ObservationMsg) -> None:
        if self.trusts(message, "aggregator"):
            self._server.observe(observation_from_msg(message))

    def _on_flush(self, message: UInt64MultiArray) -> None:
        """[episode_id, first step whose observation a chunk may be computed from]."""
        if len(message.data) == 2:
            self._server.flush(*message.data)

    def _publish(self, chunk: ActionChunk) -> None:
        self._publisher.publish(chunk_to_msg(dataclasses.replace(chunk, source_id=self.source_id)))

    def _refuse(self, reason: Reason, sentence: str) -> None:
        self.ask_to_hold(HoldRequest.FAULT, reason, sentence)

    def _on_request(self, request: GetActionChunk.Request, response: GetActionChunk.Response):
        try:
            chunk = self._server.infer_now(observation_from_msg(request.observation))
        except ResfitError as error:
            response.message = str(error)
            return response
        response.chunk = chunk_to_msg(chunk)
        response.success, response.message = True, chunk.source_id
        return response

    def shutdown(self) -> None:
        """Ends the policy's thread."""
        self._server.stop()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros base_policy`."""
    return run_node(BasePolicyNode, args)


if __name__ == "__main__":
    raise SystemExit(main())
