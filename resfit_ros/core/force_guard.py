"""Too much force at a wrist or tool: a fault, decided on injected steady time."""

import math

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Float64, Reason


class ForceGuard:
    """Watches one force-torque sensor.

    max_force_n, max_torque_nm: greatest norms allowed [N], [N m], inf: not watched. hold_s: a norm must
    stay above its limit for so long before it counts, so that impacts shorter than that pass. timeout_s:
    the sensor counts as lost after so long without a newer reading; 0: readings are not required.
    """

    def __init__(
        self, max_force_n: float, max_torque_nm: float, hold_s: float = 0.0, timeout_s: float = 0.0
    ) -> None:
        for name, limit in (("max_force_n", max_force_n), ("max_torque_nm", max_torque_nm)):
            if not limit > 0.0:  # NaN too
                raise ConfigError(f"{name} {limit:g} must be above 0; .inf does not watch it")
        for name, seconds in (("hold_s", hold_s), ("timeout_s", timeout_s)):
            if not 0.0 <= seconds < math.inf:
                raise ConfigError(f"{name} {seconds:g} must be finite and not negative")
        self.max_force_n, self.max_torque_nm = max_force_n, max_torque_nm
        self.force_n = self.torque_nm = 0.0  # norms of the newest reading
        self._hold_ns, self._timeout_ns = round(hold_s * 1e9), round(timeout_s * 1e9)
        self._over_since_ns: int | None = None
        self._fresh_ns: int | None = None  # steady time of the newest reading, or of the first look
        self._stamp_ns: int | None = None

    def on_wrench(self, force: Float64, torque: Float64, stamp_ns: int, now_ns: int) -> Reason:
        """A reading: force (3,) [N], torque (3,) [N m], its stamp, and the steady clock.

        FORCE when too much or not finite. A reading that is not newer than the last one is judged, but does
        not keep the sensor alive. Raises ShapeError on another shape.
        """
        force, torque = np.asarray(force, dtype=np.float64), np.asarray(torque, dtype=np.float64)
        if force.shape != (3,) or torque.shape != (3,):
            raise ShapeError(
                f"wrench: expected force (3,) and torque (3,), got {force.shape} and {torque.shape}"
            )
        self.force_n, self.torque_nm = math.hypot(*force), math.hypot(*torque)
        if self._stamp_ns is None or stamp_ns > self._stamp_ns:
            self._stamp_ns, self._fresh_ns = stamp_ns, now_ns
        if not self._over():
            self._over_since_ns = None
        elif self._over_since_ns is None:
            self._over_since_ns = now_ns
        return self.check(now_ns)

    def check(self, now_ns: int) -> Reason:
        """FORCE, STALE_SENSOR or NONE at the steady time `now_ns`; for every tick, reading or not."""
        if self._fresh_ns is None:
            self._fresh_ns = now_ns
        reasons = Reason.NONE
        if self._over_since_ns is not None and (
            self._not_finite() or now_ns - self._over_since_ns >= self._hold_ns
        ):
            reasons |= Reason.FORCE
        if self._timeout_ns and now_ns - self._fresh_ns > self._timeout_ns:
            reasons |= Reason.STALE_SENSOR
        return reasons

    def forget_stamps(self) -> None:
        """Takes any stamp as newer, e.g. after the ROS clock has jumped back."""
        self._stamp_ns = None

    @property
    def words(self) -> str:
        """The newest reading and its limits."""
        return (
            f"force {self.force_n:.1f} N (at most {self.max_force_n:g}), "
            f"torque {self.torque_nm:.1f} N m (at most {self.max_torque_nm:g})"
        )

    def _not_finite(self) -> bool:
        return not (math.isfinite(self.force_n) and math.isfinite(self.torque_nm))

    def _over(self) -> bool:
        too_much = self.force_n > self.max_force_n or self.torque_nm > self.max_torque_nm
        return too_much or self._not_finite()
