"""One rosbag2 (MCAP) per episode, written from serialised messages and synced when it ends."""

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from resfit_ros.core.errors import DataError
from resfit_ros.data.interfaces import EPISODE_TOPICS, type_name, typestore
from resfit_ros.data.mcap_scan import CHUNK_CRC_OFFSET

BAG_VERSION = 9  # rosbag2 of Jazzy
# Damage costs the chunk it hits and what follows; a killed recorder loses the chunk it had begun.
CHUNK_BYTES = 1 << 16


class _CheckedStorage(McapWriter):
    """MCAP in small chunks with the checksum that rosbags leaves out."""

    def close_chunk(self) -> None:
        begin, checksum = self.bio.tell(), crc32(self.chunk.bio.getvalue())
        super().close_chunk()
        end = self.bio.tell()
        self.bio.seek(begin + CHUNK_CRC_OFFSET)
        self.bio.write(checksum.to_bytes(4, "little"))
        self.bio.seek(end)
        self.bio.flush()  # a full disk shows now, not when the episode is over

    def write(self, connection, timestamp: int, data: bytes | memoryview) -> None:
        super().write(connection, timestamp, data)
        if self.chunk.bio.tell() > CHUNK_BYTES:
            self.close_chunk()


class _CheckedWriter(Writer):
    STORAGE_PLUGINS = {**Writer.STORAGE_PLUGINS, StoragePlugin.MCAP: _CheckedStorage}


def peek_episode_id(serialised: bytes) -> int:
    """The episode_id of one of our step messages, without decoding it.

    All begin with std_msgs/Header and a uint64: CDR has 4 bytes of encapsulation, the stamp (8), the
    frame id (length, characters with a final zero), padding to 8, then the number.
    """
    order = "<" if serialised[1] & 1 else ">"
    (length,) = struct.unpack_from(f"{order}I", serialised, 12)
    at = 12 + length  # from the end of the encapsulation
    at += -at % 8
    return struct.unpack_from(f"{order}Q", serialised, 4 + at)[0]


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

    Once a write has failed there is a hole in it: it stays where it is and takes nothing more. Raises
    DataError when it cannot be written (disk full).
    """

    def __init__(self, directory: Path, episode_id: int, namespace: str) -> None:
        self.path = directory / bag_name(episode_id)
        self._partial = _free_name(directory / ".partial" / bag_name(episode_id))
        if self.path.exists():
            raise DataError(f"{self.path}: exists already; choose an empty bag_dir")
        self._writer = _CheckedWriter(self._partial, version=BAG_VERSION, storage_plugin=StoragePlugin.MCAP)
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._writer.open()
        except OSError as error:
            raise self._given_up(error) from error
        self._connections: dict[str, Any] = {
            topic: self._writer.add_connection(
                f"{namespace}/{topic}", type_name(message), typestore=typestore()
            )
            for topic, message in EPISODE_TOPICS.items()
        }
        self.messages = 0

    def write(self, topic: str, received_ns: int, serialised: bytes) -> None:
        """Appends a serialised message of `topic` (a key of EPISODE_TOPICS)."""
        try:
            self._writer.write(self._connections[topic], received_ns, serialised)
        except OSError as error:
            raise self._given_up(error) from error
        self.messages += 1

    def close(self, about: dict[str, str]) -> Path:
        """Writes `about` into the bag's metadata, syncs it to disk and gives it its final name."""
        for key, value in about.items():
            self._writer.set_custom_data(key, value)
        try:
            self._writer.close()
            for file in [*self._partial.iterdir(), self._partial]:
                _sync(file)
            self._partial.rename(self.path)
            _sync(self.path.parent)
        except OSError as error:
            raise self._given_up(error) from error
        return self.path

    def discard(self) -> None:
        """Gives the bag up: what was written stays under `.partial/`."""
        with suppress(OSError):
            self._writer.abort()

    def _given_up(self, error: OSError) -> DataError:
        with suppress(OSError):  # closing tries to write once more
            self._writer.abort()
        return DataError(f"{self._partial}: cannot be written ({error}); free some disk space")
