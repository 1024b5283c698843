"""The way from a moving set point to a standstill, with bounded jerk where possible."""

import math
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.types import Float64

# Of the acceleration limit: rounding must not make a set point look faster than allowed.
SPARE = 1e-6
LONGEST_STOP_S = 5.0  # a jerk limit so low that a stop takes longer is not used
NO_RUCKIG = "max_jerk needs ruckig (pip install ruckig); without it the joints brake as hard as allowed"


class StopProfile:
    """Set points (A,) from a moving set point to rest, one per tick.

    A joint with a jerk limit [rad/s^3] takes the time-optimal stop under jerk and acceleration limits
    (ruckig, velocity control). Where that stop would break a limit of core.limiter.JointLimiter, e.g. close
    to a position limit, where jerk is not limited (None, inf) and where ruckig is missing, the joint
    brakes at its acceleration limit. Raises ConfigError on a jerk that is not positive.
    """

    def __init__(self, limits: JointLimits, tick_s: float, jerk: Float64 | float | None = None) -> None:
        if not 0.0 < tick_s < math.inf:
            raise ConfigError(f"tick_s {tick_s:g} must be positive and finite")
        count = len(limits.joint_names)
        values = np.atleast_1d(np.asarray(math.inf if jerk is None else jerk, dtype=np.float64))
        if values.shape not in ((1,), (count,)):
            raise ConfigError(
                f"max_jerk: expected {count} values (one per joint) or one for all, got {values.size}"
            )
        values = np.broadcast_to(values, (count,))
        if not np.all(values > 0.0):
            worst = limits.joint_names[int(np.argmin(values > 0.0))]
            raise ConfigError(f"joint '{worst}': max_jerk must be positive")
        self.limits, self.tick_s, self.jerk = limits, tick_s, values
        self.note = ""  # why jerk is not limited although it should be
        self._acceleration = limits.max_acceleration * (1.0 - SPARE)
        self._planner = self._planner_of(count) if np.any(np.isfinite(values)) else None
        self._positions = np.zeros((0, count))
        self._next = 0
        self.smooth = np.zeros(count, dtype=bool)  # joints that stop with bounded jerk, (A,)

    def _planner_of(self, count: int) -> "_JerkLimited | None":
        try:
            return _JerkLimited(count, self.tick_s, self._acceleration, self.jerk)
        except ImportError:
            self.note = NO_RUCKIG
            return None

    @property
    def done(self) -> bool:
        """Whether the last set point has been given out."""
        return self._next >= len(self._positions)

    def start(self, position: Float64, velocity: Float64, acceleration: Float64) -> None:
        """Plans from a set point, (A,) each; velocity and acceleration are its backward differences.

        Raises ShapeError when they are not finite or of another shape.
        """
        state = [np.array(values, dtype=np.float64) for values in (position, velocity, acceleration)]
        shape = self.limits.lower.shape
        if any(values.shape != shape or not np.all(np.isfinite(values)) for values in state):
            raise ShapeError(f"stop profile: expected finite position, velocity and acceleration {shape}")
        start, speed, acceleration = state
        positions = self._braking(start, speed)
        self.smooth = np.zeros(shape, dtype=bool)
        if self._planner is not None:
            # The second try drops the acceleration: no faster first, where speed has no room for it.
            for first in (np.clip(acceleration, -self._acceleration, self._acceleration), np.zeros(shape)):
                planned = self._planner.plan(start, speed, first)
                if planned is None:
                    continue
                use = self._keeps_limits(planned, start, speed) & np.isfinite(self.jerk) & ~self.smooth
                positions = _mixed(planned, positions, use)
                self.smooth |= use
        lowest, highest = np.minimum(self.limits.lower, start), np.maximum(self.limits.upper, start)
        self._positions, self._next = np.clip(positions, lowest, highest), 0

    def next(self) -> Float64:
        """The set point (A,) of the next tick; the last one for ever after."""
        if not len(self._positions):
            raise ShapeError("stop profile: start() comes before next()")
        position = self._positions[min(self._next, len(self._positions) - 1)]
        self._next = min(self._next + 1, len(self._positions))
        return position.copy()

    def _braking(self, start: Float64, speed: Float64) -> Float64:
        """Set points (N, A) at constant deceleration, in closed form."""
        step = self._acceleration * self.tick_s
        ticks = max(1, math.ceil(np.max(np.abs(speed) / step, initial=0.0)))
        passed = np.arange(1, ticks + 1)[:, None]
        slower = np.sign(speed) * np.maximum(np.abs(speed) - step * passed, 0.0)
        return start + np.cumsum(slower, axis=0) * self.tick_s

    def _keeps_limits(self, positions: Float64, start: Float64, speed: Float64) -> np.ndarray:
        """Which joints (A,) core.limiter.JointLimiter lets pass unchanged all along `positions` (N, A)."""
        limits, tick = self.limits, self.tick_s
        before = np.vstack([start, positions[:-1]])
        velocity = (positions - before) / tick
        change = np.diff(np.vstack([speed, velocity]), axis=0)
        step = limits.max_acceleration * tick
        upper, lower = (
            np.sqrt(step * step + 2.0 * limits.max_acceleration * np.maximum(room, 0.0)) - step
            for room in (limits.upper - before, before - limits.lower)
        )
        held = (np.abs(velocity) <= limits.max_velocity) & (np.abs(change) <= step)
        return np.all(held & (velocity <= upper) & (velocity >= -lower), axis=0)


class _JerkLimited:
    """ruckig's stop, sampled at ticks."""

    def __init__(self, joints: int, tick_s: float, acceleration: Float64, jerk: Float64) -> None:
        import ruckig

        self._tick_s = tick_s
        self._otg, self._trajectory = ruckig.Ruckig(joints, tick_s), ruckig.Trajectory(joints)
        self._working = ruckig.Result.Working
        self._input: Any = ruckig.InputParameter(joints)
        self._input.control_interface = ruckig.ControlInterface.Velocity
        self._input.synchronization = ruckig.Synchronization.No  # each joint as soon as it can
        self._input.target_velocity = [0.0] * joints
        self._input.target_acceleration = [0.0] * joints
        self._input.max_acceleration = list(acceleration)
        self._input.max_jerk = list(jerk)

    def plan(self, start: Float64, speed: Float64, acceleration: Float64) -> Float64 | None:
        """Set points (N, A) until all joints rest; None where there is no such stop."""
        self._input.current_position = list(start)
        # A backward difference is the speed half a tick ago.
        self._input.current_velocity = list(speed + 0.5 * self._tick_s * acceleration)
        self._input.current_acceleration = list(acceleration)
        if self._otg.calculate(self._input, self._trajectory) != self._working:
            return None
        ticks = math.ceil(min(self._trajectory.duration, LONGEST_STOP_S) / self._tick_s) + 1
        planned = np.array([self._trajectory.at_time(k * self._tick_s)[0] for k in range(1, ticks + 1)])
        late = np.array(self._trajectory.independent_min_durations) > LONGEST_STOP_S
        planned[:, late] = np.nan  # keeps no limit
        return planned


def _mixed(planned: Float64, positions: Float64, use: np.ndarray) -> Float64:
    """`positions` with the columns `use` from `planned`; the shorter one waits at its end."""
    length = max(len(planned), len(positions))
    planned, positions = (
        np.vstack([rows, np.repeat(rows[-1:], length - len(rows), axis=0)]) for rows in (planned, positions)
    )
    return np.where(use, planned, positions)
