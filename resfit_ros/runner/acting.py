"""The residual node's part in the in-process robot: actor, noise and schedule on top of a base action."""

from resfit_ros.core.acting import ActingSchedule, residual_action
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.residual import CorrelatedNoise
from resfit_ros.core.types import Action, Observation
from resfit_ros.learning.weights import ActorPolicy


class Residual:
    """`actor` used as `schedule` says; it explores when it is given noise."""

    def __init__(
        self,
        actor: ActorPolicy,
        schedule: ActingSchedule,
        normaliser: Normaliser,
        noise: CorrelatedNoise | None = None,
    ) -> None:
        self._actor, self._schedule, self._normaliser, self._noise = actor, schedule, normaliser, noise

    def __call__(self, observation: Observation, base_only: Action) -> Action:
        """Base action plus residual; the base action alone where the residual is not finite."""
        proposal = self._actor(observation, base_only.base, base_only.chunk_phase)
        noise = self._noise.sample() if self._noise is not None else None
        action = residual_action(base_only, proposal, noise, self._schedule, self._normaliser)
        return action or base_only
