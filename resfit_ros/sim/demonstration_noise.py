"""How a human demonstrator differs from the plan: per episode and per step, all seeded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite

import numpy as np

from resfit_ros.sim.errors import TaskError


@dataclass(frozen=True)
class DemonstrationNoise:
    """Standard deviations of a demonstrator's habits. Zero everywhere is a perfect one."""

    grasp_x: float = 0.005  # m: both palms along the box's sides, drawn per episode
    grasp_z: float = 0.010  # m: both palms, height
    grasp_yaw: float = 0.04  # rad: both palms about the box's vertical axis
    palm_x: float = 0.005  # m: each palm on its own, along the side
    palm_z: float = 0.006  # m: each palm on its own, height
    squeeze: float = 1.0  # N: force of the squeeze
    speed: float = 0.08  # relative: duration of each phase
    joint: float = 0.012  # rad: stationary deviation of the slow per-step noise on each joint
    joint_correlation: float = 0.9  # of that noise from one step to the next

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (isfinite(value) and value >= 0.0):
                raise TaskError(f"{field.name}: expected a finite value >= 0, got {value!r}")
        if self.joint_correlation >= 1.0:
            raise TaskError(f"joint_correlation: expected < 1, got {self.joint_correlation}")

    @classmethod
    def none(cls) -> DemonstrationNoise:
        """A demonstrator who follows the plan exactly."""
        return cls(**{field.name: 0.0 for field in fields(cls)})

    def draw(self, rng: np.random.Generator) -> EpisodeHabit:
        """The habits of one episode, each within two standard deviations."""

        def normal(scale: float, *shape: int) -> np.ndarray:
            return scale * np.clip(rng.standard_normal(shape), -2.0, 2.0)

        palms = np.zeros((2, 3))
        palms[:, 0] = normal(self.grasp_x) + normal(self.palm_x, 2)
        palms[:, 2] = normal(self.grasp_z) + normal(self.palm_z, 2)
        return EpisodeHabit(
            palm_offsets=palms,
            yaw_offset=float(normal(self.grasp_yaw)),
            squeeze_offset=float(normal(self.squeeze)),
            durations=np.exp(normal(self.speed, 3)),
        )


@dataclass(frozen=True)
class EpisodeHabit:
    """What one episode's demonstrator does otherwise than planned.

    Attributes:
        palm_offsets: of the (left, right) palm in the frame of the box, m, (2, 3).
        yaw_offset: of both palms about the box's vertical axis, rad.
        squeeze_offset: pressing harder (+) or softer (-) than planned, N.
        durations: factors on the duration of approach, squeeze and lift, (3,).
    """

    palm_offsets: np.ndarray
    yaw_offset: float
    squeeze_offset: float
    durations: np.ndarray
