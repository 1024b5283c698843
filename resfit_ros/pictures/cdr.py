"""Fields read straight from serialised messages, without unpacking the pictures in them.

Layout: 4 bytes of encapsulation, then the fields in order, each aligned to its size.
"""

import struct
from dataclasses import dataclass

from resfit_ros.core.errors import ShapeError

NANOSECONDS = 1_000_000_000
START = 4  # offsets count from behind the encapsulation


class _Reader:
    def __init__(self, raw: bytes) -> None:
        if len(raw) < START + 12:
            raise ShapeError(f"message of {len(raw)} bytes is cut off")
        self._raw = raw
        self._order = "<" if raw[1] & 1 else ">"
        self._at = START

    def number(self, code: str) -> int:
        size = struct.calcsize(code)
        self._at += -(self._at - START) % size
        try:
            (value,) = struct.unpack_from(self._order + code, self._raw, self._at)
        except struct.error:
            raise ShapeError(f"message of {len(self._raw)} bytes is cut off") from None
        self._at += size
        return value

    def bytes(self) -> memoryview:
        length = self.number("I")
        end = self._at + length
        if end > len(self._raw):
            raise ShapeError(f"message of {len(self._raw)} bytes is cut off")
        view = memoryview(self._raw)[self._at : end]
        self._at = end
        return view

    def text(self) -> str:
        return bytes(self.bytes()).rstrip(b"\0").decode("utf-8", "replace")

    def stamp_ns(self) -> int:
        return self.number("i") * NANOSECONDS + self.number("I")


@dataclass(frozen=True)
class RawImage:
    """sensor_msgs/Image whose `data` shares the serialised message's memory."""

    stamp_ns: int
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True)
class RawCompressedImage:
    """sensor_msgs/CompressedImage, likewise."""

    stamp_ns: int
    format: str
    data: memoryview


def read_image(raw: bytes) -> RawImage:
    """Raises ShapeError where the message is cut off."""
    r = _Reader(raw)
    stamp_ns, _frame_id = r.stamp_ns(), r.text()
    height, width, encoding = r.number("I"), r.number("I"), r.text()
    return RawImage(stamp_ns, height, width, encoding, r.number("B"), r.number("I"), r.bytes())


def read_compressed_image(raw: bytes) -> RawCompressedImage:
    """Raises ShapeError where the message is cut off."""
    r = _Reader(raw)
    stamp_ns, _frame_id = r.stamp_ns(), r.text()
    return RawCompressedImage(stamp_ns, r.text(), r.bytes())
