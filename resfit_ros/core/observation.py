"""Assembles raw sensor values into observations: newest value per source, with a maximum age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Float32, Float64

JOINT_BLOCKS = ("joint_positions", "joint_velocities", "joint_efforts")
POSE_PREFIX = "pose/"
POSE_SIZE = 7  # x, y, z [m], then the unit quaternion x, y, z, w with w >= 0


@dataclass(frozen=True)
class StateLayout:
    """Which blocks the state vector holds, in order.

    Blocks: joint_positions [rad], joint_velocities [rad/s], joint_efforts [N m], each (A,), and
    pose/NAME (7,): position [m] and unit quaternion x, y, z, w with w >= 0.
    """

    blocks: tuple[str, ...]
    joints: int

    def __post_init__(self) -> None:
        for block in self.blocks:
            if block not in JOINT_BLOCKS and not block.startswith(POSE_PREFIX):
                raise ConfigError(
                    f"state: unknown block '{block}'; use {', '.join(JOINT_BLOCKS)} or pose/NAME"
                )
        if len(set(self.blocks)) != len(self.blocks):
            raise ConfigError("state: a block is listed twice")

    def _size(self, block: str) -> int:
        return self.joints if block in JOINT_BLOCKS else POSE_SIZE

    @property
    def size(self) -> int:
        """Length S of the state vector."""
        return sum(self._size(block) for block in self.blocks)

    @property
    def poses(self) -> tuple[str, ...]:
        """Names of the poses, without the prefix."""
        return tuple(b[len(POSE_PREFIX) :] for b in self.blocks if b.startswith(POSE_PREFIX))

    def slice_of(self, block: str) -> slice:
        """Where `block` lies in the state vector."""
        if block not in self.blocks:
            raise ConfigError(f"state: block '{block}' is needed but not listed; add it to 'state'")
        start = sum(self._size(b) for b in self.blocks[: self.blocks.index(block)])
        return slice(start, start + self._size(block))


class JointOrder:
    """Picks configured joints out of a JointState whose joints come in any order."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        self.joint_names = tuple(joint_names)
        self._seen: tuple[str, ...] = ()
        self._index = np.zeros(0, np.intp)

    def pick(self, names: Sequence[str], values: Float64, what: str) -> Float64:
        """Values (A,) in configured order; raises ShapeError naming a missing joint or block."""
        names = tuple(names)
        if names != self._seen:
            missing = [n for n in self.joint_names if n not in names]
            if missing:
                raise ShapeError(f"joint state lacks joint '{missing[0]}' ({len(missing)} missing)")
            self._index = np.array([names.index(n) for n in self.joint_names], np.intp)
            self._seen = names
        if len(values) != len(names):
            raise ShapeError(f"joint state has {len(names)} names but {len(values)} {what}")
        return values[self._index]


def canonical_pose(position: Sequence[float], quaternion: Sequence[float]) -> Float64:
    """(7,) pose with a unit quaternion x, y, z, w whose sign makes w >= 0."""
    q = np.asarray(quaternion, dtype=np.float64)
    norm = float(np.linalg.norm(q))
    if not np.isfinite(norm) or norm < 1e-6:
        raise ShapeError("pose: the quaternion is not finite or has length zero")
    q = q / (norm if q[3] >= 0 else -norm)
    return np.concatenate((np.asarray(position, dtype=np.float64), q))


@dataclass(frozen=True, eq=False)
class SourceValue:
    """Newest value of one source. `received_ns`: steady clock; `stamp_ns`: its own header."""

    stamp_ns: int
    received_ns: int
    value: Mapping[str, np.ndarray]


class ObservationAssembler:
    """Keeps the newest value per source and puts them together on request."""

    def __init__(self, layout: StateLayout, cameras: Sequence[str] = ()) -> None:
        self.layout = layout
        self.cameras = tuple(cameras)
        joints = ("joints",) if any(b in JOINT_BLOCKS for b in layout.blocks) else ()
        self.sources = joints + tuple(POSE_PREFIX + p for p in layout.poses) + self.cameras
        self._newest: dict[str, SourceValue] = {}

    def update(self, source: str, value: SourceValue) -> None:
        """Stores a value unless a newer one is there already."""
        old = self._newest.get(source)
        if old is None or value.stamp_ns >= old.stamp_ns:
            self._newest[source] = value

    def missing(self, now_ns: int, max_age_ns: int, not_before_ns: int = 0) -> list[str]:
        """Sources without a value, with one older than `max_age_ns`, or stamped too early."""
        bad = []
        for source in self.sources:
            v = self._newest.get(source)
            if v is None or now_ns - v.received_ns > max_age_ns or v.stamp_ns < not_before_ns:
                bad.append(source)
        return bad

    def stamps(self) -> list[int]:
        """Header stamps of the newest values, one per source that has any."""
        return [self._newest[s].stamp_ns for s in self.sources if s in self._newest]

    def ages_s(self, now_ns: int) -> tuple[float, ...]:
        """Age of each source since it was received, [s]; NaN for one never received."""
        return tuple(
            (now_ns - self._newest[s].received_ns) * 1e-9 if s in self._newest else float("nan")
            for s in self.sources
        )

    def state(self) -> Float32:
        """State vector (S,) from the newest values; all sources must be present."""
        parts = []
        for block in self.layout.blocks:
            source = "joints" if block in JOINT_BLOCKS else block
            parts.append(self._newest[source].value[block])
        return np.concatenate(parts).astype(np.float32)

    def images(self) -> tuple[np.ndarray, ...]:
        """Newest image per camera, uint8 (H, W, 3)."""
        return tuple(self._newest[c].value["image"] for c in self.cameras)
