"""Pictures as PNG bytes and back, and to the size of the robot's cameras."""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import DataError
from resfit_ros.data.formats.libraries import library


def png(picture: NDArray[np.uint8]) -> bytes:
    """A picture (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    library("PIL.Image").fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


def decoded(data: bytes) -> NDArray[np.uint8]:
    """Any picture file as uint8 (H, W, 3). Raises DataError where it is none."""
    image = library("PIL.Image")
    try:
        with image.open(io.BytesIO(data)) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise DataError(f"a picture of {len(data)} bytes cannot be decoded ({error})") from None


def resized(pictures: NDArray[np.uint8], size: Sequence[int]) -> NDArray[np.uint8]:
    """Pictures (n, H, W, 3) brought to (width, height) by averaging areas; as they are without a size."""
    if not size or pictures.shape[2:0:-1] == tuple(size):
        return pictures
    image = library("PIL.Image")
    scaled = [
        image.fromarray(p).resize(tuple(size), image.Resampling.BOX) for p in np.ascontiguousarray(pictures)
    ]
    return np.stack([np.asarray(p) for p in scaled])
