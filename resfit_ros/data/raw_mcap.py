"""MCAP files of any recorder read from front to back, damaged ones too: the index is not needed.

Format: https://mcap.dev/spec
"""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rosbags.rosbag2.storage_mcap import decompress

from resfit_ros.data.mcap_scan import CHANNEL, CHUNK, DATA_END, FOOTER, MAGIC, MESSAGE, SCHEMA

RECORD = struct.Struct("<BQ")
MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
Message = tuple[str, int, bytes]  # topic, log time [ns], serialised message
UNREADABLE = (ValueError, LookupError, struct.error, EOFError, MemoryError, OverflowError)


class McapScan:
    """`channels`: topic to message type, of what was read so far.

    known: channel to topic, where the index says it; else messages before their channel are left out.
    """

    def __init__(
        self, file: Path, on_damage: Callable[[str], None], known: Mapping[int, str] | None = None
    ) -> None:
        self._file, self._on_damage = file, on_damage
        self._schemas: dict[int, str] = {}
        self._topics: dict[int, str] = dict(known or {})
        self._damaged_chunks = 0
        self.channels: dict[str, str] = {}

    def messages(self, topics: Collection[str] | None) -> Iterator[Message]:
        """(topic, log time [ns], serialised message) as they lie in the file.

        topics: None for all, without their content. Damaged chunks are skipped and a file that is cut short
        ends there; on_damage takes one sentence on it.
        """
        why = ""
        try:
            with self._file.open("rb") as opened:
                if opened.read(len(MAGIC)) != MAGIC:
                    raise ValueError("it does not begin as an MCAP file does")
                yield from self._records(opened, topics)
        except (OSError, *UNREADABLE) as error:
            why = f"cannot be read further ({error}); what came before is used"
        if self._damaged_chunks:
            why = "; ".join(filter(None, (f"{self._damaged_chunks} damaged chunks are left out", why)))
        if why:
            self._on_damage(f"{self._file}: {why}")

    def _records(self, opened: BinaryIO, topics: Collection[str] | None) -> Iterator[Message]:
        size = self._file.stat().st_size
        while True:
            head = opened.read(RECORD.size)
            if len(head) < RECORD.size:
                raise ValueError(f"cut short at byte {opened.tell()}")
            opcode, length = RECORD.unpack(head)
            if opcode in (FOOTER, DATA_END):
                return
            if length > size - opened.tell():
                if opcode == CHUNK:
                    yield from self._begun_chunk(opened.read(), topics)
                raise ValueError(f"cut short, or damaged, at byte {opened.tell()}")
            if opcode == CHUNK:
                yield from self._chunk(opened.read(length), topics)
            elif opcode in (SCHEMA, CHANNEL, MESSAGE):
                yield from self._record(opcode, memoryview(opened.read(length)), topics)
            else:
                opened.seek(length, 1)

    def _chunk(self, content: bytes, topics: Collection[str] | None) -> Iterator[Message]:
        try:
            size, crc, compression, packed = _chunk_of(content)
            found = list(self._inside(memoryview(_unpacked(packed, compression, size, crc)), topics))
        except UNREADABLE:
            self._damaged_chunks += 1
            return
        yield from found

    def _begun_chunk(self, content: bytes, topics: Collection[str] | None) -> Iterator[Message]:
        """What was written of the last chunk, where it is not compressed."""
        with suppress(*UNREADABLE):
            _, _, compression, packed = _chunk_of(content)
            if not compression:
                yield from self._inside(memoryview(packed), topics)

    def _inside(self, records: memoryview, topics: Collection[str] | None) -> Iterator[Message]:
        at = 0
        while at < len(records):
            opcode, length = RECORD.unpack_from(records, at)
            at += RECORD.size
            if length > len(records) - at:
                raise ValueError("a record is longer than its chunk")
            yield from self._record(opcode, records[at : at + length], topics)
            at += length

    def _record(self, opcode: int, record: memoryview, topics: Collection[str] | None) -> Iterator[Message]:
        if opcode == MESSAGE:
            channel, _, time_ns, _ = MESSAGE_HEAD.unpack_from(record)
            topic = self._topics.get(channel)
            if topics is None and topic is not None:
                yield topic, time_ns, b""
            elif topics is not None and topic in topics:
                yield topic, time_ns, bytes(record[MESSAGE_HEAD.size :])
        elif opcode == SCHEMA:
            (key,) = struct.unpack_from("<H", record)
            self._schemas[key] = _text(record, 2)
        elif opcode == CHANNEL:
            key, schema = struct.unpack_from("<HH", record)
            self._topics[key] = topic = _text(record, 4)
            self.channels[topic] = self._schemas.get(schema, "without a type")


def _chunk_of(content: bytes) -> tuple[int, int, str, bytes]:
    """Size and checksum of a chunk's records, their compression, and the records as they were packed."""
    size, crc, named = struct.unpack_from("<QII", content, 16)
    begin = 32 + named + 8
    (length,) = struct.unpack_from("<Q", content, begin - 8)
    return size, crc, content[32 : 32 + named].decode(), content[begin : begin + length]


def _unpacked(content: bytes, compression: str, size: int, crc: int) -> bytes:
    try:
        return decompress(content, compression, size, crc)
    except Exception as error:  # what decompressors raise has no base in common
        raise ValueError(str(error)) from None


def _text(record: memoryview, at: int) -> str:
    (length,) = struct.unpack_from("<I", record, at)
    return bytes(record[at + 4 : at + 4 + length]).decode()
