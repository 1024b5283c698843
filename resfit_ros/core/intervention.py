"""A human drives for a while: whose action a step gets, and which chunks count afterwards."""

import dataclasses

import numpy as np

from resfit_ros.core.acting import base_action
from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.teleop import TeleopFollower
from resfit_ros.core.types import Action, Float32, Float64, Mode, Observation


class Intervention:
    """Follows teleoperation on the steady clock and notices when it hands back.

    timeout_ns: a human drives until so long after the newest command; 0: nobody ever does. period_ns:
    of control; a target is meant for the end of the step.
    """

    def __init__(self, timeout_ns: int, period_ns: int) -> None:
        self._follower = TeleopFollower(timeout_ns, period_ns, period_ns)
        self.driving = False  # whether a human drove when the newest step was looked at
        self.first_chunk_step = 0  # chunks computed from earlier observations are not used

    def begin_episode(self) -> None:
        """Chunks of any step count again; a human may go on driving."""
        self.driving, self.first_chunk_step = False, 0

    def receive(self, path: CommandPath, now_ns: int) -> None:
        """Takes a teleoperation command."""
        self._follower.receive(path, None, now_ns)

    def active(self, now_ns: int) -> bool:
        """Whether a human drives."""
        return self._follower.active(now_ns)

    def target(self, now_ns: int) -> Float64 | None:
        """Where the human wants the joints a period from now, (A,); None where nobody drives."""
        return self._follower.target(now_ns)

    def handed_back(self, step: int, now_ns: int) -> bool:
        """Whether `step`, the next to be decided, is the first after an intervention.

        From then on only chunks computed from its observation or a later one may be used.
        """
        active = self.active(now_ns)
        ended = self.driving and not active
        self.driving = active
        if ended:
            self.first_chunk_step = step
        return ended

    def accepts(self, chunk_step: int) -> bool:
        """Whether a chunk computed from the observation of that step may be used."""
        return chunk_step >= self.first_chunk_step


def intervention_action(
    observation: Observation, base: Float32, phase: float, target: Float64, source_id: str
) -> Action:
    """The human's target as the action; the base action is kept for learning, (A,) each."""
    alone = base_action(observation, base, phase, source_id)
    return dataclasses.replace(alone, command=target.astype(np.float32), mode=Mode.INTERVENTION)
