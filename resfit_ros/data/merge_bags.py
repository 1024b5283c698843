"""Several directories of bags made one, with episodes numbered anew inside the messages too."""

import shutil
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rosbags.rosbag2 import Reader, StoragePlugin

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.data.bag_about import PREFIX, BagAbout, custom_data, read_about
from resfit_ros.data.bag_table import Sizes, bag_directories, sizes_of
from resfit_ros.data.bag_metadata import BAG_VERSION
from resfit_ros.data.checked_writer import CheckedWriter
from resfit_ros.data.episode_bag import bag_name, peek_episode_id
from resfit_ros.data.episode_data import read_episode, several_episodes, write_episode
from resfit_ros.data.formats.whole_output import whole
from resfit_ros.data.interfaces import EPISODE_TOPICS, type_name
from resfit_ros.data.mcap_scan import DamagedBag, Scan, is_plain
from resfit_ros.data.read_bags import DAMAGE
from resfit_ros.data.split_merge import Progress, finished

ORIGIN = PREFIX + "origin"  # custom data of a merged bag: where it was
OURS = {type_name(message) for message in EPISODE_TOPICS.values()}


def merge_bags(
    out: Path,
    directories: Sequence[Path],
    on_note: Callable[[str], None],
    on_progress: Progress = lambda *_: None,
) -> int:
    """Copies the bags of the directories, in their order, to OUT/episode_000001 and so on; returns how many.

    The episode_id in every message and in the metadata becomes the new number, so that a learner takes no
    two episodes for one; all else stays. Of a damaged bag the steps before the damage are kept, with a
    note. Raises MismatchError when the bags are of different robots, DataError when none can be used.
    """
    _require_different(directories)
    with whole(out) as partial:
        partial.mkdir()
        bags = finished([bag for d in directories for bag in bag_directories(d)], on_note)
        usable = _of_one_robot(bags, on_note)
        written = 0
        for done, bag in enumerate(usable, 1):
            written += _take_over(bag, partial, written + 1, on_note)
            on_progress(done, len(usable), bag.name)
        if not written:
            raise DataError(f"{', '.join(map(str, directories))}: no bag can be used; look with 'resfit data check'")
    return written


def _require_different(directories: Sequence[Path]) -> None:
    seen = set()
    for directory in directories:
        if directory.resolve() in seen:
            raise DataError(f"{directory}: named twice; its episodes would be in the result twice")
        seen.add(directory.resolve())


def _of_one_robot(bags: Sequence[Path], on_note: Callable[[str], None]) -> list[Path]:
    """The bags that can be read, all of one robot."""
    kinds: list[tuple[Path, BagAbout, Sizes]] = []
    usable = []
    for bag in bags:
        try:
            about, sizes = read_about(bag), sizes_of(bag)
        except DataError as error:
            on_note(f"{error}; left out")
            continue
        for other, its_about, its_sizes in kinds:
            difference = about.difference(its_about) or sizes.difference(its_sizes)
            if difference:
                raise MismatchError(
                    f"{bag} and {other} are of different robots: {difference}; merge bags of one robot only"
                )
        if all((about, sizes) != kind[1:] for kind in kinds):
            kinds.append((bag, about, sizes))
        usable.append(bag)
    return usable


def _take_over(bag: Path, out: Path, episode_id: int, on_note: Callable[[str], None]) -> bool:
    """Writes a bag under its new number; False when nothing of it can be used."""
    about = custom_data(bag) | {"episode_id": str(episode_id), ORIGIN: str(bag.resolve())}
    target = out / bag_name(episode_id)
    try:
        _require_whole(bag)
        ids = _rewrite(bag, target, episode_id, about)
    except DAMAGE + (DamagedBag,):
        shutil.rmtree(target, ignore_errors=True)
        return _take_good_part(bag, out, episode_id, on_note)
    if len(ids) > 1:  # under one id they could not be told apart
        shutil.rmtree(target, ignore_errors=True)
        on_note(f"{several_episodes(bag, ids)}; left out")
    return len(ids) <= 1


def _require_whole(bag: Path) -> None:
    """Raises DamagedBag: reading by the index would pass over what is damaged without a word."""
    for file in bag.glob("*.mcap"):
        if is_plain(file):
            for _ in Scan(file):
                pass


def _rewrite(bag: Path, target: Path, episode_id: int, about: Mapping[str, str]) -> set[int]:
    """All messages of a bag, of whatever types they were recorded with, under another episode id.

    Returns the ids that they had.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    writer = CheckedWriter(target, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
    ids: set[int] = set()
    with Reader(bag) as reader, writer:
        connections = {
            c.id: writer.add_connection(
                c.topic,
                c.msgtype,
                msgdef=c.msgdef.data,
                rihs01=c.digest,
                offered_qos_profiles=c.ext.offered_qos_profiles,
            )
            for c in reader.connections
        }
        for connection, stamp_ns, raw in reader.messages():
            if connection.msgtype in OURS:
                ids.add(peek_episode_id(raw))
                raw = with_episode_id(raw, episode_id)
            writer.write(connections[connection.id], stamp_ns, raw)
        for key, value in about.items():
            writer.set_custom_data(key, value)
    return ids


def with_episode_id(serialised: bytes, episode_id: int) -> bytes:
    """One of our step messages with another episode_id; nothing is decoded (see `peek_episode_id`)."""
    order = "<" if serialised[1] & 1 else ">"
    (length,) = struct.unpack_from(f"{order}I", serialised, 12)
    at = 12 + length
    at += 4 + -at % 8
    changed = bytearray(serialised)
    struct.pack_into(f"{order}Q", changed, at, episode_id)
    return bytes(changed)


def _take_good_part(bag: Path, out: Path, episode_id: int, on_note: Callable[[str], None]) -> bool:
    damage: list[str] = []
    try:
        data = read_episode(bag, damage.append)
    except DataError as error:
        on_note(f"{error}; left out")
        return False
    path = write_episode(out, episode_id, data, read_about(bag))
    on_note(f"{'; '.join(damage) or bag}: its first {len(data)} steps were kept, as {path.name}")
    return True
