"""Messages of the openpi websocket protocol: msgpack with NumPy arrays inside, as openpi-client packs them.

An array is a map with the keys b"__ndarray__", b"data", b"dtype" and b"shape"; a NumPy scalar one with
b"__npgeneric__", b"data" and b"dtype". openpi-client itself is not used: it asks for numpy < 2.
"""

from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from resfit_ros.core.errors import DataError

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
PLAIN_KINDS = "biufSU"  # what may cross: no objects, no records
LARGEST_MESSAGE = 64 * 2**20  # bytes


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind not in PLAIN_KINDS:
        raise DataError(f"an array of type {value.dtype} cannot be sent; use numbers")
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return {ARRAY: True, b"data": data.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {SCALAR: True, b"data": value.item(), b"dtype": value.dtype.str}
    raise DataError(f"a value of type {type(value).__name__} cannot be sent")


def _from_plain(value: dict[Any, Any]) -> Any:
    if ARRAY in value:
        kind = _kind(value)
        return np.frombuffer(value[b"data"], dtype=kind).reshape(value[b"shape"])
    if SCALAR in value:
        return _kind(value).type(value[b"data"])
    return value


def _kind(value: dict[Any, Any]) -> np.dtype:
    kind = np.dtype(value[b"dtype"])
    if kind.kind not in PLAIN_KINDS:
        raise ValueError(f"array of type {kind}")
    return kind


def pack(message: Mapping[str, Any]) -> bytes:
    """A message as bytes. Raises DataError on a value that cannot be sent."""
    try:
        return msgpack.packb(message, default=_to_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"the message cannot be packed ({error})") from None


def unpack(data: bytes) -> dict[str, Any]:
    """The inverse of `pack`; arrays are read-only views. Raises DataError on anything but a map."""
    try:
        message = msgpack.unpackb(data, object_hook=_from_plain, strict_map_key=False)
    # np.dtype raises SyntaxError on some texts.
    except (ValueError, TypeError, KeyError, OverflowError, SyntaxError, msgpack.UnpackException) as error:
        raise DataError(f"not a message of the openpi protocol ({type(error).__name__}: {error})") from None
    if not isinstance(message, dict):
        raise DataError(f"not a message of the openpi protocol: a map is expected, got {type(message).__name__}")
    return message


def plain(value: Any) -> Any:
    """Nested message content as plain JSON: arrays become lists, bytes text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
