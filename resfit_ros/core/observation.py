"""Assembles raw sensor values into observations: newest value per source, with a maximum age."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Float32, Float64

JOINT_BLOCKS = ("joint_positions", "joint_velocities", "joint_efforts")
JOINTS = "joints"  # the source all joint blocks come from
POSE_PREFIX, WRENCH_PREFIX, ARRAY_PREFIX, TF_PREFIX = "pose/", "wrench/", "array/", "tf/"
POSE_SIZE = 7  # x, y, z [m], then the unit quaternion x, y, z, w with w >= 0
WRENCH_SIZE = 6  # force x, y, z [N], torque x, y, z [N m]
LARGEST_ARRAY = 10_000
BLOCK_KINDS = f"{', '.join(JOINT_BLOCKS)}, pose/NAME, wrench/NAME, array/NAME/SIZE or tf/TARGET/SOURCE"


def _block_size(block: str, joints: int) -> int:
    """Length of a block; raises ConfigError naming it and what is allowed."""
    if block in JOINT_BLOCKS:
        return joints
    kind, *rest = block.split("/")
    if all(rest):
        if kind == "pose" and len(rest) == 1:
            return POSE_SIZE
        if kind == "tf" and len(rest) == 2:
            return POSE_SIZE
        if kind == "wrench" and len(rest) == 1:
            return WRENCH_SIZE
        if kind == "array" and len(rest) == 2:
            if rest[1].isascii() and rest[1].isdigit() and 0 < int(rest[1]) <= LARGEST_ARRAY:
                return int(rest[1])
            raise ConfigError(f"state: block '{block}': SIZE must be a whole number from 1 to {LARGEST_ARRAY}")
    raise ConfigError(f"state: unknown block '{block}'; use {BLOCK_KINDS}")


@dataclass(frozen=True)
class StateLayout:
    """Which blocks the state vector holds, in order.

    Blocks: joint_positions [rad], joint_velocities [rad/s], joint_efforts [N m], each (A,);
    pose/NAME and tf/TARGET/SOURCE (7,): position [m] and unit quaternion x, y, z, w with w >= 0;
    wrench/NAME (6,): force [N], torque [N m]; array/NAME/SIZE (SIZE,): as published.
    """

    blocks: tuple[str, ...]
    joints: int

    def __post_init__(self) -> None:
        for block in self.blocks:
            _block_size(block, self.joints)
        if len(set(self.blocks)) != len(self.blocks):
            raise ConfigError("state: a block is listed twice")
        topics = list(self.topics.values())
        for topic in topics:
            if topics.count(topic) > 1:
                raise ConfigError(f"state: two blocks are read from topic {topic}; an array has one size")

    @property
    def size(self) -> int:
        """Length S of the state vector."""
        return sum(_block_size(block, self.joints) for block in self.blocks)

    @property
    def poses(self) -> tuple[str, ...]:
        """Names of the poses, without the prefix."""
        return tuple(b.removeprefix(POSE_PREFIX) for b in self.of_kind(POSE_PREFIX))

    @property
    def others(self) -> tuple[str, ...]:
        """Blocks with a source of their own: all that are not of the joints."""
        return tuple(b for b in self.blocks if b not in JOINT_BLOCKS)

    @property
    def topics(self) -> dict[str, str]:
        """Block to the relative topic it is read from; tf has none of its own."""
        kinds = {POSE_PREFIX: "pose", WRENCH_PREFIX: "wrench", ARRAY_PREFIX: "array"}
        return {
            block: f"{block.split('/')[1]}_{word}"
            for block in self.blocks
            for prefix, word in kinds.items()
            if block.startswith(prefix)
        }

    def of_kind(self, prefix: str) -> tuple[str, ...]:
        """Blocks that begin with `prefix`, e.g. "wrench/"."""
        return tuple(b for b in self.blocks if b.startswith(prefix))

    def size_of(self, block: str) -> int:
        """Length of one block."""
        return _block_size(block, self.joints)

    def slice_of(self, block: str) -> slice:
        """Where `block` lies in the state vector."""
        if block not in self.blocks:
            raise ConfigError(f"state: block '{block}' is needed but not listed; add it to 'state'")
        start = sum(self.size_of(b) for b in self.blocks[: self.blocks.index(block)])
        return slice(start, start + self.size_of(block))


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


def sources_of(layout: StateLayout, cameras: Sequence[str] = ()) -> tuple[str, ...]:
    """What an observation is made of: "joints", then every other block, then the cameras."""
    joints = (JOINTS,) if len(layout.others) < len(layout.blocks) else ()
    return joints + layout.others + tuple(cameras)


class ObservationAssembler:
    """Keeps the newest value per source and puts them together on request."""

    def __init__(self, layout: StateLayout, cameras: Sequence[str] = ()) -> None:
        self.layout = layout
        self.cameras = tuple(cameras)
        self.sources = sources_of(layout, self.cameras)
        self._newest: dict[str, SourceValue] = {}

    def update(self, source: str, value: SourceValue) -> None:
        """Stores a value unless a newer one is there already."""
        old = self._newest.get(source)
        if old is None or value.stamp_ns >= old.stamp_ns:
            self._newest[source] = value

    def forget(self) -> None:
        """Drops every value: none of them says anything about now."""
        self._newest.clear()

    def missing(self, now_ns: int, max_age_ns: int, not_before_ns: int = 0) -> list[str]:
        """Sources without a value, with one older than `max_age_ns`, or stamped too early."""
        bad = []
        for source in self.sources:
            v = self._newest.get(source)
            if v is None or now_ns - v.received_ns > max_age_ns or v.stamp_ns < not_before_ns:
                bad.append(source)
        return bad

    def before(self, start_ns: int) -> list[str]:
        """Sources whose newest value is stamped before `start_ns`, or that have none."""
        return [s for s in self.sources if s not in self._newest or self._newest[s].stamp_ns < start_ns]

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
            source = JOINTS if block in JOINT_BLOCKS else block
            parts.append(self._newest[source].value[block])
        return np.concatenate(parts).astype(np.float32)

    def images(self) -> tuple[np.ndarray, ...]:
        """Newest image per camera, uint8 (H, W, 3)."""
        return tuple(self._newest[c].value["image"] for c in self.cameras)
