"""A base policy run step by step with the chunk bookkeeping of the graph, in one thread."""

import numpy as np

from resfit_ros.core.chunks import ChunkBuffer, Chunking, ChunkVerdict
from resfit_ros.core.errors import DataError
from resfit_ros.core.types import ActionChunk, Float32, Observation
from resfit_ros.policies.protocol import BasePolicy, History, history_of


class ChunkedPolicy:
    """One base action per observation, as the graph gives it when nothing is late."""

    def __init__(self, policy: BasePolicy, chunking: Chunking) -> None:
        self.policy = policy
        self._buffer = ChunkBuffer(policy.spec.action_dim, chunking)
        self._history = History(history_of(policy))

    def reset(self, episode_id: int) -> None:
        """Starts an episode: its observations follow from step 0 on. The id may be that of the one before."""
        self._history = History(history_of(self.policy))
        self._buffer.reset(episode_id)
        self.policy.reset(episode_id)

    def action(self, observation: Observation) -> tuple[Float32, float]:
        """(base action (A,), phase in [0, 1)).

        Raises DataError when the policy gives a chunk that the graph would refuse.
        """
        step = observation.step
        self._history.see(observation)
        if self._buffer.chunking.is_request(step):
            if history_of(self.policy):
                self.policy.recall(self._history.before(observation))
            actions = np.asarray(self.policy.infer(observation), np.float32)
            chunk = ActionChunk(observation.stamp_ns, observation.episode_id, step, actions)
            verdict = self._buffer.add(chunk, step)
            if verdict is not ChunkVerdict.ACCEPTED:
                raise DataError(f"chunk of '{self.policy.spec.name}' rejected: {verdict.value}")
        covered = self._buffer.action(step)
        if covered is None:
            raise DataError(f"no chunk of '{self.policy.spec.name}' covers step {step}; lower execute_steps")
        return covered
