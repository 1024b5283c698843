"""rosbag2 (MCAP) files in small chunks with checksums, which can be brought to the disk at any time."""

import os
from functools import lru_cache
from io import BytesIO
from zlib import crc32

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import Channel, McapWriter, write_channel, write_string

from resfit_ros.data.bag_metadata import OFFERED, as_yaml, information, qos_entries
from resfit_ros.data.mcap_scan import CHUNK_CRC_OFFSET

# Damage costs the chunk it hits and what follows; a killed recorder loses the chunk it had begun.
CHUNK_BYTES = 1 << 16


@lru_cache(maxsize=8)
def _qos_text(profiles: tuple[Qos, ...]) -> str:
    return as_yaml(qos_entries(profiles))


class _Block(BytesIO):
    """What will be written at `begin` of a file: `tell` counts from the file's start."""

    def __init__(self, begin: int) -> None:
        super().__init__()
        self._begin = begin

    def tell(self) -> int:
        return self._begin + super().tell()


class CheckedStorage(McapWriter):
    """MCAP in small chunks with what rosbags leaves out: checksums of chunks, hashes of types.

    Topics whose quality of service is not given get OFFERED.
    """

    def add_connection(self, connection: Connection, offered_qos_profiles: str) -> None:
        # Not the text that is given: rosbags lays it out anew for each topic, which takes milliseconds.
        profiles = connection.ext.offered_qos_profiles
        profiles[:] = profiles or [OFFERED]
        metadata, qos = BytesIO(), _qos_text(tuple(profiles))
        for text in ("offered_qos_profiles", qos, "topic_type_hash", connection.digest):
            write_string(metadata, text)
        encoding = connection.ext.serialization_format
        channel = Channel(connection.id, connection.msgtype, connection.topic, encoding, metadata.getvalue())
        self.channels.append(channel)
        self.channel_stats[connection.id] = 0
        write_channel(self.chunk.bio, channel, self.schemas)

    def close_chunk(self) -> None:
        # In one piece: a chunk on the disk without its checksum could not be told from an old release's.
        file, checksum = self.bio, crc32(self.chunk.bio.getbuffer())
        self.bio = block = _Block(file.tell())
        try:
            super().close_chunk()
        finally:
            self.bio = file
        content = block.getbuffer()
        content[CHUNK_CRC_OFFSET : CHUNK_CRC_OFFSET + 4] = checksum.to_bytes(4, "little")
        file.write(content)
        file.flush()  # a full disk shows now, not when the episode is over

    def write(self, connection: Connection, timestamp: int, data: bytes | memoryview) -> None:
        super().write(connection, timestamp, data)
        if self.chunk.bio.tell() > CHUNK_BYTES:
            self.close_chunk()

    def sync(self) -> None:
        """Brings every message written so far to the disk."""
        if self.chunk.msgs:
            self.close_chunk()
        os.fsync(self.bio.fileno())


class CheckedWriter(Writer):
    """A rosbag2 writer for one checked MCAP file, which is not compressed."""

    STORAGE_PLUGINS = {StoragePlugin.MCAP: CheckedStorage}

    def close(self) -> None:
        """Closes the file and writes metadata.yaml."""
        about = information(
            self.storage.path.name,
            self.connections,
            self.counts,
            self.min_timestamp,
            self.max_timestamp,
            self.custom_data,
        )
        self.storage.close(self.version, as_yaml(about))
        self.storage = None
        partial = self.metapath.with_suffix(".yaml.tmp")
        partial.write_text(as_yaml({"rosbag2_bagfile_information": about}), "utf8")
        partial.replace(self.metapath)
