"""Pictures to the size that policies see, the same on the robot and in the in-process runner."""

import numpy as np
from numpy.typing import NDArray

UInt8 = NDArray[np.uint8]


def resized(pixels: UInt8, width: int, height: int) -> UInt8:
    """uint8 (height, width, C) from (rows, columns, C), contiguous.

    By area averaging where the size is a whole multiple, else by the nearest pixel.
    """
    return np.ascontiguousarray(_resize(pixels, width, height))


def _resize(pixels: UInt8, width: int, height: int) -> UInt8:
    rows, columns, channels = pixels.shape
    if (rows, columns) == (height, width):
        return pixels
    if rows % height == 0 and columns % width == 0:
        blocks = pixels.reshape(height, rows // height, width, columns // width, channels)
        return blocks.mean(axis=(1, 3)).astype(np.uint8)
    at_row = np.arange(height) * rows // height
    at_column = np.arange(width) * columns // width
    return pixels[at_row][:, at_column]
