"""The safety filter as a state machine on injected time: limits, hold, latched faults, arming.

Not safety-rated: the robot's own protective stops and a hardware e-stop stay the last layer.
"""

from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.limiter import JointLimiter, JointLimits
from resfit_ros.core.types import Action, Executed, Float64, Reason, SafetyState

FAULTY = Reason.NON_FINITE | Reason.WRONG_SIZE | Reason.ESTOP


@dataclass(frozen=True)
class SafetyTiming:
    """Periods and timeouts in ns of the steady clock; a timeout of 0 is never reached (lockstep)."""

    tick_ns: int
    control_period_ns: int
    action_timeout_ns: int
    state_timeout_ns: int


@dataclass(frozen=True, eq=False)
class SetPoint:
    """What to send to the robot now: positions float64 (A,), joint units."""

    position: Float64
    reasons: Reason
    state: SafetyState
    executed: Executed | None = None  # a step that this tick completed
    forwarded: bool = False  # the robot has it already, in an existing controller's own message


@dataclass
class SafetyCounters:
    """Since start."""

    accepted: int = 0
    rejected: int = 0
    clamped: int = 0
    dropped: int = 0


class SafetyFilter:
    """Between actions and robot: one set point per tick, always within the limits once it has a state.

    `now_ns` is the steady clock. The robot's measured joint positions start the set point at arming
    and at the beginning of each episode.
    """

    def __init__(
        self, limits: JointLimits, timing: SafetyTiming, trusted_source: str, armed: bool = False
    ) -> None:
        self.limits = limits
        self.timing = timing
        self.trusted_source = trusted_source
        self.limiter = JointLimiter(limits, timing.tick_ns * 1e-9)
        self.counters = SafetyCounters()
        self.state = SafetyState.ARMED if armed else SafetyState.DISARMED
        self.latched = Reason.NONE
        self.estopped = False
        self.action_received_ns: int | None = None
        self.state_received_ns: int | None = None
        self.largest_clamp = 0.0
        self._measured: Float64 | None = None
        self._measured_stamp_ns = -1
        # The set point starts from the first state measured at or after this stamp; None: it has.
        self._resync_from_ns: int | None = 0
        self._episode_id = 0
        self._ended_at: int | None = None
        self._action: Action | None = None
        self._segment_tick = 0
        self._segment_reasons = Reason.NONE
        self._executed_step = -1
        self._resumed = False  # the action at hand ended a hold

    # -- operator ---------------------------------------------------------------------------

    def arm(self) -> str | None:
        """DISARMED or FAULT to ARMED; returns why not, or None."""
        if self.estopped:
            return "the e-stop is pressed; release it first"
        if self._measured is None:
            return "no joint state has arrived yet; check the joint state topic"
        self.state, self.latched = SafetyState.ARMED, Reason.NONE
        self._drop_action()
        self._resync_from(self._measured_stamp_ns)
        return None

    def disarm(self) -> None:
        """Nothing is sent any more."""
        self.state = SafetyState.DISARMED
        self._drop_action()

    def set_estop(self, pressed: bool) -> None:
        """Pressed: latched fault. Released: still FAULT until armed again."""
        self.estopped = pressed
        if pressed:
            self._fault(Reason.ESTOP)

    # -- inputs -----------------------------------------------------------------------------

    def on_joint_state(self, position: Float64, stamp_ns: int, now_ns: int) -> None:
        """Measured positions (A,), configured order; `stamp_ns` as in their header.

        Raises ShapeError when they are not finite: such a state counts as none at all.
        """
        if not np.all(np.isfinite(position)):
            raise ShapeError("joint state holds NaN or Inf")
        self._measured, self._measured_stamp_ns = position, stamp_ns
        self.state_received_ns = now_ns
        if self._resync_from_ns is not None:
            self._resync_from(self._resync_from_ns)

    def _resync_from(self, stamp_ns: int) -> None:
        if self._measured is not None and self._measured_stamp_ns >= stamp_ns:
            self.limiter.reset(self._measured)
            self._resync_from_ns = None
        else:
            self._resync_from_ns = stamp_ns

    @property
    def synchronised(self) -> bool:
        """True once the set point has started from a state measured in this episode."""
        return self._resync_from_ns is None

    def on_episode_started(self, episode_id: int, stamp_ns: int) -> None:
        """Forgets the old episode's action; the set point restarts from the measured positions."""
        if episode_id <= self._episode_id:
            return
        self._episode_id, self._ended_at, self._executed_step = episode_id, None, -1
        self._drop_action()
        self._restart_at_episode(stamp_ns)

    def _restart_at_episode(self, stamp_ns: int) -> None:
        self._resync_from(stamp_ns)

    def on_episode_ended(self, episode_id: int, steps: int) -> None:
        """Actions of step `steps` and later are not executed."""
        if episode_id == self._episode_id:
            self._ended_at = steps
            if self._action is not None and self._action.step >= steps:
                self._drop_action()

    def on_action(self, action: Action, now_ns: int) -> tuple[bool, Executed | None]:
        """Takes the action of the next step as the new target.

        Returns (whether it was taken, the step it cut short).
        """
        fault = self._fault_in(action)
        if fault:
            self.counters.rejected += 1
            if fault is not Reason.FOREIGN_SOURCE:
                self._fault(fault)
            return False, None
        last = self._action.step if self._action is not None else self._executed_step
        over = self._ended_at is not None and action.step >= self._ended_at
        if action.episode_id != self._episode_id or action.step <= last or over:
            self.counters.dropped += 1
            return False, None
        cut_short = self._complete() if self._action is not None else None
        self.counters.accepted += 1
        self.action_received_ns = now_ns
        self._action = action
        self._segment_tick = 0
        self._segment_reasons = Reason.NONE
        self._resumed = self.state is SafetyState.HOLD
        if self._resumed:  # its observation may be from before the hold
            self.state = SafetyState.ARMED
        return True, cut_short

    def _fault_in(self, action: Action) -> Reason:
        if action.source_id != self.trusted_source:
            return Reason.FOREIGN_SOURCE
        if action.command.shape != self.limits.lower.shape:
            return Reason.WRONG_SIZE
        return Reason.NONE if np.all(np.isfinite(action.command)) else Reason.NON_FINITE

    # -- output -----------------------------------------------------------------------------

    def tick(self, now_ns: int) -> SetPoint | None:
        """The set point to send now; None while DISARMED or before the first joint state."""
        if self.state is SafetyState.DISARMED or not self.synchronised:
            return None
        reasons = self._watch(now_ns)
        position, limited, forwarded = self._move(now_ns)
        reasons |= limited
        executed = None
        if self._action is not None:
            self._segment_tick += 1
            self._segment_reasons |= reasons
            if self._segment_tick >= self._ticks_per_step:
                executed = self._complete()
        return SetPoint(position, reasons, self.state, executed, forwarded)

    def _move(self, now_ns: int) -> tuple[Float64, Reason, bool]:
        """(set point, limits that changed it, whether the robot has been sent there already)."""
        return (*self._limited(self._target()), False)

    def _limited(self, target: Float64) -> tuple[Float64, Reason]:
        position, limited = self.limiter.limit(target)
        self.largest_clamp = float(np.max(np.abs(position - target), initial=0.0))
        return position, limited

    @property
    def _ticks_per_step(self) -> int:
        return max(1, round(self.timing.control_period_ns / self.timing.tick_ns))

    def _target(self) -> Float64:
        """Linear interpolation to the action's command; the steady set point without an action."""
        if self._action is None or self.state is not SafetyState.ARMED:
            return self._stopping_point()
        command = self._action.command.astype(np.float64)
        left = self._ticks_per_step - self._segment_tick
        if left <= 1:
            return command
        return self.limiter.position + (command - self.limiter.position) / left

    def _stopping_point(self) -> Float64:
        """Where the joints can come to rest soonest under the acceleration limit."""
        speed = self.limiter.velocity
        step = self.limits.max_acceleration * self.limiter.tick_s
        slower = np.sign(speed) * np.maximum(np.abs(speed) - step, 0.0)
        return self.limiter.position + slower * self.limiter.tick_s

    def _watch(self, now_ns: int) -> Reason:
        reasons = self.latched
        if self._stale(self.state_received_ns, self.timing.state_timeout_ns, now_ns):
            reasons |= Reason.STALE_STATE
            self._fault(Reason.STALE_STATE)
        reasons |= self._watch_commands(now_ns)
        if self._ended_at is not None or not self._episode_id:
            reasons |= Reason.NO_EPISODE
        return reasons

    def _watch_commands(self, now_ns: int) -> Reason:
        if self.state is SafetyState.ARMED and self._ended_at is None and self._episode_id:
            if self._stale(self.action_received_ns, self.timing.action_timeout_ns, now_ns):
                self.state = SafetyState.HOLD
        return Reason.STALE_ACTION if self.state is SafetyState.HOLD else Reason.NONE

    @staticmethod
    def _stale(received_ns: int | None, timeout_ns: int, now_ns: int) -> bool:
        return bool(timeout_ns) and received_ns is not None and now_ns - received_ns > timeout_ns

    def _complete(self) -> Executed:
        action, self._action = self._action, None
        self._executed_step = action.step
        clamped = self._segment_reasons & (
            Reason.POSITION_LIMIT | Reason.VELOCITY_LIMIT | Reason.ACCELERATION_LIMIT
        )
        self.counters.clamped += bool(clamped)
        return Executed(
            stamp_ns=action.stamp_ns,
            episode_id=action.episode_id,
            step=action.step,
            action=self.limiter.position.astype(np.float32),
            safety_state=self.state,
            reasons=self._segment_reasons,
            tainted=self._resumed or self.state is not SafetyState.ARMED,
        )

    def _fault(self, reason: Reason) -> None:
        self.latched |= reason
        if self.state is not SafetyState.DISARMED:
            self.state = SafetyState.FAULT

    def _drop_action(self) -> None:
        self._action = None
        self.action_received_ns = None
