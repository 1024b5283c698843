"""One rosbag2 (MCAP) per episode, written from serialised messages and synced when it ends."""

import json
import os
import shutil
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin
from rosbags.typesys.store import Typestore

from resfit_ros.core.errors import DataError
from resfit_ros.data.bag_lock import hold
from resfit_ros.data.bag_metadata import BAG_VERSION
from resfit_ros.data.checked_writer import CheckedWriter
from resfit_ros.data.interfaces import EPISODE_TOPICS, type_name, typestore

UNFINISHED = ".partial"  # where a bag lies until it is whole
ABOUT = "about.json"  # beside an unfinished bag: its custom data, which only a closed bag's metadata hold
# How long a bag stays open after the end of its episode: for the last action, and, while steps are missing,
# for as long as DDS needs to send again what got lost (Fast DDS asks every 3 s).
GRACE_NS, MISSING_GRACE_NS = 300_000_000, 5_000_000_000
STEP_TOPICS = ("observation", "action", "executed_action")


def peek_episode_id(serialised: bytes) -> int:
    """The episode_id of one of our messages, without decoding it.

    All begin with std_msgs/Header and a uint64: CDR has 4 bytes of encapsulation, the stamp (8), the
    frame id (length, characters with a final zero), padding to 8, then the number.
    """
    order, at = _after_header(serialised)
    return struct.unpack_from(f"{order}Q", serialised, at)[0]


def peek_step(serialised: bytes) -> int:
    """The step of a message of STEP_TOPICS: a uint32 behind its episode_id."""
    order, at = _after_header(serialised)
    return struct.unpack_from(f"{order}I", serialised, at + 8)[0]


def _after_header(serialised: bytes) -> tuple[str, int]:
    """Byte order, and where the episode_id is."""
    order = "<" if serialised[1] & 1 else ">"
    (length,) = struct.unpack_from(f"{order}I", serialised, 12)
    at = 12 + length  # from the end of the encapsulation
    return order, 4 + at + -at % 8


def peek_stamp_ns(serialised: bytes) -> int:
    """The stamp of a message that begins with std_msgs/Header [ns], without decoding it."""
    sec, nanosec = struct.unpack_from("<iI" if serialised[1] & 1 else ">iI", serialised, 4)
    return sec * 1_000_000_000 + nanosec


def _free_name(path: Path) -> Path:
    """`path`, or with a number behind it where a killed recorder left one: that is kept."""
    candidate, count = path, 1
    while candidate.exists():
        candidate, count = path.with_name(f"{path.name}-{count}"), count + 1
    return candidate


def bag_name(episode_id: int) -> str:
    """Directory name of an episode's bag."""
    return f"episode_{episode_id:06d}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class EpisodeBag:
    """An open bag; it lies under `.partial/` until it is closed, synced and whole.

    about: texts for its metadata that are known at its start; they survive a killed recorder. types: the
    definitions of its messages, where they are those of another release; topics that these lack are left
    out. `messages`, `size_bytes`, `steps` (by topic of STEP_TOPICS): taken so far. Once a write has failed
    there is a hole in it: it stays where it is and takes nothing more. Raises DataError when it cannot be
    written (disk full).
    """

    def __init__(
        self,
        directory: Path,
        episode_id: int,
        namespace: str,
        about: Mapping[str, str] | None = None,
        types: Typestore | None = None,
    ) -> None:
        self.path = directory / bag_name(episode_id)
        self.partial = _free_name(directory / UNFINISHED / bag_name(episode_id))
        self.messages = self.size_bytes = 0
        self.steps: dict[str, set[int]] = {topic: set() for topic in STEP_TOPICS}
        self._about, self._synced = dict(about or {}), False
        if self.path.exists():
            raise DataError(f"{self.path}: exists already; choose an empty bag_dir")
        self._writer = CheckedWriter(self.partial, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        self._lock = None
        try:
            if not self.partial.parent.is_dir():
                self.partial.parent.mkdir(parents=True, exist_ok=True)
                _sync(directory)
            self._writer.open()
            # Whoever recovers bags must not touch this one while it is being written.
            self._lock = hold(self._writer.storage.path)
            if self._about:
                (self.partial / ABOUT).write_text(json.dumps(self._about))
        except OSError as error:
            raise self._given_up(error) from error
        types = types or typestore()
        self._connections: dict[str, Any] = {
            topic: self._writer.add_connection(
                f"{namespace}/{topic}", type_name(message), typestore=types
            )
            for topic, message in EPISODE_TOPICS.items()
            if type_name(message) in types.types
        }

    def has_types(self, definitions: tuple[tuple[str, str], ...]) -> bool:
        """Whether its messages are defined as these are: (type name, text) of each."""
        ours = {c.msgtype: c.msgdef.data for c in self._connections.values()}
        return all(ours.get(name) == text for name, text in definitions)

    def write(self, topic: str, received_ns: int, serialised: bytes) -> None:
        """Appends a serialised message of `topic` (a key of EPISODE_TOPICS)."""
        try:
            self._writer.write(self._connections[topic], received_ns, serialised)
            if self._synced:
                self._writer.storage.sync()
        except OSError as error:
            raise self._given_up(error) from error
        self.messages += 1
        if topic in self.steps:
            with suppress(struct.error):  # recovered from a release that had none
                self.steps[topic].add(peek_step(serialised))
        self.size_bytes += len(serialised)

    def sync(self) -> None:
        """Brings all messages to the disk now, and each later one at once: the episode is over.

        From then on neither a kill nor a power cut takes away what was recorded.
        """
        try:
            self._writer.storage.sync()
            for path in (*self.partial.glob(ABOUT), self.partial, self.partial.parent):
                _sync(path)
        except OSError as error:
            raise self._given_up(error) from error
        self._synced = True

    def close(self, about: Mapping[str, str]) -> Path:
        """Adds `about` to the bag's metadata, syncs it to disk and gives it its final name."""
        for key, value in (self._about | dict(about)).items():
            self._writer.set_custom_data(key, value)
        try:
            self._writer.close()
            (self.partial / ABOUT).unlink(missing_ok=True)
            for file in [*self.partial.iterdir(), self.partial]:
                _sync(file)
            self.partial.rename(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise self._given_up(error) from error
        self._release()
        return self.path

    def discard(self, keep: bool = True) -> None:
        """Gives the bag up; keep: what was written stays under `.partial/`."""
        with suppress(OSError):
            self._writer.abort()
        self._release()
        if not keep:
            shutil.rmtree(self.partial, ignore_errors=True)

    def _given_up(self, error: OSError) -> DataError:
        self.discard()  # closing would try to write once more
        return DataError(f"{self.partial}: cannot be written ({error}); free some disk space")

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
