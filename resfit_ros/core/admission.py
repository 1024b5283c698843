"""Which actions the safety filter takes, and what it makes of them before they become targets."""

import dataclasses

import numpy as np

from resfit_ros.core.types import Action, Float64, Mode, Reason


class ActionGate:
    """Checks source, size, finiteness and stamp of an action, and bounds its residual."""

    def __init__(
        self,
        trusted_source: str,
        joints: int,
        max_residual: Float64 | None = None,
        max_age_ns: int = 0,
        stamp_tolerance_ns: int = 0,
    ) -> None:
        """max_residual (A,), None: unbounded. Stamps are not looked at with a tolerance of 0."""
        self.trusted_source = trusted_source
        self._shape = (joints,)
        self._max_residual = max_residual
        self._max_age_ns, self._tolerance_ns = max_age_ns, stamp_tolerance_ns

    def refusal(self, action: Action, ros_ns: int | None) -> Reason:
        """Why the action must not be used; NONE when it may. ros_ns: the ROS clock, None: unknown."""
        if action.source_id != self.trusted_source:
            return Reason.FOREIGN_SOURCE
        if action.command.shape != self._shape or action.base.shape != self._shape:
            return Reason.WRONG_SIZE
        if not np.all(np.isfinite(action.base)):
            return Reason.NON_FINITE
        if ros_ns is not None and self._tolerance_ns and self._bad_stamp(action.stamp_ns, ros_ns):
            return Reason.BAD_STAMP
        return Reason.NONE

    def _bad_stamp(self, stamp_ns: int, ros_ns: int) -> bool:
        if stamp_ns <= 0 or stamp_ns > ros_ns + self._tolerance_ns:
            return True
        return bool(self._max_age_ns) and ros_ns - stamp_ns > self._max_age_ns

    def bounded(self, action: Action) -> tuple[Action, Reason]:
        """The action with its residual cut to the bound; a residual that is not finite is left out."""
        if not np.all(np.isfinite(action.command)):
            return dataclasses.replace(action, command=action.base, mode=Mode.BASE), Reason.NON_FINITE
        if self._max_residual is None or action.mode not in (Mode.RESIDUAL, Mode.EXPLORE):
            return action, Reason.NONE
        residual = action.command.astype(np.float64) - action.base
        cut = np.clip(residual, -self._max_residual, self._max_residual)
        changed = cut != residual
        if not np.any(changed):
            return action, Reason.NONE
        command = np.where(changed, action.base + cut, action.command).astype(np.float32)
        return dataclasses.replace(action, command=command), Reason.RESIDUAL_LIMIT
