"""Every parameter of the node `safety_filter`."""

from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.parameter_groups import (
    COMMAND_TYPES,
    BaseSourceParameters,
    JointParameters,
    TeleopParameters,
)
from resfit_ros.core.safety_settings import SafetyBounds, SafetyTiming
from resfit_ros.core.schema import param
from resfit_ros.core.types import Float64

POSITION, POSITION_VELOCITY = "position", "position_velocity"


@dataclass(frozen=True, kw_only=True)
class LimitParameters(JointParameters):
    """Limits of the joints; what is left out comes from the robot description."""

    urdf: str = param(
        "",
        doc="robot description that gives limits and body: a file, or topic for /robot_description; empty: none",
    )
    lower: tuple[float, ...] = param((), doc="lower position limit per joint; empty: the URDF's", unit="rad")
    upper: tuple[float, ...] = param((), doc="upper position limit per joint; empty: the URDF's", unit="rad")
    max_velocity: tuple[float, ...] = param(
        (), gt=0.0, doc="velocity limit per joint, or one for all; empty: the URDF's", unit="rad/s"
    )
    max_acceleration: tuple[float, ...] = param(
        (), gt=0.0, doc="acceleration limit per joint, or one for all; a URDF has none", unit="rad/s^2"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.urdf:
            self.limits  # noqa: B018  raises on limits that make no sense

    @property
    def limits(self) -> JointLimits:
        """The limits given here; raises ConfigError when some are left to the URDF."""
        for name in ("lower", "upper", "max_velocity", "max_acceleration"):
            if not getattr(self, name):
                raise ConfigError(
                    f"{name} is empty and there is no robot description; list it per joint, or set 'urdf'"
                )
        return JointLimits(
            self.joint_names, self.lower, self.upper, self.max_velocity, self.max_acceleration
        )


@dataclass(frozen=True, kw_only=True)
class WatchParameters(JointParameters):
    """What makes the safety filter hold or fault."""

    action_timeout_s: float = param(0.1, gt=0.0, doc="hold when no action came for so long", unit="s")
    state_timeout_s: float = param(0.05, gt=0.0, doc="fault when no joint state came", unit="s")
    stamp_tolerance_s: float = param(
        0.02, gt=0.0, doc="messages stamped further in the future than this are rejected (realtime)", unit="s"
    )
    healthy_s: float = param(
        1.0, ge=0.0, doc="every input must have been there for so long before arming (realtime)", unit="s"
    )
    max_missed_ticks: int = param(3, ge=0, doc="hold after so many missed ticks in a row; 0: never")
    max_tracking_error: tuple[float, ...] = param(
        (0.5,), gt=0.0, doc="fault when a joint is further from its set point (realtime); empty: never", unit="rad"
    )
    operator_timeout_s: float = param(
        0.0, ge=0.0, doc="hold when node operator has been silent for so long; 0: it is not watched", unit="s"
    )
    max_residual: tuple[float, ...] = param(
        (), gt=0.0, doc="bound on the learned correction per joint, or one for all; empty: none", unit="rad"
    )
    max_force: float = param(0.0, ge=0.0, doc="fault above this force on topic wrench; 0: not watched", unit="N")
    max_torque: float = param(0.0, ge=0.0, doc="fault above this torque on topic wrench; 0: not watched", unit="N m")
    wrench_timeout_s: float = param(
        0.1, ge=0.0, doc="where force is watched: fault when no reading came for so long; 0: never", unit="s"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bounds  # noqa: B018  raises on lists of a wrong length

    def _per_joint(self, name: str) -> Float64 | None:
        values = np.array(getattr(self, name), dtype=np.float64)
        count = len(self.joint_names)
        if len(values) not in (0, 1, count):
            raise ConfigError(f"{name}: expected {count} values (one per joint) or one for all, got {len(values)}")
        return np.broadcast_to(values, (count,)).copy() if len(values) else None

    @property
    def bounds(self) -> SafetyBounds:
        """Bounds beside the limits; in lockstep nothing is measured between two steps."""
        error = None if self.lockstep else self._per_joint("max_tracking_error")
        return SafetyBounds(self._per_joint("max_residual"), error)


@dataclass(frozen=True, kw_only=True)
class BodyParameters(JointParameters):
    """The body of the robot, from its description."""

    self_collision: bool = param(False, doc="keep the links from touching each other (needs urdf, Pinocchio)")
    collision_margin: float = param(0.01, ge=0.0, doc="least distance between links", unit="m")
    collision_ignored: tuple[str, ...] = param((), doc="pairs of links that may touch, each 'LINK LINK'")
    workspace: tuple[float, ...] = param(
        (), doc="box the links stay in: least x, y, z, then greatest x, y, z, in the base frame; empty: none", unit="m"
    )
    workspace_links: tuple[str, ...] = param((), doc="links the workspace holds for; empty: all")
    mesh_dirs: tuple[str, ...] = param((), doc="folders that package:// paths of meshes are looked up in")

    def __post_init__(self) -> None:
        super().__post_init__()
        box = np.array(self.workspace)
        if len(box) not in (0, 6) or (len(box) and not np.all(box[:3] < box[3:])):
            raise ConfigError(
                "workspace: expected six values, least x, y, z and then greatest x, y, z, got "
                f"{list(self.workspace)}"
            )
        for pair in self.collision_ignored:
            if len(pair.split()) != 2:
                raise ConfigError(f"collision_ignored: '{pair}' is not two link names with a space between")

    @property
    def guards_body(self) -> bool:
        """Whether poses are judged at all."""
        return self.self_collision or bool(self.workspace)


@dataclass(frozen=True, kw_only=True)
class SafetyParameters(
    LimitParameters, WatchParameters, BodyParameters, BaseSourceParameters, TeleopParameters
):
    """Node `safety_filter`."""

    command_type: str = param("joint_trajectory", choices=COMMAND_TYPES, doc="message type sent")
    command_fields: str = param(
        POSITION, choices=(POSITION, POSITION_VELOCITY), doc="what is sent, where the message type can carry it"
    )
    command_lead_s: float = param(
        0.02, gt=0.0, doc="joint_trajectory: time_from_start of each set point (realtime)", unit="s"
    )
    tick_hz: float = param(100.0, gt=0.0, le=1000.0, doc="set points per second (realtime)", unit="Hz")
    speed_scale: float = param(
        1.0, gt=0.0, le=1.0, live=True, doc="scales the velocity limits; may not rise while the robot may move"
    )
    max_jerk: tuple[float, ...] = param(
        (), gt=0.0, doc="stop no more abruptly than this, per joint or one for all; empty: as hard as allowed",
        unit="rad/s^3",
    )
    auto_arm: bool = param(False, doc="arm once everything is there; for simulation only")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tick_hz < self.control_hz:
            raise ConfigError(f"tick_hz {self.tick_hz:g} must not be below control_hz {self.control_hz:g}")
        if not self.lockstep and self.action_timeout_s <= 1.0 / self.control_hz:
            raise ConfigError(
                f"action_timeout_s {self.action_timeout_s:g} is not longer than a control period of "
                f"{1.0 / self.control_hz:g} s: every step would end in hold; raise it, best to two periods"
            )
        if self.guards_body and not self.urdf:
            raise ConfigError("self_collision and workspace need the robot's body: set 'urdf'")
        if len(self.max_jerk) not in (0, 1, len(self.joint_names)):
            raise ConfigError(f"max_jerk: expected {len(self.joint_names)} values or one for all")
        if self.command_fields == POSITION_VELOCITY and self.command_type == "multi_array":
            raise ConfigError("command_fields position_velocity: a multi_array carries positions only; use position")

    @property
    def safety_timing(self) -> SafetyTiming:
        """Periods and timeouts; in lockstep the simulation waits, so nothing can be late."""
        period_ns = self.control_period_ns
        if self.lockstep:
            return SafetyTiming(period_ns, period_ns, 0, 0)
        ns = {
            name: round(getattr(self, f"{name}_s") * 1e9)
            for name in ("action_timeout", "state_timeout", "stamp_tolerance", "healthy")
        }
        return SafetyTiming(
            round(1e9 / self.tick_hz),
            period_ns,
            max_missed_ticks=self.max_missed_ticks,
            teleop_timeout_ns=round(self.teleop_timeout_s * 1e9) if self.teleop else 0,
            **{f"{name}_ns": value for name, value in ns.items()},
        )
