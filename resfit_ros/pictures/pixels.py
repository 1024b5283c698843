"""Pictures of an observation, rgb8 or JPEG, to pixels: the same ones from a topic and from a bag file."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.parameters import JPEG


def pixels(image: Any) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) of an Image message, rclpy's or rosbags', that is rgb8 or jpeg.

    Raises ShapeError where its data are not what its size and encoding say.
    """
    shape = image.height, image.width, 3
    data = np.frombuffer(image.data, np.uint8)
    if image.encoding == JPEG:
        return _decoded(data, shape)
    if data.size != np.prod(shape):
        raise ShapeError(f"image has {data.size} bytes, expected {np.prod(shape)}")
    return data.reshape(shape)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ShapeError(
            "JPEG pictures need Pillow; install it (sudo apt install python3-pil, or pip install pillow)"
        ) from None
    return Image


def encoded(picture: NDArray[np.uint8], quality: int) -> bytes:
    """JPEG file of an rgb8 picture, uint8 (H, W, 3); quality 1 to 100."""
    file = io.BytesIO()
    # Colours in full resolution: pictures are small, and colours are what tells objects apart.
    _pillow().fromarray(picture).save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def _decoded(data: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    pillow = _pillow()
    try:
        with pillow.open(io.BytesIO(data.tobytes()), formats=("JPEG",)) as picture:
            found = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise ShapeError(f"JPEG picture of {data.size} bytes cannot be decoded ({error})") from None
    if found.shape != shape:
        size = f"{found.shape[1]} x {found.shape[0]} px"
        raise ShapeError(f"JPEG picture is {size}, expected {shape[1]} x {shape[0]}")
    return found
