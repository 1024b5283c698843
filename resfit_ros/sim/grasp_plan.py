"""The motion of a bimanual lift in the frame of the box: approach, squeeze, lift, hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from resfit_ros.sim.errors import TaskError


@dataclass(frozen=True)
class GraspPlan:
    """When and where the palms go. Lengths in m, angles in rad, durations in control steps.

    `clearance` is the gap between a palm and the box's side before the squeeze, `squeeze_force`
    what each palm then presses with, N: the set point goes as far behind the box's side as the
    arm's stiffness asks for.
    `palm_ahead` puts the palms a little before the box's centre, as the wrists yield under the
    weight and tip the box forward.
    """

    approach_steps: float = 16.0
    squeeze_steps: float = 8.0
    lift_steps: float = 12.0
    box_half_width: float = 0.10
    clearance: float = 0.05
    squeeze_force: float = 15.0
    palm_ahead: float = 0.002
    lift: float = 0.14
    finger_pitch: float = 0.35  # of the fingers below the horizon

    def __post_init__(self) -> None:
        for name in ("approach_steps", "squeeze_steps", "lift_steps"):
            if not getattr(self, name) >= 1.0:
                raise TaskError(f"{name}: expected at least 1 step, got {getattr(self, name)!r}")
        for name in ("box_half_width", "clearance", "squeeze_force", "lift"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0.0):
                raise TaskError(f"{name}: expected a finite value >= 0, got {value!r}")
        for name in ("palm_ahead", "finger_pitch"):
            if not isfinite(getattr(self, name)):
                raise TaskError(f"{name}: expected a finite value, got {getattr(self, name)!r}")

    def progress(self, step: float) -> Progress:
        """How far each phase is at a control step (which may be fractional)."""
        squeeze_start = self.approach_steps
        lift_start = squeeze_start + self.squeeze_steps
        return Progress(
            approach=minimum_jerk(step / self.approach_steps),
            squeeze=minimum_jerk((step - squeeze_start) / self.squeeze_steps),
            lift=minimum_jerk((step - lift_start) / self.lift_steps),
        )


@dataclass(frozen=True)
class Progress:
    """Share of each phase that is done, in [0, 1]."""

    approach: float
    squeeze: float
    lift: float


def minimum_jerk(share: float) -> float:
    """Smooth course from 0 at `share` <= 0 to 1 at `share` >= 1.

    Flash and Hogan, "The coordination of arm movements", 1985: 10 t^3 - 15 t^4 + 6 t^5.
    """
    t = float(np.clip(share, 0.0, 1.0))
    return t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
