"""The safety filter around an existing controller: its own messages pass, unless a residual corrects them."""

import numpy as np

from resfit_ros.core.command_path import CommandFollower, CommandPath
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.safety_settings import SafetyTiming
from resfit_ros.core.types import Action, Executed, Float64, Mode, Reason, SafetyState

TOLERANCE = 1e-6  # relative, for rates computed from differences
PAUSE_INTERVALS = 3  # a controller silent for so many of its periods has let the robot come to rest
SHORTEST_INTERVAL_S = 1e-3  # two messages taken in together say nothing of the rate
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
        **options,
    ) -> None:
        """same_type: the robot takes the controller's kind of message, so that it can be passed on.

        options: as SafetyFilter takes them.
        """
        super().__init__(limits, timing, trusted_source, **options)
        self._base_timeout_s = base_timeout_ns * 1e-9
        self._same_type = same_type
        self._interval_s: float | None = None  # between two commands, running average
        self._exact, self._smooth = CommandFollower(), CommandFollower()
        self._base_ns: int | None = None
        self._base_velocity = np.zeros_like(limits.lower)
        self._passing = False  # the robot follows the controller's own message
        self._residual_until_ns = -1
        self._called_off = False  # the robot may still follow a message that was passed on
        self.passed_on = 0

    def arm(self, now_ns: int = 0) -> str | None:
        """As the filter does: the set point starts from where the robot is, not from an old command."""
        refusal = super().arm(now_ns)
        if refusal is None:
            self._passing = False
            here = self.limiter.position
            self._exact, self._smooth = CommandFollower(here), CommandFollower(here)
        return refusal

    def disarm(self, now_ns: int) -> None:
        """As the filter does; what was passed on last is called off by a set point of our own."""
        self._called_off = self._passing
        self._take_over(now_ns)
        super().disarm(now_ns)

    def _at_rest(self) -> bool:
        called_off, self._called_off = self._called_off, False
        return not called_off and super()._at_rest()

    # -- inputs -----------------------------------------------------------------------------

    def on_base_command(self, path: CommandPath, now_ns: int) -> bool:
        """Takes the controller's command; True: its message may go to the robot as it is."""
        self._measure_interval(now_ns)
        position, began = self._here(now_ns)
        if not self._passing:  # the controller's own path counts only while the robot is on it
            self._exact = CommandFollower(position)
        self._exact.receive(path, now_ns)
        shown = np.maximum(path.times_s, self._usual_interval_s) if len(path.times_s) == 1 else path.times_s
        self._smooth.receive(CommandPath(shown, path.positions), now_ns)
        self._resume()
        others = self._residual_acts(now_ns) or self.teleop.active(now_ns)
        may_act = self.state is SafetyState.ARMED and self.synchronised and not others
        broken, velocity = self._broken_by(path, position, began)
        if may_act and not broken:
            broken = self._touched_by(path, position, velocity)
        self._passing = may_act and self._same_type and path.plain and not broken
        if self._passing:
            self._base_velocity = velocity
            self.passed_on += 1
        return self._passing

    def _measure_interval(self, now_ns: int) -> None:
        if self._base_ns is not None:
            gap_s = max((now_ns - self._base_ns) * 1e-9, SHORTEST_INTERVAL_S)
            if gap_s < self._base_timeout_s:  # a pause says nothing about the rate
                usual_s = gap_s if self._interval_s is None else self._interval_s
                self._interval_s = usual_s + INTERVAL_AVERAGE * (gap_s - usual_s)
        self._base_ns = now_ns

    @property
    def _usual_interval_s(self) -> float:
        """Between two commands; as short as a tick until it has been measured."""
        return self._interval_s if self._interval_s is not None else self.timing.tick_ns * 1e-9

    def _here(self, now_ns: int) -> tuple[Float64, Float64]:
        """Where the robot has been sent by now, and how fast it goes there: (A,), (A,) [1/s]."""
        if not self._passing:
            return self.limiter.position, self.limiter.velocity
        velocity = self._exact.velocity(now_ns)
        if velocity is None:  # targets without a duration: they were that far apart
            still = self._exact.silent_s(now_ns) > PAUSE_INTERVALS * self._usual_interval_s
            velocity = np.zeros_like(self._base_velocity) if still else self._base_velocity
        return self._exact.at(now_ns), velocity

    def _broken_by(self, path: CommandPath, position: Float64, began: Float64) -> tuple[Reason, Float64]:
        """Which limits the robot would break along `path`, setting out at velocity `began`, and how
        fast it is at the end."""
        lim, slack = self.limits, 1.0 + TOLERANCE
        points = np.vstack((position, path.positions))
        seconds = np.diff(path.times_s, prepend=0.0)
        if path.times_s[0] == 0.0:  # at once: before the next command comes, as far as anyone knows
            seconds[0] = self._usual_interval_s
        velocity = np.diff(points, axis=0) / seconds[:, None]
        between = (seconds + np.concatenate((seconds[:1], seconds[:-1]))) / 2
        acceleration = np.diff(velocity, axis=0, prepend=began[None]) / between[:, None]
        reasons = Reason.NONE
        low, high = np.minimum(lim.lower, position), np.maximum(lim.upper, position)
        if np.any(points < low) or np.any(points > high) or not self._can_stop(points[-1], velocity[-1]):
            reasons |= Reason.POSITION_LIMIT
        for speed in (velocity, path.velocities):
            if speed is not None and np.any(np.abs(speed) > self.limiter.max_velocity * slack):
                reasons |= Reason.VELOCITY_LIMIT
        for change in (acceleration, path.accelerations):
            if change is not None and np.any(np.abs(change) > lim.max_acceleration * slack):
                reasons |= Reason.ACCELERATION_LIMIT
        return reasons, velocity[-1]

    def _touched_by(self, path: CommandPath, position: Float64, velocity: Float64) -> Reason:
        """What the robot would touch on `path`, or while it stops after it."""
        if self._guard is None:
            return Reason.NONE
        rest = path.positions[-1] + velocity * np.abs(velocity) / (2 * self.limits.max_acceleration)
        reasons = Reason.NONE
        for point in (*path.positions, rest):
            verdict = self._guard.check(point, position)
            reasons |= verdict.reasons
            self.guard_words = verdict.words
        return reasons

    def _can_stop(self, position: Float64, velocity: Float64) -> bool:
        """Whether each joint can still brake before its limit: v^2 <= 2 a d."""
        ahead = np.where(velocity > 0, self.limits.upper - position, position - self.limits.lower)
        # A joint outside its limits may come back in at any speed that is allowed.
        outside = (position > self.limits.upper) | (position < self.limits.lower)
        room = 2 * self.limits.max_acceleration * np.maximum(ahead, 0.0)
        return bool(np.all((velocity**2 <= room * (1 + TOLERANCE) + TOLERANCE) | outside))

    def on_action(self, action: Action, now_ns: int, ros_ns: int | None = None) -> tuple[bool, Executed | None]:
        """As the filter does; an action of mode BASE leaves the robot to the controller."""
        here = self._here(now_ns)
        taken, cut_short = super().on_action(action, now_ns, ros_ns)
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

    def on_teleop(self, path: CommandPath, now_ns: int) -> None:
        """As the filter does; a human sets out from where the controller has brought the robot."""
        self._take_over(now_ns)
        super().on_teleop(path, now_ns)

    def _take_over(self, now_ns: int) -> None:
        if self._passing:
            self.limiter.follow(*self._here(now_ns))
            self._passing = False

    def _watch_commands(self, now_ns: int) -> None:
        if self._residual_acts(now_ns) or self.teleop.active(now_ns):
            super()._watch_commands(now_ns)
            return
        running = bool(self._episode_id) and self._ended_at is None
        silent = self._base_ns is not None and self._exact.silent_s(now_ns) > self._base_timeout_s
        if running and silent:
            self._hold(Reason.STALE_ACTION)

    def _move(self, now_ns: int) -> tuple[Float64, Reason, bool]:
        if self._passing:
            self.limiter.follow(*self._here(now_ns))
        others = self._residual_acts(now_ns) or self.teleop.active(now_ns)
        silent = self._exact.silent_s(now_ns) > self._base_timeout_s
        may_follow = self.state is SafetyState.ARMED and not others and not silent
        self._passing = self._passing and may_follow
        if self._passing:
            return self.limiter.position, Reason.NONE, True
        if others or self.state is not SafetyState.ARMED:
            return super()._move(now_ns)
        # An old command is not followed: the robot may have been armed long after it was given.
        target = self._smooth.at(now_ns + self.timing.tick_ns) if may_follow else self._stopping_point()
        return (*self._limited(target), False)
