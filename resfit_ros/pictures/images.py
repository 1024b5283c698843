"""Camera messages to resized rgb8 arrays.

OpenCV is used where it is needed (Bayer patterns, compressed pictures), Pillow where there is no OpenCV.
"""

import io
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.images import cropped, resized

RGB = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0), "8UC3": (2, 1, 0)}
# OpenCV names a pattern by the second row, from its second column on.
BAYER = {"bayer_rggb8": "BG", "bayer_bggr8": "RG", "bayer_gbrg8": "GR", "bayer_grbg8": "GB"}
GREY = {"mono8": "u1", "8UC1": "u1", "mono16": "u2"}
DEPTH = {"16UC1": "u2", "32FC1": "f4"}
ENCODINGS = (*RGB, *GREY, *DEPTH, *BAYER)
DEPTH_UNIT_M = {"u": 1e-3, "f": 1.0}  # REP 118
WHOLE = (0, 0, 0, 0)


class ImageLike(Protocol):
    """sensor_msgs/Image, or what was read of one."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: bytes


@dataclass(frozen=True)
class PictureOptions:
    """What is made of a camera's pictures."""

    width: int
    height: int
    crop: tuple[int, int, int, int] = WHOLE  # x, y, width, height; width and height 0: all
    depth_range_m: tuple[float, float] = (0.0, 2.0)

    def finish(self, pixels: np.ndarray, order: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
        """uint8 (height, width, 3) from (rows, columns, C); order: channels that become red, green, blue."""
        small = resized(cropped(pixels, self.crop), self.width, self.height)
        return np.ascontiguousarray(small[:, :, order])

    def depth(self, distances: np.ndarray) -> np.ndarray:
        """uint8 (rows, columns, 1) from [m] or whole [mm]; no reading (0, NaN) becomes 0."""
        near, far = self.depth_range_m
        unit = DEPTH_UNIT_M[distances.dtype.kind]
        scaled = (distances.astype(np.float32) * np.float32(unit) - np.float32(near)) * np.float32(255 / (far - near))
        return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)[:, :, None]


def resized_rgb8(message: ImageLike, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3) of a whole picture; see `rgb8`."""
    return rgb8(message, PictureOptions(width, height))


def rgb8(message: ImageLike, options: PictureOptions) -> np.ndarray:
    """uint8 (height, width, 3), cropped and resized; depth and grey are repeated over the channels.

    Raises ShapeError on an encoding that is not known, data of the wrong size or a crop over the edge.
    """
    encoding = message.encoding
    if encoding in RGB:
        channels = 3 if encoding == "8UC3" else len(encoding) - 1
        return options.finish(_pixels(message, "u1", channels), RGB[encoding])
    if encoding in GREY:
        grey = _pixels(message, GREY[encoding], 1)
        return options.finish(_upper_byte(grey) if grey.dtype.itemsize == 2 else grey, (0, 0, 0))
    if encoding in DEPTH:
        distances = _pixels(message, DEPTH[encoding], 1)[:, :, 0]
        return options.finish(options.depth(distances), (0, 0, 0))
    if encoding in BAYER:
        return options.finish(_demosaiced(_pixels(message, "u1", 1)[:, :, 0], encoding))
    raise ShapeError(f"encoding '{encoding}' is not supported; use one of {', '.join(ENCODINGS)}")


def _pixels(message: ImageLike, kind: str, channels: int) -> np.ndarray:
    """(rows, columns, channels) as sent, without padding, sharing the message's memory."""
    dtype = np.dtype((">" if message.is_bigendian else "<") + kind)
    data = np.frombuffer(message.data, np.uint8)
    used = message.width * channels * dtype.itemsize
    if not used or not message.height or len(data) != message.height * message.step or message.step < used:
        raise ShapeError(
            f"image data has {len(data)} bytes for {message.width} x {message.height} px {message.encoding}, expected "
            f"height x step = {message.height} x {message.step}, with a step of at least {used}"
        )
    rows = data.reshape(message.height, message.step)[:, :used]
    return rows.view(dtype).reshape(message.height, message.width, channels)


def _upper_byte(grey: np.ndarray) -> np.ndarray:
    return (grey >> 8).astype(np.uint8)


def _demosaiced(mosaic: np.ndarray, encoding: str) -> np.ndarray:
    try:
        import cv2
    except ImportError:
        raise ShapeError(
            f"encoding '{encoding}' needs OpenCV; install it (sudo apt install python3-opencv, or pip install "
            "opencv-python-headless), or have the driver publish rgb8"
        ) from None
    if min(mosaic.shape) < 4:
        raise ShapeError(f"a picture of {mosaic.shape[1]} x {mosaic.shape[0]} px is too small for '{encoding}'")
    return cv2.cvtColor(np.ascontiguousarray(mosaic), getattr(cv2, f"COLOR_Bayer{BAYER[encoding]}2RGB"))


def rgb8_of_file(data: bytes, format_: str, options: PictureOptions) -> tuple[np.ndarray, tuple[int, int]]:
    """A CompressedImage's picture as uint8 (height, width, 3), and its size (columns, rows) as sent.

    format_: "ENCODING; CODEC ...", or a codec alone; a 16-bit picture is depth unless ENCODING is mono16.
    Raises ShapeError where it cannot be decoded.
    """
    pixels, order = _decoded(data)
    if pixels is None:
        raise ShapeError(f"compressed picture ('{format_}', {len(data)} bytes) cannot be decoded")
    size = pixels.shape[1], pixels.shape[0]
    if pixels.dtype == np.uint16 and pixels.ndim == 2:
        is_grey = format_.partition(";")[0].strip() == "mono16"
        grey = _upper_byte(pixels)[:, :, None] if is_grey else options.depth(pixels)
        return options.finish(grey, (0, 0, 0)), size
    if pixels.dtype != np.uint8:
        raise ShapeError(f"compressed picture ('{format_}') holds {pixels.dtype}, expected 8 bits per channel")
    if pixels.ndim == 2:
        return options.finish(pixels[:, :, None], (0, 0, 0)), size
    return options.finish(pixels, order), size


def _decoded(data: bytes) -> tuple[np.ndarray | None, tuple[int, ...]]:
    """(rows, columns) or (rows, columns, 3 or 4), None where it is no picture; and where red, green, blue are."""
    try:
        import cv2
    except ImportError:
        return _decoded_by_pillow(data), RGB["rgb8"]
    buffer = np.frombuffer(data, np.uint8)
    try:
        pixels = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED) if len(buffer) else None
    except cv2.error:
        pixels = None
    return pixels, RGB["bgr8"]


def _decoded_by_pillow(data: bytes) -> np.ndarray | None:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ShapeError(
            "compressed pictures need OpenCV or Pillow; install one (sudo apt install python3-opencv, or pip "
            "install pillow)"
        ) from None
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode in ("I;16", "I;16B", "I"):
            return np.asarray(picture).astype(np.uint16)
        return np.asarray(picture if picture.mode == "L" else picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
