"""Position, velocity and acceleration limits per joint, in closed form."""

from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Float64, Reason


@dataclass(frozen=True, eq=False)
class JointLimits:
    """Limits per joint, float64 (A,): lower, upper [rad], velocity [rad/s], acceleration [rad/s^2]."""

    joint_names: tuple[str, ...]
    lower: Float64
    upper: Float64
    max_velocity: Float64
    max_acceleration: Float64

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        for name in ("lower", "upper", "max_velocity", "max_acceleration"):
            values = np.array(getattr(self, name), dtype=np.float64)
            if values.shape == (1,):
                values = np.repeat(values, count)
            if values.shape != (count,):
                raise ConfigError(f"{name}: expected {count} values (one per joint), got {values.size}")
            if not np.all(np.isfinite(values)):
                raise ConfigError(f"{name}: every value must be finite")
            object.__setattr__(self, name, values)
        self._require(self.lower < self.upper, "lower limit must be below the upper limit")
        self._require(self.max_velocity > 0, "max_velocity must be positive")
        self._require(self.max_acceleration > 0, "max_acceleration must be positive")

    def _require(self, holds: np.ndarray, rule: str) -> None:
        if not np.all(holds):
            raise ConfigError(f"joint '{self.joint_names[int(np.argmin(holds))]}': {rule}")


class JointLimiter:
    """Turns requested set points into set points a robot may follow, one per tick.

    A request within every limit passes bit-identically. Otherwise each joint moves towards it as
    far as allowed. Braking bound (discrete time, T = tick, a = acceleration, d = distance to the
    position limit): v <= -aT + sqrt(a^2 T^2 + 2 a d), from which a joint can always stop in time
    under its acceleration limit; the continuous bound sqrt(2 a d) overshoots.
    """

    def __init__(self, limits: JointLimits, tick_s: float) -> None:
        self.limits = limits
        self.tick_s = tick_s
        self.speed_scale = 1.0  # of the velocity limits, at most 1
        self._accel_step = limits.max_acceleration * tick_s
        # A robot may start outside its limits: until it is back inside, only inward motion.
        self.position = np.clip(np.zeros(len(limits.joint_names)), limits.lower, limits.upper)
        self.velocity = np.zeros_like(self.position)
        self.acceleration = np.zeros_like(self.position)

    @property
    def max_velocity(self) -> Float64:
        """Velocity limits in force, (A,)."""
        return self.limits.max_velocity * self.speed_scale

    def reset(self, position: Float64) -> None:
        """Starts at rest from `position` (A,), e.g. as measured."""
        position = np.array(position, dtype=np.float64)
        if position.shape != self.position.shape or not np.all(np.isfinite(position)):
            raise ShapeError(f"limiter: expected {self.position.shape} finite positions")
        self.position = position
        self.velocity, self.acceleration = np.zeros_like(position), np.zeros_like(position)

    def follow(self, position: Float64, velocity: Float64) -> None:
        """Goes on from where somebody else has brought the robot: position (A,), velocity (A,) [1/s]."""
        self.position = np.array(position, dtype=np.float64)
        self.velocity = np.clip(velocity, -self.limits.max_velocity, self.limits.max_velocity)
        self.acceleration = np.zeros_like(self.position)

    def _braking_velocity(self, distance: Float64) -> Float64:
        step = self._accel_step
        room = 2 * self.limits.max_acceleration * np.maximum(distance, 0.0)
        return np.sqrt(step * step + room) - step

    def limit(self, target: Float64) -> tuple[Float64, Reason]:
        """Next set point (A,) towards a finite `target` (A,), and which limits changed it."""
        lim, tick = self.limits, self.tick_s
        wanted = np.clip(target, np.minimum(lim.lower, self.position), np.maximum(lim.upper, self.position))
        velocity = (wanted - self.position) / tick
        top_speed = self.max_velocity
        by_speed = np.clip(velocity, -top_speed, top_speed)
        by_accel = np.clip(by_speed, self.velocity - self._accel_step, self.velocity + self._accel_step)
        highest = self._braking_velocity(lim.upper - self.position)
        lowest = -self._braking_velocity(self.position - lim.lower)
        allowed = np.clip(by_accel, lowest, highest)
        changed = allowed != velocity
        position = np.where(changed, self.position + allowed * tick, wanted)
        # Rounding must not leave the range; a joint that started outside may only come closer.
        position = np.clip(
            position, np.minimum(lim.lower, self.position), np.maximum(lim.upper, self.position)
        )
        self._moved(position)
        return position, self._reasons(target, wanted, velocity, by_speed, by_accel, allowed)

    def _moved(self, position: Float64) -> None:
        velocity = (position - self.position) / self.tick_s
        self.acceleration = (velocity - self.velocity) / self.tick_s
        self.velocity, self.position = velocity, position

    def resting_point(self) -> Float64:
        """Where the joints come to rest (A,) when they brake as hard as allowed from now on."""
        return self.position + self.velocity * np.abs(self.velocity) / (2 * self.limits.max_acceleration)

    @staticmethod
    def _reasons(target, wanted, velocity, by_speed, by_accel, allowed) -> Reason:
        reasons = Reason.NONE
        if np.any(wanted != target) or np.any(allowed != by_accel):
            reasons |= Reason.POSITION_LIMIT
        if np.any(by_speed != velocity):
            reasons |= Reason.VELOCITY_LIMIT
        if np.any(by_accel != by_speed):
            reasons |= Reason.ACCELERATION_LIMIT
        return reasons
