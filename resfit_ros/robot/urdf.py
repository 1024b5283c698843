"""Joints and their limits out of a URDF, without ROS."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from resfit_ros.core.errors import ConfigError, nearest

REVOLUTE, CONTINUOUS, PRISMATIC = "revolute", "continuous", "prismatic"
MOVED_BY_ONE_VALUE = (REVOLUTE, CONTINUOUS, PRISMATIC)
JOINT_TYPES = (*MOVED_BY_ONE_VALUE, "fixed", "floating", "planar")


@dataclass(frozen=True)
class UrdfJoint:
    """A joint that moves. Limits in rad and rad/s (prismatic: m and m/s), effort in N m (N); None: not given."""

    name: str
    type: str
    lower: float | None = None
    upper: float | None = None
    velocity: float | None = None
    effort: float | None = None
    mimic: str = ""  # the joint it follows; empty: none

    @property
    def unit(self) -> str:
        """Of its position."""
        return "m" if self.type == PRISMATIC else "rad"


@dataclass(frozen=True)
class Urdf:
    """The joints of a robot description; `source` is what errors call it."""

    source: str
    robot: str
    joints: Mapping[str, UrdfJoint]  # all but the fixed ones
    fixed: frozenset[str] = frozenset()

    def controlled(self, name: str) -> UrdfJoint:
        """The joint `name`, which a position command moves.

        Raises ConfigError on a joint that is not there, fixed, follows another, has several axes or no range.
        """
        if name in self.fixed:
            raise ConfigError(f"joint '{name}' is fixed in {self.source}; take it out of joint_names")
        joint = self.joints.get(name)
        if joint is None:
            raise ConfigError(f"joint '{name}' is not in {self.source}; {nearest(name, self.joints)}")
        if joint.mimic:
            raise ConfigError(
                f"joint '{name}' follows joint '{joint.mimic}' (mimic in {self.source}) and cannot be commanded; "
                f"take it out of joint_names and command '{joint.mimic}'"
            )
        if joint.type not in MOVED_BY_ONE_VALUE:
            raise ConfigError(
                f"joint '{name}' is {joint.type} in {self.source}; only {', '.join(MOVED_BY_ONE_VALUE)} joints can "
                "be commanded; take it out of joint_names"
            )
        if joint.lower is not None and joint.upper is not None and joint.lower >= joint.upper:
            raise ConfigError(
                f"joint '{name}': lower {joint.lower:g} must be below upper {joint.upper:g}; correct {self.source}"
            )
        return joint


def urdf_text(path: Path) -> str:
    """The text of a URDF file. Raises ConfigError where it cannot be read, or is a xacro file."""
    if path.suffix == ".xacro":
        raise _is_xacro(str(path))
    try:
        return path.read_text()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the robot's URDF file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file; give the robot's URDF file") from None


def read_urdf(path: Path) -> Urdf:
    """A URDF file. Raises ConfigError naming the file, and the joint that is wrong."""
    return parse_urdf(urdf_text(path), str(path))


def parse_urdf(text: str, source: str = "/robot_description") -> Urdf:
    """A URDF from its text; `source` is what errors call it.

    Raises ConfigError naming the source, and the joint that is wrong.
    """
    try:
        root = ElementTree.fromstring(text.lstrip())
    except ElementTree.ParseError as error:
        raise ConfigError(f"{source}: not valid XML ({error}); export the robot's URDF again") from None
    # xacro's own output keeps the declaration of its namespace, but none of its elements.
    if any(str(e.tag).startswith("{") and "xacro" in e.tag for e in root.iter()):
        raise _is_xacro(source)
    if root.tag != "robot":
        raise ConfigError(f"{source}: the outermost element is <{root.tag}>, expected <robot>; give a URDF file")
    joints, fixed = {}, set()
    for element in root.findall("joint"):
        joint = _joint(element, source)
        if joint.name in joints or joint.name in fixed:
            raise ConfigError(f"{source}: two joints are called '{joint.name}'; rename one")
        if joint.type == "fixed":
            fixed.add(joint.name)
        else:
            joints[joint.name] = joint
    if not joints:
        raise ConfigError(f"{source}: no joint that moves; give the URDF of the whole robot")
    return Urdf(source, root.get("name", ""), joints, frozenset(fixed))


def _is_xacro(source: str) -> ConfigError:
    plain = source.removesuffix(".xacro").removesuffix(".urdf")
    return ConfigError(
        f"{source}: a xacro file, not a URDF; run 'xacro {source} > {plain}.urdf' and give {plain}.urdf "
        "(xacro: sudo apt install ros-jazzy-xacro)"
    )


def _joint(element: ElementTree.Element, source: str) -> UrdfJoint:
    name, kind = element.get("name", ""), element.get("type", "")
    if not name:
        raise ConfigError(f"{source}: a joint of type '{kind}' has no name; give it one")
    if kind not in JOINT_TYPES:
        raise ConfigError(f"{source}: joint '{name}' has type '{kind}'; use one of {', '.join(JOINT_TYPES)}")
    mimic = element.find("mimic")
    lower, upper = _position_limits(element, kind, f"{source}: joint '{name}'")
    return UrdfJoint(
        name=name,
        type=kind,
        lower=lower,
        upper=upper,
        # Exporters write 0 where they know of no limit.
        velocity=_number(element, "limit", "velocity", f"{source}: joint '{name}'") or None,
        effort=_number(element, "limit", "effort", f"{source}: joint '{name}'"),
        mimic="" if mimic is None else mimic.get("joint", ""),
    )


def _position_limits(element: ElementTree.Element, kind: str, where: str) -> tuple[float | None, float | None]:
    """The narrower of <limit> and the soft limits of <safety_controller>; (None, None): no limits."""
    if kind not in (REVOLUTE, PRISMATIC):
        return None, None
    lower, upper = (_number(element, "limit", side, where) for side in ("lower", "upper"))
    if lower is None and upper is None:
        return None, None
    lower, upper = lower or 0.0, upper or 0.0  # the default of the format, where the other one is given
    soft = [_number(element, "safety_controller", f"soft_{side}_limit", where) for side in ("lower", "upper")]
    if None not in soft and soft[0] < soft[1]:
        lower, upper = max(lower, soft[0]), min(upper, soft[1])
    return lower, upper


def _number(element: ElementTree.Element, tag: str, attribute: str, where: str) -> float | None:
    child = element.find(tag)
    text = None if child is None else child.get(attribute)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {attribute} '{text}' is not a number; correct it in <{tag}>")
    if attribute in ("velocity", "effort") and value < 0:
        raise ConfigError(f"{where}: {attribute} {value:g} is negative; correct it in <{tag}>")
    return value
