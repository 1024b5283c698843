"""From the positions of the controlled joints to the pose of the whole body, by Pinocchio."""

import math
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError, nearest
from resfit_ros.core.types import Float64
from resfit_ros.robot.urdf import MOVED_BY_ONE_VALUE, Urdf, UrdfJoint

NO_PINOCCHIO = (
    "self-collision and workspace checks need Pinocchio; install it with 'pip install pin' or "
    "'sudo apt install ros-jazzy-pinocchio', or switch self_collision and workspace off"
)


def pinocchio() -> ModuleType:
    """The library. Raises ConfigError that says how to install it."""
    try:
        import pinocchio
    except ImportError:
        raise ConfigError(NO_PINOCCHIO) from None
    return pinocchio


def rest_value(joint: UrdfJoint) -> float:
    """The position nearest to zero within the joint's limits."""
    low = -math.inf if joint.lower is None else joint.lower
    high = math.inf if joint.upper is None else joint.upper
    return min(max(0.0, low), high)


class _Mimic(NamedTuple):
    """A joint at multiplier * leader + offset."""

    leader: str
    multiplier: float
    offset: float


class BodyPose:
    """The kinematic model of a URDF; joints not controlled stay put, mimic joints follow.

    urdf and root: the same description, parsed twice; fixed_positions: joint name to position [rad or m],
    at rest where not given. Raises ConfigError naming a joint that is unknown or not free.
    """

    def __init__(
        self,
        urdf: Urdf,
        root: ElementTree.Element,
        joint_names: Sequence[str],
        fixed_positions: Mapping[str, float],
    ) -> None:
        self._pin = pinocchio()
        self.joint_names = tuple(joint_names)
        self.rest = np.array([rest_value(urdf.controlled(name)) for name in joint_names])
        _refuse_wrong(fixed_positions, urdf, self.joint_names)
        mimics = _mimics(root, urdf)
        try:
            self.model: Any = self._pin.buildModelFromXML(ElementTree.tostring(root, encoding="unicode"))
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"{urdf.source}: not a robot Pinocchio can read ({error})") from None
        self.data: Any = self.model.createData()
        self.moving = self._map(urdf, mimics, fixed_positions)

    def _map(self, urdf: Urdf, mimics: Mapping[str, "_Mimic"], fixed: Mapping[str, float]) -> set[int]:
        """Fills in value = factors @ position + offsets per one-axis joint; returns the joints that moves."""
        columns = {name: i for i, name in enumerate(self.joint_names)}
        factors, offsets, single, turning = [], [], [], []
        moving = set()
        for index in range(1, self.model.njoints):
            joint = self.model.joints[index]
            if joint.nv != 1:
                continue
            leader, multiplier, offset = _leader(self.model.names[index], mimics)
            row = np.zeros(len(columns))
            if leader in columns:
                row[columns[leader]] = multiplier
                moving.add(index)
            else:
                offset += multiplier * fixed.get(leader, rest_value(urdf.joints[leader]))
            factors.append(row)
            offsets.append(offset)
            (single if joint.nq == 1 else turning).append((len(offsets) - 1, joint.idx_q))
        self._factors, self._offsets = np.array(factors), np.array(offsets)
        self._single, self._turning = (
            np.array(pairs, dtype=int).reshape(-1, 2).T for pairs in (single, turning)
        )
        self._neutral = self._pin.neutral(self.model)
        return moving

    def configuration(self, position: Float64) -> Float64:
        """Pinocchio's q (nq,) for controlled positions (A,).

        Raises ShapeError when they are not finite or of another size.
        """
        position = np.asarray(position, dtype=np.float64)
        if position.shape != self.rest.shape or not np.isfinite(position).all():
            raise ShapeError(f"body: expected {self.rest.shape} finite positions, got {position.shape}")
        values = self._factors @ position + self._offsets
        q = self._neutral.copy()
        rows, at = self._single
        q[at] = values[rows]
        rows, at = self._turning  # continuous joints: cosine and sine
        if len(rows):
            q[at], q[at + 1] = np.cos(values[rows]), np.sin(values[rows])
        return q

    def moves_between(self, first: int, second: int) -> bool:
        """Whether a controlled joint lies between the bodies of two joints (0: the base)."""
        between = set(self.model.supports[first]) ^ set(self.model.supports[second])
        return bool(between & self.moving)


def _refuse_wrong(fixed: Mapping[str, float], urdf: Urdf, joint_names: Sequence[str]) -> None:
    for name, value in fixed.items():
        joint = urdf.joints.get(name)
        where = f"fixed_positions: joint '{name}'"
        if joint is None:
            raise ConfigError(f"{where} is not in {urdf.source}; {nearest(name, urdf.joints)}")
        if name in joint_names:
            raise ConfigError(f"{where} is one of joint_names; take it out of one of them")
        if joint.mimic:
            raise ConfigError(f"{where} follows joint '{joint.mimic}'; fix that one instead")
        if joint.type not in MOVED_BY_ONE_VALUE:
            raise ConfigError(f"{where} is {joint.type} and has no single position; take it out")
        if not math.isfinite(value):
            raise ConfigError(f"{where}: {value} is not finite")


def _mimics(root: ElementTree.Element, urdf: Urdf) -> dict[str, "_Mimic"]:
    """Joint to (the joint it follows, multiplier, offset)."""
    mimics = {}
    for joint in root.findall("joint"):
        mimic, name = joint.find("mimic"), joint.get("name", "")
        if mimic is None or name in urdf.fixed:
            continue
        leader, where = mimic.get("joint", ""), f"{urdf.source}: joint '{name}'"
        if leader not in urdf.joints:
            hint = nearest(leader, urdf.joints)
            raise ConfigError(f"{where} follows joint '{leader}', which is not there; {hint}")
        try:
            multiplier, offset = float(mimic.get("multiplier", "1")), float(mimic.get("offset", "0"))
        except ValueError as error:
            raise ConfigError(f"{where}: <mimic>: {error}; correct it") from None
        if not (math.isfinite(multiplier) and math.isfinite(offset)):
            raise ConfigError(f"{where}: <mimic>: multiplier and offset must be finite; correct it")
        mimics[name] = _Mimic(leader, multiplier, offset)
    for name in mimics:
        _leader(name, mimics, urdf.source)
    return mimics


def _leader(name: str, mimics: Mapping[str, "_Mimic"], source: str = "") -> "_Mimic":
    """(the joint at the head of the chain, multiplier, offset) of a joint."""
    head, multiplier, offset = name, 1.0, 0.0
    for _ in range(len(mimics) + 1):
        if head not in mimics:
            return _Mimic(head, multiplier, offset)
        head, factor, shift = mimics[head]
        multiplier, offset = multiplier * factor, offset + multiplier * shift
    raise ConfigError(f"{source}: joint '{name}' follows itself (mimic); correct it")
