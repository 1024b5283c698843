"""What a safety filter is made from, and what it gives out."""

from dataclasses import dataclass
from typing import Protocol

from resfit_ros.core.types import Executed, Float64, Reason, SafetyState


@dataclass(frozen=True)
class SafetyTiming:
    """Periods and timeouts in ns of the steady clock; a value of 0 is not watched (lockstep)."""

    tick_ns: int
    control_period_ns: int
    action_timeout_ns: int
    state_timeout_ns: int
    stamp_tolerance_ns: int = 0  # how far in the future a stamp may lie
    healthy_ns: int = 0  # inputs must have been there for so long before arming
    teleop_timeout_ns: int = 0  # a human drives until so long after the newest teleop command
    max_missed_ticks: int = 0  # as many ticks missed in a row mean hold

    @property
    def ticks_per_step(self) -> int:
        """Ticks of the filter in one control period."""
        return max(1, round(self.control_period_ns / self.tick_ns))


@dataclass(frozen=True, eq=False)
class SafetyBounds:
    """Per joint float64 (A,), beside the limits; None is not watched."""

    max_residual: Float64 | None = None  # of a learned correction, joint units
    max_tracking_error: Float64 | None = None  # between set point and measured position


@dataclass(frozen=True)
class Verdict:
    """What a body guard says of a pose: NONE, or why it must not be taken up."""

    reasons: Reason = Reason.NONE
    words: str = ""


class Guard(Protocol):
    """Judges poses of the whole robot, e.g. self-collision."""

    def check(self, position: Float64, previous: Float64 | None = None) -> Verdict:
        """position (A,): where the robot would be; previous (A,): where it is."""


class StopProfile(Protocol):
    """A smoother way to a standstill than braking as hard as allowed."""

    def start(self, position: Float64, velocity: Float64, acceleration: Float64) -> None:
        """Plans from a moving set point, (A,) each."""

    def next(self) -> Float64:
        """The set point (A,) of the next tick; the last one for ever after."""


@dataclass(frozen=True, eq=False)
class SetPoint:
    """What to send to the robot now: positions float64 (A,), joint units; velocities at them, [1/s]."""

    position: Float64
    reasons: Reason
    state: SafetyState
    executed: Executed | None = None  # a step that this tick completed
    forwarded: bool = False  # the robot has it already, in an existing controller's own message
    velocity: Float64 | None = None


@dataclass
class SafetyCounters:
    """Since start."""

    accepted: int = 0
    rejected: int = 0
    foreign: int = 0
    bad_stamps: int = 0
    clamped: int = 0
    dropped: int = 0
    intervention_steps: int = 0
