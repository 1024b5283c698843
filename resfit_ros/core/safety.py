"""The safety filter as a state machine on injected time: limits, hold, latched faults, arming.

Not safety-rated: the robot's own protective stops and a hardware e-stop stay the last layer.
"""

import numpy as np

from resfit_ros.core.admission import ActionGate
from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.errors import ShapeError
from resfit_ros.core.limiter import JointLimiter, JointLimits
from resfit_ros.core.safety_settings import (
    Guard,
    SafetyBounds,
    SafetyCounters,
    SafetyTiming,
    SetPoint,
    StopProfile,
)
from resfit_ros.core.teleop import TeleopFollower
from resfit_ros.core.types import Action, Executed, Float64, Reason, SafetyState
from resfit_ros.core.watchdogs import ClockWatch, Health, HoldRequests, TickWatch

CLAMPED = Reason.POSITION_LIMIT | Reason.VELOCITY_LIMIT | Reason.ACCELERATION_LIMIT
NOT_LATCHED = Reason.FOREIGN_SOURCE | Reason.BAD_STAMP
MOVING = (SafetyState.ARMED, SafetyState.HOLD)


class SafetyFilter:
    """Between actions and robot: one set point per tick, always within the limits once it has a state.

    `now_ns` is the steady clock, `ros_ns` the clock that stamps are made with. The robot's measured
    joint positions start the set point at arming and at the beginning of each episode.
    """

    def __init__(
        self,
        limits: JointLimits,
        timing: SafetyTiming,
        trusted_source: str,
        armed: bool = False,
        bounds: SafetyBounds | None = None,
        guard: Guard | None = None,
        stop_profile: StopProfile | None = None,
    ) -> None:
        bounds = bounds or SafetyBounds()
        self.limits, self.timing = limits, timing
        self.trusted_source = trusted_source
        self.limiter = JointLimiter(limits, timing.tick_ns * 1e-9)
        self.counters = SafetyCounters()
        self.state = SafetyState.ARMED if armed else SafetyState.DISARMED
        self.latched = Reason.NONE
        self.requests = HoldRequests()
        self.ticks = TickWatch(timing.tick_ns, timing.max_missed_ticks)
        self.clock = ClockWatch()
        self.health = Health(timing.healthy_ns)
        self.teleop = TeleopFollower(timing.teleop_timeout_ns, timing.tick_ns, timing.control_period_ns)
        self.estopped = False
        self.guard_words = ""
        self.action_received_ns: int | None = None
        self.state_received_ns: int | None = None
        self.largest_clamp = 0.0
        joints = len(limits.joint_names)
        self._gate = ActionGate(
            trusted_source, joints, bounds.max_residual, timing.action_timeout_ns, timing.stamp_tolerance_ns
        )
        self._max_tracking_error = bounds.max_tracking_error
        self._guard, self._stop_profile = guard, stop_profile
        self._stopping = False  # the stop profile has been started
        self._disarming = False  # the joints brake, then nothing is sent any more
        self._held_by = Reason.NONE  # what began the hold at hand, beside requests
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
        self._tainted = False  # a fault touched the action at hand

    # -- operator ---------------------------------------------------------------------------

    def arm(self, now_ns: int = 0) -> str | None:
        """DISARMED or FAULT to ARMED; returns why not, or None."""
        if self.estopped:
            return "the e-stop is pressed; release it first"
        if self._measured is None:
            return "no joint state has arrived yet; check the joint state topic"
        refusal = self.health.refusal(now_ns)
        if refusal:
            return refusal
        self.state, self.latched, self._held_by = SafetyState.ARMED, Reason.NONE, Reason.NONE
        self._disarming = False
        self.teleop.forget()
        self._drop_action()
        self._resync_from(self._measured_stamp_ns)
        return None

    def disarm(self, now_ns: int) -> None:
        """Nothing is sent any more, once the joints have come to rest."""
        self._drop_action()
        self.teleop.forget()
        if self.state is SafetyState.DISARMED or self._at_rest() or not self.synchronised:
            self.state, self._disarming = SafetyState.DISARMED, False
        else:
            self.state, self._disarming = SafetyState.FAULT, True

    def _at_rest(self) -> bool:
        return not np.any(self.limiter.velocity)

    def set_estop(self, pressed: bool) -> None:
        """Pressed: latched fault. Released: still FAULT until armed again."""
        self.estopped = pressed
        if pressed:
            self.fault(Reason.ESTOP)

    def set_speed_scale(self, scale: float) -> str | None:
        """Scales the velocity limits; returns why not: no limit is widened while the robot may move."""
        if scale > self.limiter.speed_scale and self.state in MOVING:
            return f"speed_scale may not rise to {scale:g} while {self.state.name.lower()}; disarm first"
        self.limiter.speed_scale = scale
        return None

    def fault(self, reason: Reason) -> None:
        """Hold, latched: needs an explicit re-arm."""
        self.latched |= reason
        self.teleop.forget()
        if self.state is not SafetyState.DISARMED:
            self.state = SafetyState.FAULT

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

    def on_teleop(self, path: CommandPath, now_ns: int) -> None:
        """A human's command: followed from the next tick on, within every limit."""
        self.teleop.receive(path, self.limiter.position, now_ns)
        if self.teleop.active(now_ns):
            self._resume()

    def on_clock(self, ros_ns: int, now_ns: int) -> bool:
        """The ROS clock at `now_ns`; stamps from before a jump must not be acted on. True at a jump."""
        if not self.clock.jumped(ros_ns, now_ns):
            return False
        self._drop_action()
        self._hold(Reason.CLOCK_JUMP)
        return True

    def on_action(self, action: Action, now_ns: int, ros_ns: int | None = None) -> tuple[bool, Executed | None]:
        """Takes the action of the next step as the new target.

        Returns (whether it was taken, the step it cut short).
        """
        refusal = self._gate.refusal(action, ros_ns)
        if refusal:
            self._refuse(refusal)
            return False, None
        last = self._action.step if self._action is not None else self._executed_step
        over = self._ended_at is not None and action.step >= self._ended_at
        if action.episode_id != self._episode_id or action.step <= last or over:
            self.counters.dropped += 1
            return False, None
        cut_short = self._complete() if self._action is not None else None
        self.counters.accepted += 1
        self.action_received_ns = now_ns
        self._action, self._segment_reasons = self._gate.bounded(action)
        self._segment_tick = 0
        # What ends a hold was observed before it.
        self._tainted = self._resume() or action.tainted or bool(self._segment_reasons & Reason.NON_FINITE)
        if action.tainted:
            self._segment_reasons |= Reason.RAMP
        return True, cut_short

    def _refuse(self, refusal: Reason) -> None:
        self.counters.rejected += 1
        self.counters.foreign += refusal is Reason.FOREIGN_SOURCE
        self.counters.bad_stamps += refusal is Reason.BAD_STAMP
        if not refusal & NOT_LATCHED:
            self.fault(refusal)

    # -- output -----------------------------------------------------------------------------

    def tick(self, now_ns: int) -> SetPoint | None:
        """The set point to send now; None while DISARMED or before the first joint state."""
        overloaded = self.ticks.overloaded(now_ns)
        if self._ended_at is not None or not self._episode_id:
            self._resume()  # no action will come to do it, and the next episode waits for ARMED
        if self.state is SafetyState.DISARMED or not self.synchronised:
            return None
        if overloaded:
            self._hold(Reason.OVERLOAD)
        reasons = self._watch(now_ns)
        human = self.state is SafetyState.ARMED and self.teleop.active(now_ns)
        reasons |= Reason.INTERVENTION if human else Reason.NONE
        position, limited, forwarded = self._move(now_ns)
        reasons |= limited
        executed = None
        if self._action is not None:
            self._segment_tick += 1
            self._segment_reasons |= reasons
            self._tainted |= self.state is not SafetyState.ARMED
            if self._segment_tick >= self.timing.ticks_per_step:
                executed = self._complete()
        if self._disarming and self._at_rest():
            self.state, self._disarming = SafetyState.DISARMED, False
        return SetPoint(position, reasons, self.state, executed, forwarded, self.limiter.velocity)

    def _move(self, now_ns: int) -> tuple[Float64, Reason, bool]:
        """(set point, limits that changed it, whether the robot has been sent there already)."""
        return (*self._limited(self._target(now_ns)), False)

    def _limited(self, target: Float64) -> tuple[Float64, Reason]:
        limiter = self.limiter
        before = limiter.position, limiter.velocity
        position, limited = limiter.limit(target)
        if self._guard is not None and self.state is SafetyState.ARMED:
            verdict = self._guard.check(limiter.resting_point(), before[0])
            self.guard_words = verdict.words
            if verdict.reasons:  # brake now, while there is room
                limiter.follow(*before)
                position, limited = limiter.limit(self._stopping_point())
                limited |= verdict.reasons
        self.largest_clamp = float(np.max(np.abs(position - target), initial=0.0))
        return position, limited

    def _target(self, now_ns: int) -> Float64:
        """A human's command, else linear interpolation to the action's, else standstill."""
        if self.state is not SafetyState.ARMED:
            return self._on_the_way_to_rest()
        self._stopping = False
        human = self.teleop.target(now_ns)
        if human is not None:
            return human
        if self._action is None:
            return self._stopping_point()
        command = self._action.command.astype(np.float64)
        left = self.timing.ticks_per_step - self._segment_tick
        if left <= 1:
            return command
        return self.limiter.position + (command - self.limiter.position) / left

    def _on_the_way_to_rest(self) -> Float64:
        if self._stop_profile is None:
            return self._stopping_point()
        if not self._stopping:
            self._stopping = True
            self._stop_profile.start(self.limiter.position, self.limiter.velocity, self.limiter.acceleration)
        return self._stop_profile.next()

    def _stopping_point(self) -> Float64:
        """Where the joints can come to rest soonest under the acceleration limit."""
        speed = self.limiter.velocity
        step = self.limits.max_acceleration * self.limiter.tick_s
        slower = np.sign(speed) * np.maximum(np.abs(speed) - step, 0.0)
        return self.limiter.position + slower * self.limiter.tick_s

    # -- watching ---------------------------------------------------------------------------

    def _watch(self, now_ns: int) -> Reason:
        state_lost = self._stale(self.state_received_ns, self.timing.state_timeout_ns, now_ns)
        if state_lost:
            self.fault(Reason.STALE_STATE)
        elif self._far_off():
            self.fault(Reason.TRACKING)
        self._watch_commands(now_ns)
        if self.requests and self.state in MOVING:
            self.state = SafetyState.HOLD
        reasons = self.latched | self.requests.reasons
        if self.state is SafetyState.HOLD:
            reasons |= self._held_by
        if self._ended_at is not None or not self._episode_id:
            reasons |= Reason.NO_EPISODE
        return reasons

    def _far_off(self) -> bool:
        if self._max_tracking_error is None or self.state not in MOVING:
            return False
        return bool(np.any(np.abs(self._measured - self.limiter.position) > self._max_tracking_error))

    def _watch_commands(self, now_ns: int) -> None:
        running = self._ended_at is None and bool(self._episode_id)
        if running and not self.teleop.active(now_ns):
            if self._stale(self.action_received_ns, self.timing.action_timeout_ns, now_ns):
                self._hold(Reason.STALE_ACTION)

    @staticmethod
    def _stale(received_ns: int | None, timeout_ns: int, now_ns: int) -> bool:
        return bool(timeout_ns) and received_ns is not None and now_ns - received_ns > timeout_ns

    def _hold(self, reason: Reason) -> None:
        if self.state in MOVING:
            self.state = SafetyState.HOLD
            self._held_by |= reason

    def _resume(self) -> bool:
        """Ends a hold that nobody asks for any more; True when there was one."""
        if self.state is not SafetyState.HOLD or self.requests:
            return False
        self.state, self._held_by = SafetyState.ARMED, Reason.NONE
        return True

    def _complete(self) -> Executed:
        action, self._action = self._action, None
        self._executed_step = action.step
        self.counters.clamped += bool(self._segment_reasons & CLAMPED)
        self.counters.intervention_steps += bool(self._segment_reasons & Reason.INTERVENTION)
        return Executed(
            stamp_ns=action.stamp_ns,
            episode_id=action.episode_id,
            step=action.step,
            action=self.limiter.position.astype(np.float32),
            safety_state=self.state,
            reasons=self._segment_reasons,
            tainted=self._tainted or self.state is not SafetyState.ARMED,
        )

    def _drop_action(self) -> None:
        self._action = None
        self.action_received_ns = None
