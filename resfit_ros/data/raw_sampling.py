"""What the aggregator does, done offline: messages of a raw bag in, an observation at any instant out."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ResfitError, ShapeError
from resfit_ros.core.observation import ARRAY_PREFIX, JOINTS, POSE_PREFIX, WRENCH_PREFIX, canonical_pose
from resfit_ros.core.parameters import AUTO, REFUSE, AggregatorParameters
from resfit_ros.core.sensing import Sensing
from resfit_ros.core.types import Float32, Float64
from resfit_ros.data.interfaces import typestore
from resfit_ros.data.raw_options import RawOptions
from resfit_ros.data.raw_report import SourceReport
from resfit_ros.data.raw_topics import CLOCK, TopicMap
from resfit_ros.data.read_bags import DAMAGE
from resfit_ros.pictures.cameras import Picture, cameras_of

POSITIONS = "joint_positions"


@dataclass(frozen=True, eq=False)
class Sample:
    """One observation: state float32 (S,), images uint8 (H, W, 3), sampled at stamp_ns [ns of receipt]."""

    stamp_ns: int
    state: Float32
    images: tuple[NDArray[np.uint8], ...]


class RawSampler:
    """Takes the messages of one bag in the order of receipt.

    The instant of receipt is the steady clock and, unless a simulation's clock was recorded, the ROS clock.
    """

    def __init__(
        self, p: AggregatorParameters, topics: TopicMap, options: RawOptions, reports: dict[str, SourceReport]
    ) -> None:
        if topics.transports:
            p = dataclasses.replace(p, camera_transports=tuple(topics.transports[c] for c in p.camera_names))
        self.joint_names_seen: set[str] = set()
        self.measured: Float64 = np.full(len(p.joint_names), np.nan)  # newest positions, NaN: never heard
        self._p, self._reports = p, reports
        self._sensing = Sensing(p)
        self._cameras = cameras_of(p)
        self._pictures: dict[str, Picture] = {}
        self._orders: dict[tuple[str, ...], NDArray[np.intp]] = {}
        self._ignore_stamps = options.ignore_stamps
        self._has_clock, self._clock_ns = topics.clock, 0
        repeats = p.repeated_pictures
        self._refuse_repeats = repeats == REFUSE or repeats == AUTO and not topics.clock
        self._start_ns = 0
        self._takers: dict[str, list[Callable[[int, bytes], None]]] = defaultdict(list)
        self._subscribe(topics)

    def _subscribe(self, topics: TopicMap) -> None:
        if topics.clock:
            self._takers[CLOCK].append(self._take_clock)
        for topic in topics.joints:
            self._takers[topic].append(partial(self._take_joints, topic in topics.sources.get(JOINTS, ())))
        for source, names in topics.sources.items():
            take = self._take_picture if source in topics.transports else self._take_numbers
            for topic in names if source != JOINTS else ():
                self._takers[topic].append(partial(take, source))

    def take(self, topic: str, time_ns: int, raw: bytes) -> None:
        """Takes a message in that was received at time_ns; what cannot be used is refused and counted."""
        for taker in self._takers.get(topic, ()):
            taker(time_ns, raw)

    # -- messages ---------------------------------------------------------------------------

    def _ros_ns(self, time_ns: int) -> int:
        return self._clock_ns if self._has_clock else time_ns

    def _stamp_ns(self, message: Any, time_ns: int) -> int | None:
        if self._ignore_stamps:
            return time_ns
        if not hasattr(message, "header"):
            return None
        return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec

    def _take_clock(self, time_ns: int, raw: bytes) -> None:
        stamp = decoded(raw, "rosgraph_msgs/msg/Clock").clock
        self._clock_ns = stamp.sec * 1_000_000_000 + stamp.nanosec

    def _take_joints(self, needed: bool, time_ns: int, raw: bytes) -> None:
        if needed:
            self._reports[JOINTS].heard(time_ns)
        try:
            message = decoded(raw, "sensor_msgs/msg/JointState")
            stamp_ns = self._stamp_ns(message, time_ns)
            self._measure(message)
            if needed:
                self._store_joints(message, stamp_ns, time_ns)
        except ResfitError as error:
            if needed:
                self._reports[JOINTS].refused[str(error)] += 1
                self._sensing.note(JOINTS, f"is refused: {error}")

    def _store_joints(self, message: Any, stamp_ns: int, time_ns: int) -> None:
        every = {
            POSITIONS: message.position,
            "joint_velocities": message.velocity,
            "joint_efforts": message.effort,
        }
        fields = {block: every[block] for block in self._sensing.joints.blocks}
        ros_ns = self._ros_ns(time_ns)
        if problem := self._sensing.health.sources[JOINTS].stamp_problem(stamp_ns, ros_ns):
            self._reports[JOINTS].refused[problem] += 1
        self._sensing.store_joints(message.name, fields, stamp_ns, time_ns, ros_ns)
        if missing := self._sensing.joints.missing():
            self.joint_names_seen.update(message.name)
            self._sensing.note(JOINTS, f"lacks joint '{missing[0]}'")

    def _measure(self, message: Any) -> None:
        """Where trajectories set out from, whatever the state is made of."""
        names, values = tuple(message.name), message.position
        if len(values) != len(names) or not np.all(np.isfinite(values)):
            return
        if names not in self._orders:
            pairs = [(i, names.index(n)) for i, n in enumerate(self._p.joint_names) if n in names]
            self._orders[names] = np.array(pairs, np.intp).reshape(-1, 2).T
        ours, theirs = self._orders[names]
        self.measured[ours] = values[theirs]

    def _take_numbers(self, block: str, time_ns: int, raw: bytes) -> None:
        self._reports[block].heard(time_ns)
        kind, read = BLOCK_READERS[block.partition("/")[0] + "/"]
        try:
            message = decoded(raw, kind)
            stamp_ns, ros_ns = self._stamp_ns(message, time_ns), self._ros_ns(time_ns)
            self._note_stamp(block, stamp_ns, ros_ns)
            self._sensing.store_numbers(block, stamp_ns, read(message), time_ns, ros_ns)
        except ResfitError as error:
            self._refuse(block, str(error))

    def _take_picture(self, name: str, time_ns: int, raw: bytes) -> None:
        self._reports[name].heard(time_ns)
        try:
            picture, same = self._cameras[name].take(raw)
        except ResfitError as error:
            self._refuse(name, str(error))
            return
        stamp_ns, ros_ns = time_ns if self._ignore_stamps else picture.stamp_ns, self._ros_ns(time_ns)
        self._note_stamp(name, stamp_ns, ros_ns)
        same = same and self._refuse_repeats
        if same:
            self._reports[name].refused["repeats the picture before"] += 1
        if self._sensing.store(name, stamp_ns, picture, time_ns, ros_ns, same):
            self._pictures[name] = picture

    def _note_stamp(self, source: str, stamp_ns: int | None, ros_ns: int) -> None:
        health = self._sensing.health.sources[source]
        if stamp_ns is not None and (problem := health.stamp_problem(stamp_ns, ros_ns)):
            self._reports[source].refused[problem] += 1

    def _refuse(self, source: str, why: str) -> None:
        self._reports[source].refused[why] += 1
        self._sensing.refuse(source, f"is refused: {why}")

    # -- observations -----------------------------------------------------------------------

    def begin(self, start_ns: int) -> None:
        """An episode begins: its observations are made of what is stamped from then on."""
        self._start_ns = self._ros_ns(start_ns)

    def sample(self, time_ns: int, period_s: float) -> Sample | str:
        """The observation at time_ns, or why there is none. Call at ascending instants, `period_s` apart."""
        ros_ns, health = self._ros_ns(time_ns), self._sensing.health
        if self._sensing.clock_jumped(ros_ns, time_ns):
            self._start_ns = ros_ns
        for source, one in health.sources.items():
            self._reports[source].sampled(one.trouble(time_ns) is not None, period_s)
        trouble = self._sensing.trouble(time_ns)
        if trouble:
            return trouble.why
        early = () if self._ignore_stamps else self._sensing.assembler.before(self._start_ns)
        if early:
            return f"nothing of this episode yet from {', '.join(early)}"
        if why := self._undecodable():
            return why
        state = self._sensing.assembler.state()
        if not np.all(np.isfinite(state)):
            return "state holds NaN or Inf"
        return Sample(time_ns, state, self._sensing.assembler.images())

    def _undecodable(self) -> str:
        for name, picture in self._pictures.items():
            try:
                picture.pixels()
            except ShapeError as error:
                self._reports[name].refused[str(error)] += 1
                self._sensing.retract(name, f"is refused: {error}")
                return f"camera '{name}' is refused: {error}"
        return ""


def decoded(raw: bytes, kind: str) -> Any:
    """A message of a type that is the same in every ROS 2; raises ShapeError on a malformed one."""
    try:
        return typestore().deserialize_cdr(raw, kind)
    except DAMAGE as error:
        raise ShapeError(f"message cannot be decoded ({error})") from None


def _pose(message: Any) -> Float64:
    p, q = message.pose.position, message.pose.orientation
    return canonical_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))


def _wrench(message: Any) -> Float64:
    f, t = message.wrench.force, message.wrench.torque
    return np.array((f.x, f.y, f.z, t.x, t.y, t.z))


def _array(message: Any) -> Sequence[float]:
    return np.asarray(message.data, np.float64)


BLOCK_READERS = {
    POSE_PREFIX: ("geometry_msgs/msg/PoseStamped", _pose),
    WRENCH_PREFIX: ("geometry_msgs/msg/WrenchStamped", _wrench),
    ARRAY_PREFIX: ("std_msgs/msg/Float64MultiArray", _array),
}
