"""Cameras whose pictures are decoded only when an observation is made of them."""

from collections.abc import Iterator, Mapping

import numpy as np

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.parameter_groups import RAW, CameraParameters
from resfit_ros.pictures.cdr import RawCompressedImage, RawImage, read_compressed_image, read_image
from resfit_ros.pictures.images import PictureOptions, rgb8, rgb8_of_file

IMAGE = "image"  # key of a picture in a source's value
COMPARED_FIRST = 4096  # [bytes] noise of a real camera shows in so many


class Camera:
    """One camera: its newest message, what is done to its pictures, and the size they must keep."""

    def __init__(self, transport: str, options: PictureOptions) -> None:
        self.size: tuple[int, int] | None = None  # columns, rows of its first picture [px]
        self._is_raw = transport == RAW
        self._options = options
        self._data = memoryview(b"")
        # A compressed picture shows only when it is decoded whether it is one; a doubt makes us look at once.
        self._doubted = True

    def take(self, raw: bytes, eagerly: bool = False) -> tuple["Picture", bool]:
        """The picture of a serialised message, and whether it equals the one before to the last bit.

        Raises ShapeError where there is no picture in it, or one of another size.
        """
        message = read_image(raw) if self._is_raw else read_compressed_image(raw)
        picture = Picture(self, message)
        if self._is_raw:
            self._doubted |= (message.width, message.height) != self.size
        if eagerly or self._doubted:
            picture.pixels()
        same = _equal(self._data, message.data)
        self._data = message.data
        return picture, same

    def decode(self, message: RawImage | RawCompressedImage) -> np.ndarray:
        """uint8 (height, width, 3), resized; raises ShapeError where that fails."""
        self._doubted = True
        if isinstance(message, RawImage):
            size = message.width, message.height
            self._check_size(*size)
            pixels = rgb8(message, self._options)
        else:
            pixels, size = rgb8_of_file(message.data, message.format, self._options)
            self._check_size(*size)
        self.size = size
        self._doubted = False
        return pixels

    def _check_size(self, width: int, height: int) -> None:
        if self.size not in (None, (width, height)):
            was = f"{self.size[0]} x {self.size[1]}"
            raise ShapeError(
                f"pictures are {width} x {height} px now, but were {was}; set the camera back, or restart the "
                "aggregator if that is meant"
            )


def _equal(a: memoryview, b: memoryview) -> bool:
    # Comparing memoryviews goes item by item; of bytes it is one call.
    first = slice(COMPARED_FIRST)
    return len(a) == len(b) and bytes(a[first]) == bytes(b[first]) and bytes(a) == bytes(b)


class Picture(Mapping[str, np.ndarray]):
    """The value {"image": uint8 (height, width, 3)} of one message, decoded when it is asked for."""

    def __init__(self, camera: Camera, message: RawImage | RawCompressedImage) -> None:
        self.stamp_ns = message.stamp_ns
        self._camera, self._message = camera, message
        self._pixels: np.ndarray | None = None

    def pixels(self) -> np.ndarray:
        """Raises ShapeError where it cannot be decoded."""
        if self._pixels is None:
            self._pixels = self._camera.decode(self._message)
        return self._pixels

    def __getitem__(self, key: str) -> np.ndarray:
        if key != IMAGE:
            raise KeyError(key)
        return self.pixels()

    def __iter__(self) -> Iterator[str]:
        return iter((IMAGE,))

    def __len__(self) -> int:
        return 1


def cameras_of(p: CameraParameters) -> dict[str, Camera]:
    """Every camera of a node's parameters, by name."""
    near, far = p.depth_range_m
    return {
        name: Camera(transport, PictureOptions(p.image_width, p.image_height, p.crops[name], (near, far)))
        for name, transport in p.transports.items()
    }
