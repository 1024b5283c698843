"""Episode bags read from front to back, each chunk checked: what is handed out is what was recorded.

The index at the end of an MCAP file is not used: a bag that is cut short has none, and a damaged one
makes readers skip chunks without a word. Format: https://mcap.dev/spec
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zlib import crc32

from resfit_ros.core.errors import DataError

MAGIC = b"\x89MCAP0\r\n"
HEADER, FOOTER, SCHEMA, CHANNEL, MESSAGE, CHUNK = range(1, 7)
STATISTICS, DATA_END = 0x0B, 0x0F
# Bytes before the checksum of a chunk: opcode and length, then two times and a size.
CHUNK_CRC_OFFSET = 9 + 24


class DamagedBag(DataError):
    """A bag that is cut short or altered; what came before the damage was handed out."""


def is_plain(file: Path) -> bool:
    """Whether `scan` can read the file: written by our recorder, chunks not compressed."""
    try:
        with file.open("rb") as opened:
            begin = opened.read(64)
    except OSError:
        return False
    # A header has two strings, profile and library, each after its length.
    return begin[:9] == MAGIC + bytes([HEADER]) and b"ros2" in begin[17:25] and b"rosbags-" in begin


class RawMessage(NamedTuple):
    """A serialised message: full topic name, when it was received [ns], full type name, CDR bytes."""

    topic: str
    received_ns: int
    kind: str
    data: bytes


class Scan:
    """Iterates over the messages of an MCAP file in the order of recording.

    Raises DamagedBag at the first damage. `definitions`: (type name, its .msg text) of the topics so far.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._schemas: dict[int, tuple[str, str]] = {}
        self._channels: dict[int, tuple[str, str]] = {}  # topic, type
        self._messages = 0
        self.definitions: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[RawMessage]:
        try:
            with self._file.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise ValueError("not an MCAP file")
                yield from self._records(file)
        except (OSError, ValueError, LookupError, struct.error) as error:
            raise DamagedBag(
                f"{self._file}: cannot be read as a bag beyond its first {self._messages} messages ({error}); "
                "restore it from a copy, or remove it"
            ) from None

    def _records(self, file: BinaryIO) -> Iterator[RawMessage]:
        size, whole = self._file.stat().st_size, False
        while True:
            opcode, length = struct.unpack("<BQ", file.read(9))
            if length > size - file.tell():
                raise ValueError(f"cut short, or damaged, at byte {file.tell()}")
            content = file.read(length)
            if opcode == CHUNK:
                yield from self._chunk(content)
            elif opcode == STATISTICS:
                (recorded,) = struct.unpack_from("<Q", content)
                whole = recorded == self._messages
            elif opcode == FOOTER:
                break
        if not whole:  # the opcode of a chunk was hit, or the summary
            raise ValueError("not all its messages are there")

    def _chunk(self, content: bytes) -> Iterator[RawMessage]:
        size, crc, named = struct.unpack_from("<QII", content, 16)
        if named:
            raise ValueError("a compressed chunk")
        (length,) = struct.unpack_from("<Q", content, 32)
        records = memoryview(content)[40:]
        # 0: recorded by a release that wrote no checksums.
        if not length == size == len(records) or (crc and crc32(records) != crc):
            raise ValueError("a chunk does not match its checksum")
        at = 0
        while at < size:
            opcode, length = struct.unpack_from("<BQ", records, at)
            at += 9
            if length > size - at:
                raise ValueError("a record is longer than its chunk")
            record = records[at : at + length]
            at += length
            if opcode == MESSAGE:
                channel, _, received_ns = struct.unpack_from("<HIQ", record)
                topic, kind = self._channels[channel]
                self._messages += 1
                yield RawMessage(topic, received_ns, kind, bytes(record[22:]))
            elif opcode == SCHEMA:
                (key,) = struct.unpack_from("<H", record)
                name, _, text = _texts(record[2:], 3)  # the one between: how the text is written
                self._schemas[key] = name, text
            elif opcode == CHANNEL:
                key, schema = struct.unpack_from("<HH", record)
                (topic,) = _texts(record[4:], 1)
                self._channels[key] = topic, self._schemas[schema][0]
                self.definitions = (*self.definitions, self._schemas[schema])


class RawMessages:
    """A Scan that ends at the first damage without an error.

    Afterwards `damage` says why there were no more (empty: that was all), and `definitions` are the scan's.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.damage = ""
        self.definitions: tuple[tuple[str, str], ...] = ()

    def __iter__(self) -> Iterator[RawMessage]:
        scan = Scan(self._file)
        try:
            for message in scan:
                self.definitions = scan.definitions
                yield message
        except DamagedBag as error:
            self.damage = str(error)


def _texts(record: memoryview, count: int) -> list[str]:
    """The first texts of a record, each after its length."""
    texts, at = [], 0
    for _ in range(count):
        (length,) = struct.unpack_from("<I", record, at)
        at += 4 + length
        texts.append(bytes(record[at - length : at]).decode())
    return texts
