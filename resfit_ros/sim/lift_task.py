"""The bimanual lift task: where the box starts, what it weighs, when it counts as lifted."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

import numpy as np

from resfit_ros.sim.errors import TaskError


@dataclass(frozen=True)
class BoxPose:
    """Planar pose of the box on the table in the world frame: metres, and yaw in rad."""

    x: float
    y: float
    yaw: float


@dataclass(frozen=True)
class LiftTask:
    """Squeeze a box between both palms and hold it level above the table.

    Lengths are in metres, angles in rad, masses in kg. Steps are control steps.
    """

    box_x: float = 0.40  # centre of the start positions, x forward from the robot
    box_y: float = 0.0
    box_x_range: float = 0.07  # the start position is uniform within +- this range
    box_y_range: float = 0.085
    box_yaw_range: float = 0.40
    box_mass: float = 1.75
    sliding_friction: float = 0.8
    torsional_friction: float = 0.012  # m: torque about the contact normal per normal force
    lift_height: float = 0.08  # of the box's centre above its place on the table
    max_tilt: float = 0.30  # of the box's vertical axis; a box that hangs askew is not lifted
    max_speed: float = 0.5  # m/s: a box that flies is not held
    hold_steps: int = 6
    max_steps: int = 60

    def __post_init__(self) -> None:
        for name in ("box_x_range", "box_y_range", "box_yaw_range", "torsional_friction"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0.0):
                raise TaskError(f"{name}: expected a finite value >= 0, got {value!r}")
        for name in ("box_mass", "sliding_friction", "lift_height", "max_tilt", "max_speed"):
            value = getattr(self, name)
            if not (isfinite(value) and value > 0.0):
                raise TaskError(f"{name}: expected a finite value > 0, got {value!r}")
        if self.hold_steps < 1:
            raise TaskError(f"hold_steps: expected at least 1, got {self.hold_steps}")
        if self.max_steps <= self.hold_steps:
            raise TaskError(
                f"max_steps: expected over hold_steps = {self.hold_steps}, got {self.max_steps}"
            )

    def sample(self, rng: np.random.Generator) -> BoxPose:
        """Draws the start of an episode, uniformly from the task's ranges."""
        dx, dy, dyaw = rng.uniform(-1.0, 1.0, size=3)
        return BoxPose(
            x=self.box_x + self.box_x_range * dx,
            y=self.box_y + self.box_y_range * dy,
            yaw=self.box_yaw_range * dyaw,
        )

    def is_lifted(self, height: float, tilt: float, speed: float, held: bool) -> bool:
        """Whether the box counts as lifted at this instant.

        Args:
            height: of the box's centre above its place on the table, m.
            tilt: angle between the box's vertical axis and the world's, rad.
            speed: of the box's centre, m/s.
            held: both palms touch the box.
        """
        return (
            held
            and height >= self.lift_height
            and tilt <= self.max_tilt
            and speed <= self.max_speed
        )
