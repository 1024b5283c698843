"""The safety filter around an existing controller: its own messages pass, unless a residual corrects them."""

import numpy as np

from resfit_ros.core.command_path import CommandFollower, CommandPath
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety import SafetyFilter, SafetyTiming
from resfit_ros.core.types import Action, Executed, Float64, Mode, Reason, SafetyState

TOLERANCE = 1e-6  # relative, for rates computed from differences
PAUSE_INTERVALS = 3  # a controller silent for so many of its periods has let the robot come to rest
INTERVAL_AVERAGE = 0.1  # rate of the running average of the controller's period


class TransparentFilter(SafetyFilter):
    """Passes the controller's commands on unchanged while no residual acts and they keep every limit.

    A command that breaks a limit is replaced by set points that go the same way as far as allowed. A
    residual that falls silent hands back to the controller; only a silent controller means HOLD.
    """

    def __init__(
        self,
        limits: JointLimits,
        timing: SafetyTiming,
        trusted_source: str,
        base_timeout_ns: int,
        same_type: bool = True,
    ) -> None:
        """same_type: the robot takes the controller's kind of message, so that it can be passed on."""
        super().__init__(limits, timing, trusted_source)
        self._base_timeout_s = base_timeout_ns * 1e-9
        self._same_type = same_type
        self._interval_s = timing.control_period_ns * 1e-9  # between two commands, running average
        self._exact, self._smooth = CommandFollower(), CommandFollower()
        self._base_ns: int | None = None
        self._base_velocity = np.zeros_like(limits.lower)
        self._passing = False  # the robot follows the controller's own message
        self._residual_until_ns = -1
        self.passed_on = 0

    def arm(self) -> str | None:
        """As the filter does: the set point starts from where the robot is, not from an old command."""
        refusal = super().arm()
        if refusal is None:
            self._passing = False
            self._exact, self._smooth = CommandFollower(), CommandFollower()
        return refusal

    # -- inputs -----------------------------------------------------------------------------

    def on_base_command(self, path: CommandPath, now_ns: int) -> bool:
        """Takes the controller's command; True: its message may go to the robot as it is."""
        self._measure_interval(now_ns)
        position, began = self._here(now_ns)
        self._exact.receive(path, now_ns)
        shown = np.maximum(path.times_s, self._interval_s) if len(path.times_s) == 1 else path.times_s
        self._smooth.receive(CommandPath(shown, path.positions), now_ns)
        if self.state is SafetyState.HOLD:
            self.state = SafetyState.ARMED
        may_act = self.state is SafetyState.ARMED and self.synchronised
        broken, velocity = self._broken_by(path, position, began)
        self._passing = may_act and self._same_type and not broken and not self._residual_acts(now_ns)
        if self._passing:
            self._base_velocity = velocity
            self.passed_on += 1
        return self._passing

    def _measure_interval(self, now_ns: int) -> None:
        if self._base_ns is not None:
            gap_s = (now_ns - self._base_ns) * 1e-9
            if gap_s < self._base_timeout_s:  # a pause says nothing about the rate
                self._interval_s += INTERVAL_AVERAGE * (gap_s - self._interval_s)
        self._base_ns = now_ns

    def _here(self, now_ns: int) -> tuple[Float64, Float64]:
        """Where the robot has been sent by now, and how fast it goes there: (A,), (A,) [1/s]."""
        if not self._passing:
            return self.limiter.position, self.limiter.velocity
        velocity = self._exact.velocity(now_ns)
        if velocity is None:  # targets without a duration: they were that far apart
            still = self._exact.silent_s(now_ns) > PAUSE_INTERVALS * self._interval_s
            velocity = np.zeros_like(self._base_velocity) if still else self._base_velocity
        return self._exact.at(now_ns), velocity

    def _broken_by(self, path: CommandPath, position: Float64, began: Float64) -> tuple[Reason, Float64]:
        """Which limits the robot would break along `path`, setting out at velocity `began`, and how
        fast it is at the end."""
        lim, slack = self.limits, 1.0 + TOLERANCE
        points = np.vstack((position, path.positions))
        seconds = np.diff(path.times_s, prepend=0.0)
        seconds[0] = max(seconds[0], self._interval_s)
        velocity = np.diff(points, axis=0) / seconds[:, None]
        between = (seconds + np.concatenate((seconds[:1], seconds[:-1]))) / 2
        acceleration = np.diff(velocity, axis=0, prepend=began[None]) / between[:, None]
        reasons = Reason.NONE
        low, high = np.minimum(lim.lower, position), np.maximum(lim.upper, position)
        if np.any(points < low) or np.any(points > high) or not self._can_stop(points[-1], velocity[-1]):
            reasons |= Reason.POSITION_LIMIT
        if np.any(np.abs(velocity) > lim.max_velocity * slack):
            reasons |= Reason.VELOCITY_LIMIT
        if np.any(np.abs(acceleration) > lim.max_acceleration * slack):
            reasons |= Reason.ACCELERATION_LIMIT
        return reasons, velocity[-1]

    def _can_stop(self, position: Float64, velocity: Float64) -> bool:
        """Whether each joint can still brake before its limit: v^2 <= 2 a d."""
        ahead = np.where(velocity > 0, self.limits.upper - position, position - self.limits.lower)
        # A joint outside its limits may come back in at any speed that is allowed.
        outside = (position > self.limits.upper) | (position < self.limits.lower)
        room = 2 * self.limits.max_acceleration * np.maximum(ahead, 0.0)
        return bool(np.all((velocity**2 <= room * (1 + TOLERANCE) + TOLERANCE) | outside))

    def on_action(self, action: Action, now_ns: int) -> tuple[bool, Executed | None]:
        """As the filter does; an action of mode BASE leaves the robot to the controller."""
        here = self._here(now_ns)
        taken, cut_short = super().on_action(action, now_ns)
        if taken and action.mode is Mode.BASE:
            self._residual_until_ns = -1
        elif taken:
            if self._passing:  # the set point sets out from where the controller has brought the robot
                self.limiter.follow(*here)
                self._passing = False
            self._residual_until_ns = now_ns + self.timing.action_timeout_ns
        return taken, cut_short

    def _residual_acts(self, now_ns: int) -> bool:
        return now_ns <= self._residual_until_ns

    def _restart_at_episode(self, stamp_ns: int) -> None:
        """The controller goes on across episodes, and so does the set point."""

    # -- output -----------------------------------------------------------------------------

    def _watch_commands(self, now_ns: int) -> Reason:
        if self._residual_acts(now_ns):
            return super()._watch_commands(now_ns)
        running = bool(self._episode_id) and self._ended_at is None
        silent = self._base_ns is not None and self._exact.silent_s(now_ns) > self._base_timeout_s
        if self.state is SafetyState.ARMED and running and silent:
            self.state = SafetyState.HOLD
        return Reason.STALE_ACTION if self.state is SafetyState.HOLD else Reason.NONE

    def _move(self, now_ns: int) -> tuple[Float64, Reason, bool]:
        if self._passing:
            self.limiter.follow(*self._here(now_ns))
        residual = self._residual_acts(now_ns)
        silent = self._exact.silent_s(now_ns) > self._base_timeout_s
        may_follow = self.state is SafetyState.ARMED and not residual and not silent
        self._passing = self._passing and may_follow
        if self._passing:
            return self.limiter.position, Reason.NONE, True
        if residual:
            return super()._move(now_ns)
        # An old command is not followed: the robot may have been armed long after it was given.
        target = self._smooth.at(now_ns + self.timing.tick_ns) if may_follow else self._stopping_point()
        return (*self._limited(target), False)
