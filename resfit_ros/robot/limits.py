"""Joint limits out of the configuration and the robot's URDF: never wider than the URDF's."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.limiter import JointLimits
from resfit_ros.robot.urdf import CONTINUOUS, Urdf, UrdfJoint, parse_urdf

YAML, URDF, NOWHERE = "YAML", "URDF", "none"
LIMITS = ("lower", "upper", "max_velocity", "max_acceleration")
ROUNDING = 1e-9  # between the digits of a YAML file and those of a URDF


class LimitValues(Protocol):
    """Where limits are configured, e.g. core.safety_parameters.SafetyParameters; a list may be empty."""

    joint_names: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    max_velocity: tuple[float, ...]
    max_acceleration: tuple[float, ...]


@dataclass(frozen=True)
class MergedLimits:
    """Per limit (a name in LIMITS) and joint: value (None: nowhere given) and where it comes from."""

    joint_names: tuple[str, ...]
    values: Mapping[str, tuple[float | None, ...]]
    sources: Mapping[str, str]  # one of YAML, URDF, NOWHERE
    units: tuple[str, ...]  # of each joint's position
    problems: tuple[str, ...]


def limits_of(parameters: LimitValues, urdf_text: str | None, source: str = "/robot_description") -> JointLimits:
    """The limits in force: the configured ones, from the URDF where those are empty.

    urdf_text: the robot's description, None where there is none; `source` is what errors call it.
    Raises ConfigError as `resolve_limits` does.
    """
    urdf = None if urdf_text is None else parse_urdf(urdf_text, source)
    return resolve_limits(parameters.joint_names, *(getattr(parameters, name) for name in LIMITS), urdf)


def resolve_limits(
    joint_names: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    max_velocity: Sequence[float],
    max_acceleration: Sequence[float],
    urdf: Urdf | None,
    *,
    velocity_scale: float = 1.0,
    position_margin: float = 0.0,
) -> JointLimits:
    """The limits in force, per joint; an empty list takes the URDF's, one value is for all joints.

    velocity_scale: part of the velocity limits that is used, in (0, 1]; position_margin: distance kept
    from either position limit [rad or m]. Raises ConfigError naming the joint, the values and what to do.
    """
    if not 0.0 < velocity_scale <= 1.0:
        raise ConfigError(f"velocity_scale {velocity_scale:g} must be above 0 and at most 1")
    if not 0.0 <= position_margin < math.inf:
        raise ConfigError(f"position_margin {position_margin:g} must be finite and not negative")
    merged = merge_limits(joint_names, lower, upper, max_velocity, max_acceleration, urdf)
    if merged.problems:
        raise ConfigError(merged.problems[0])
    low = [v + position_margin for v in merged.values["lower"]]
    high = [v - position_margin for v in merged.values["upper"]]
    for name, a, b in zip(merged.joint_names, low, high, strict=True):
        if a >= b:
            raise ConfigError(f"joint '{name}': position_margin {position_margin:g} leaves no room; lower it")
    speed = [v * velocity_scale for v in merged.values["max_velocity"]]
    return JointLimits(merged.joint_names, low, high, speed, merged.values["max_acceleration"])


def merge_limits(
    joint_names: Sequence[str],
    lower: Sequence[float],
    upper: Sequence[float],
    max_velocity: Sequence[float],
    max_acceleration: Sequence[float],
    urdf: Urdf | None,
) -> MergedLimits:
    """All limits, and everything that is wrong with them instead of the first error alone."""
    names = tuple(joint_names)
    joints, problems = _described(names, urdf)
    values, sources = {}, {}
    for limit, given in zip(LIMITS, (lower, upper, max_velocity, max_acceleration), strict=True):
        values[limit], sources[limit], wrong = _one_limit(limit, given, names, joints, urdf)
        problems += wrong
    problems += _order(names, values["lower"], values["upper"])
    units = tuple("rad" if j is None else j.unit for j in joints)
    return MergedLimits(names, values, sources, units, tuple(problems))


def _described(names: Sequence[str], urdf: Urdf | None) -> tuple[list[UrdfJoint | None], list[str]]:
    """Each joint as the URDF has it, None where it has not; and why not."""
    joints: list[UrdfJoint | None] = []
    problems = []
    for name in names:
        joint = None
        if urdf is not None:
            try:
                joint = urdf.controlled(name)
            except ConfigError as error:
                problems.append(str(error))
        joints.append(joint)
    return joints, problems


def _one_limit(
    limit: str,
    given: Sequence[float],
    names: Sequence[str],
    joints: Sequence[UrdfJoint | None],
    urdf: Urdf | None,
) -> tuple[tuple[float | None, ...], str, list[str]]:
    """(values, source, problems) of one kind of limit."""
    described = [_of_urdf(limit, j) for j in joints]
    if not given:
        known = [urdf is None or limit == "max_acceleration" or joint is not None for joint in joints]
        missing = [i for i, value in enumerate(described) if value is None and known[i]]
        source = URDF if any(v is not None for v in described) else NOWHERE
        return tuple(described), source, _missing(limit, [names[i] for i in missing], joints, missing, urdf)
    values = tuple(map(float, given)) * (len(names) if len(given) == 1 else 1)
    if len(values) != len(names):
        words = f"{limit}: expected {len(names)} values (one per joint) or one for all, got {len(values)}"
        return (None,) * len(names), YAML, [words]
    wrong: dict[str, list[str]] = {}
    for name, value, bound, joint in zip(names, values, described, joints, strict=True):
        why = _wrong_value(limit, value, bound, urdf, "rad" if joint is None else joint.unit)
        if why:
            wrong.setdefault(why, []).append(name)
    problems = [f"{_first_of(those)}: {why}" for why, those in wrong.items()]
    return values, YAML, problems


def _first_of(names: Sequence[str]) -> str:
    return f"joint '{names[0]}'" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _of_urdf(limit: str, joint: UrdfJoint | None) -> float | None:
    if joint is None or limit == "max_acceleration":
        return None
    return {"lower": joint.lower, "upper": joint.upper, "max_velocity": joint.velocity}[limit]


def _wrong_value(limit: str, value: float, bound: float | None, urdf: Urdf | None, unit: str) -> str:
    """What is wrong with one configured value; empty: nothing."""
    if not math.isfinite(value):
        return f"{limit} is {value:g}; give a finite value"
    if limit.startswith("max_") and value <= 0:
        return f"{limit} {value:g} must be positive"
    if bound is None or urdf is None:
        return ""
    room = bound - value if limit != "lower" else value - bound
    if room >= -ROUNDING * max(1.0, abs(bound)):
        return ""
    per_second = "/s" if limit == "max_velocity" else ""
    side = "below" if limit == "lower" else "above"
    return (
        f"{limit} {value:.10g} {unit}{per_second} is {side} the {bound:.10g} of {urdf.source}; a configuration may "
        f"narrow the robot's own limits, never widen them: correct {limit}"
    )


def _missing(
    limit: str,
    names: Sequence[str],
    joints: Sequence[UrdfJoint | None],
    indices: Sequence[int],
    urdf: Urdf | None,
) -> list[str]:
    """One sentence for all joints without a value."""
    if not names:
        return []
    first = joints[indices[0]]
    if limit == "max_acceleration":
        why = "a URDF never has one"
    elif urdf is None:
        why = "there is no URDF to take it from"
    elif first is not None and first.type == CONTINUOUS and limit in ("lower", "upper"):
        why = f"the joint is continuous in {urdf.source}"
    else:
        why = f"{urdf.source} gives none"
    give = "" if urdf or limit == "max_acceleration" else ", or give the robot's URDF"
    return [f"{_first_of(names)}: no {limit}, and {why}; add {limit} to section 'robot'{give}"]


def _order(names: Sequence[str], lower: Sequence[Any], upper: Sequence[Any]) -> list[str]:
    return [
        f"joint '{name}': lower {low:g} must be below upper {high:g}"
        for name, low, high in zip(names, lower, upper, strict=True)
        if low is not None and high is not None and low >= high
    ]
