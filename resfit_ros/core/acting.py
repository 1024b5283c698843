"""What the actor adds to a base action, the same on the robot and in the in-process runner."""

from dataclasses import dataclass

import numpy as np

from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.residual import bounded_residual, compose
from resfit_ros.core.types import Action, Float32, Mode, Observation


@dataclass(frozen=True)
class ActingSchedule:
    """How the newest actor is to be used; the learner decides, whoever acts obeys."""

    residual_scale: float = 0.0  # normalised action space
    exploration_std: float = 0.0  # normalised action space
    warm_up: bool = True  # noise on the base action alone: the actor is not asked
    without_base: bool = False  # RLPD: the actor's output is the whole action
    version: int = 0


def base_action(observation: Observation, base: Float32, phase: float, source_id: str) -> Action:
    """The base policy's action, unchanged."""
    return Action(
        stamp_ns=observation.stamp_ns,
        episode_id=observation.episode_id,
        step=observation.step,
        base=base,
        residual=np.zeros_like(base),
        command=base,
        chunk_phase=phase,
        source_id=source_id,
    )


def residual_action(
    base_only: Action,
    proposal: Float32,
    noise: Float32 | None,
    schedule: ActingSchedule,
    normaliser: Normaliser,
) -> Action | None:
    """`base_only` plus the bounded residual; None when the residual is not finite.

    proposal: actor output in [-1, 1], (A,); noise: unit variance, (A,), or None.
    """
    normalised = bounded_residual(
        np.zeros_like(proposal) if schedule.warm_up else proposal,
        noise,
        schedule.residual_scale,
        schedule.exploration_std,
    )
    if not np.all(np.isfinite(normalised)):
        return None
    base = base_only.base
    if schedule.without_base:
        centre = normaliser.denormalise_action(np.zeros_like(normalised)).astype(np.float32)
        command, _ = compose(centre, normalised, normaliser)
        residual = command - base
    else:
        command, residual = compose(base, normalised, normaliser)
    return Action(
        stamp_ns=base_only.stamp_ns,
        episode_id=base_only.episode_id,
        step=base_only.step,
        base=base,
        residual=residual,
        command=command,
        chunk_phase=base_only.chunk_phase,
        actor_version=schedule.version,
        mode=Mode.RESIDUAL if noise is None else Mode.EXPLORE,
        source_id=base_only.source_id,
    )
