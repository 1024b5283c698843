"""The messages of a bag that our recorder wrote as they lie there: topic, time, bytes."""

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from resfit_ros.data.mcap_scan import CHANNEL, CHUNK, MAGIC, MESSAGE, DamagedBag, Scan

# Before the records of a chunk that is not compressed: two times, a size, a checksum, no name, a size.
CHUNK_HEAD = 8 + 8 + 8 + 4 + 4 + 8


class RawMessage(NamedTuple):
    """A serialised message: full topic name, when it was received [ns], full type name, CDR bytes."""

    topic: str
    received_ns: int
    kind: str
    data: bytes


class RawMessages:
    """Iterates over the messages of an MCAP file up to its end, or to the first damage.

    Each chunk is checked before anything of it is handed out. Afterwards `damage` says why there were no
    more (empty: that was all), and `definitions` are those of the topics, as Scan gives them.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ""
        self.definitions: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[RawMessage]:
        scan = Scan(self._file)
        try:
            # The scan goes first: what it hands out has been checked.
            for (kind, data), (topic, received_ns) in zip(scan, _places(self._file), strict=False):
                self.definitions = scan.definitions
                yield RawMessage(topic, received_ns, kind, data)
        except DamagedBag as error:
            self.damage = str(error)


def _places(file: Path) -> Iterator[tuple[str, int]]:
    """(topic, time received [ns]) of each message, unchecked."""
    topics: dict[int, str] = {}
    with file.open("rb") as opened:
        opened.seek(len(MAGIC))
        while len(head := opened.read(9)) == 9:
            opcode, length = struct.unpack("<BQ", head)
            content = opened.read(length)
            if opcode != CHUNK:
                continue
            records, at = memoryview(content)[CHUNK_HEAD:], 0
            while at < len(records):
                opcode, length = struct.unpack_from("<BQ", records, at)
                record = records[at + 9 : at + 9 + length]
                at += 9 + length
                if opcode == CHANNEL:
                    key, _, size = struct.unpack_from("<HHI", record)
                    topics[key] = bytes(record[8 : 8 + size]).decode()
                elif opcode == MESSAGE:
                    key, _, received_ns = struct.unpack_from("<HIQ", record)
                    yield topics[key], received_ns


@lru_cache(maxsize=8)
def types_of(definitions: tuple[tuple[str, str], ...]) -> Typestore:
    """Message types as they were when a bag was recorded."""
    store, types = get_typestore(Stores.EMPTY), {}
    for name, text in definitions:
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store
