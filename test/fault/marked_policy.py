"""A slow base policy whose chunks say which episode they are for; for python:marked_policy:Marked."""

import time

import numpy as np

from resfit_ros.policies.protocol import PolicySpec, Robot

HORIZON, INFERENCE_S = 30, 0.3
JOINT, MARK_RAD = 1, 0.001  # the head turns by so much per episode


class Marked:
    """Stands still; one joint's target is the number of the episode, in MARK_RAD."""

    def __init__(self, robot: Robot) -> None:
        self.spec = PolicySpec("marked", robot.action_dim, HORIZON, identity="0123456789abcdef")
        self._positions = robot.layout.slice_of("joint_positions")

    def reset(self, episode_id: int) -> None:
        """Nothing is remembered."""

    def infer(self, observation) -> np.ndarray:
        time.sleep(INFERENCE_S)
        chunk = np.repeat(observation.state[self._positions][None], HORIZON, axis=0)
        chunk[:, JOINT] = MARK_RAD * observation.episode_id
        return chunk
