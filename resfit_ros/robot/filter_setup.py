"""A safety filter's limits and options from parameters and the robot's description."""

from typing import Any

import numpy as np

from resfit_ros.core.force_guard import ForceGuard
from resfit_ros.core.limiter import JointLimits
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.robot.body import BodyGuard
from resfit_ros.robot.limits import limits_of
from resfit_ros.robot.stop_profile import StopProfile


def filter_options(p: SafetyParameters, urdf_text: str | None) -> tuple[JointLimits, dict[str, Any]]:
    """(limits, keyword arguments of SafetyFilter). Raises ConfigError naming the joint or link."""
    source = "/robot_description" if p.urdf == "topic" else p.urdf
    limits = limits_of(p, urdf_text, source)
    options: dict[str, Any] = {"bounds": p.bounds}
    if p.guards_body and urdf_text is not None:
        options["guard"] = BodyGuard(
            urdf_text,
            p.joint_names,
            self_collision=p.self_collision,
            min_distance_m=p.collision_margin,
            ignored_pairs=tuple(tuple(pair.split()) for pair in p.collision_ignored),
            workspace=p.workspace or None,
            workspace_links=p.workspace_links,
            package_dirs=p.mesh_dirs,
            source=source,
        )
    if p.max_jerk:
        jerk = np.broadcast_to(np.array(p.max_jerk), limits.lower.shape)
        options["stop_profile"] = StopProfile(limits, p.safety_timing.tick_ns * 1e-9, jerk)
    return limits, options


def force_guard(p: SafetyParameters) -> ForceGuard | None:
    """Watches topic wrench; None where no limit is set."""
    if not (p.max_force or p.max_torque):
        return None
    return ForceGuard(p.max_force or float("inf"), p.max_torque or float("inf"), timeout_s=p.wrench_timeout_s)


def notes(options: dict[str, Any]) -> list[str]:
    """What an engineer should know of a filter made like this, a sentence each."""
    found = []
    if "guard" in options and options["guard"].ignored:
        pairs = ", ".join(f"{p.first}-{p.second} ({p.why})" for p in options["guard"].ignored)
        found.append(f"pairs of links that are not kept apart: {pairs}")
    if "stop_profile" in options and options["stop_profile"].note:
        found.append(options["stop_profile"].note)
    return found
