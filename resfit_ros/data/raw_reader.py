"""Bags of any recorder: which topics they have, and their messages in the order of receipt."""

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import yaml
from rosbags.rosbag1 import Reader as Ros1Reader
from rosbags.rosbag1 import ReaderError as Ros1Error
from rosbags.rosbag2 import Reader as Ros2Reader

from resfit_ros.core.errors import DataError
from resfit_ros.data.interfaces import typestore
from resfit_ros.data.raw_mcap import McapScan
from resfit_ros.data.read_bags import DAMAGE

Received = tuple[str, int, bytes]  # topic, instant of receipt [ns], message as serialised by ROS 2
FILES = (".mcap", ".db3", ".bag")
METADATA = "metadata.yaml"
# Recorders with several threads write a message a little later than one that was received after it.
REORDER_NS = 500_000_000


def raw_bags(source: Path) -> list[Path]:
    """The bags at `source`: itself, or those in it, by name. Raises DataError where there are none."""
    if not source.exists():
        raise DataError(f"{source}: no such bag or directory")
    if source.is_file():
        if source.suffix not in FILES:
            raise DataError(f"{source}: not a bag; give a rosbag2 directory, or a file {', '.join(FILES)}")
        return [source]
    if _is_bag(source):
        return [source]
    found = sorted(p for p in source.iterdir() if p.is_dir() and _is_bag(p) or p.suffix in FILES)
    if not found:
        raise DataError(f"{source}: holds no bags; give a rosbag2 directory, or a file {', '.join(FILES)}")
    return found


def _is_bag(directory: Path) -> bool:
    """With metadata, or the files of a recorder that was killed before it wrote them."""
    names = (METADATA, "*_0.mcap", "*_0.db3")
    return any(p.is_file() for name in names for p in directory.glob(name))


class RawBag:
    """One bag. `topics`: topic to message type; `counts`: topic to messages.

    Raises DataError where nothing of it can be read. on_damage takes a sentence on each part that cannot.
    """

    def __init__(self, path: Path, on_damage: Callable[[str], None]) -> None:
        self.path = path
        self._on_damage = on_damage
        self._told: set[str] = set()
        self._channels: dict[Path, dict[int, str]] = {}  # of MCAP files with an index
        self._parts = _parts(path)
        self.topics: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        whys = [why for part in self._parts if (why := self._look_into(part))]
        if not self.topics:
            why = "; ".join(whys) or "no topics"
            raise DataError(f"{path}: nothing can be read of it ({why}); record it again")
        for why in whys:
            self._tell(why)

    def _tell(self, damage: str) -> None:
        if damage not in self._told:  # each part is read more than once
            self._told.add(damage)
            self._on_damage(damage)

    def _look_into(self, part: Path) -> str:
        """Takes note of the topics of a part; returns why it cannot be read, or an empty text."""
        try:
            with _reader(part) as reader:
                self._channels[part] = {c.id: c.topic for c in reader.connections}
                for connection in reader.connections:
                    self._add(connection.topic, connection.msgtype, connection.msgcount)
            return _unmerged(part)
        except (*DAMAGE, Ros1Error) as error:
            if not _is_mcap(part):
                return f"{part}: cannot be read ({error})"
        whys: list[str] = []
        scan = McapScan(part, whys.append)
        for topic, _, _ in scan.messages(None):
            self._add(topic, scan.channels[topic], 1)
        for topic, kind in scan.channels.items():
            self._add(topic, kind, 0)
        return "; ".join(whys)

    def _add(self, topic: str, kind: str, count: int) -> None:
        self.topics.setdefault(topic, kind)
        self.counts[topic] = self.counts.get(topic, 0) + count

    def messages(self, topics: Collection[str]) -> Iterator[Received]:
        """Messages of these topics in the order of receipt, as far as they can be read."""
        wanted = frozenset(topics)
        for part in self._parts:
            if _is_mcap(part):
                found = McapScan(part, self._tell, self._channels.get(part)).messages(wanted)
            else:
                found = self._others(part, wanted)
            yield from _in_order(found)

    def _others(self, part: Path, topics: Collection[str]) -> Iterator[Received]:
        is_ros1, last_ns = part.suffix == ".bag", 0
        try:
            with _reader(part) as reader:
                wanted = [c for c in reader.connections if c.topic in topics]
                for connection, time_ns, raw in reader.messages(connections=wanted) if wanted else ():
                    data = typestore().ros1_to_cdr(raw, connection.msgtype) if is_ros1 else raw
                    last_ns = time_ns
                    yield connection.topic, time_ns, bytes(data)
        except (*DAMAGE, Ros1Error) as error:
            where = "from its begin" if not last_ns else "further"
            self._tell(f"{part}: cannot be read {where} ({error}); what came before is used")


def _in_order(messages: Iterator[Received]) -> Iterator[Received]:
    """The messages by time, where none is more than REORDER_NS late."""
    waiting: list[tuple[int, int, str, bytes]] = []
    for count, (topic, time_ns, raw) in enumerate(messages):
        heapq.heappush(waiting, (time_ns, count, topic, raw))
        while time_ns - waiting[0][0] > REORDER_NS:
            early_ns, _, name, data = heapq.heappop(waiting)
            yield name, early_ns, data
    while waiting:
        early_ns, _, name, data = heapq.heappop(waiting)
        yield name, early_ns, data


def _unmerged(part: Path) -> str:
    """Of a database whose recorder was killed, the newest messages may lie in a file beside it."""
    log = part.with_name(f"{part.name}-wal")
    if not log.is_file() or not log.stat().st_size:
        return ""
    return f"{log}: its messages are not read; open {part.name} once with sqlite3, which takes them over"


def _is_mcap(part: Path) -> bool:
    return part.suffix == ".mcap" and part.is_file()


def _reader(part: Path) -> Ros1Reader | Ros2Reader:
    return Ros1Reader(part) if part.suffix == ".bag" else Ros2Reader(part)


def _parts(path: Path) -> list[Path]:
    """What is read one after the other: a file each, but a directory with compression as a whole."""
    if path.is_file():
        return [path]
    information = _information(path)
    if str(information.get("compression_mode") or "none").lower() != "none":
        return [path]
    named = [path / Path(str(name)).name for name in information.get("relative_file_paths") or ()]
    files = [f for f in named if f.is_file()] or sorted((*path.glob("*.mcap"), *path.glob("*.db3")))
    if not files:
        raise DataError(f"{path}: none of its files is there; copy the whole directory of the bag")
    return files


def _information(path: Path) -> Mapping[str, object]:
    """Of metadata.yaml; empty where it is missing or damaged: the files say enough."""
    try:
        return yaml.safe_load((path / METADATA).read_text())["rosbag2_bagfile_information"] or {}
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return {}
