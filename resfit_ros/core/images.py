"""Pictures to the size that policies see, the same on the robot and in the in-process runner."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ShapeError

UInt8 = NDArray[np.uint8]


def cropped(pixels: UInt8, crop: tuple[int, int, int, int]) -> UInt8:
    """The part x, y, width, height [px] of (rows, columns, ...); width and height 0: all of it.

    Raises ShapeError where that reaches over the edge.
    """
    x, y, width, height = crop
    if not width:
        return pixels
    rows, columns = pixels.shape[:2]
    if x + width > columns or y + height > rows:
        raise ShapeError(
            f"the crop {width} x {height} at ({x}, {y}) does not lie in a picture of {columns} x {rows} px"
        )
    return pixels[y : y + height, x : x + width]


def resized(pixels: UInt8, width: int, height: int) -> UInt8:
    """uint8 (height, width, C) from (rows, columns, C), contiguous.

    By area averaging where a side shrinks (rounded down at whole multiples, else to the nearest), by the
    nearest pixel where it grows.
    """
    return np.ascontiguousarray(_resize(pixels, width, height))


def _resize(pixels: UInt8, width: int, height: int) -> UInt8:
    rows, columns = pixels.shape[:2]
    if (rows, columns) == (height, width):
        return pixels
    if rows % height == 0 and columns % width == 0:
        return _block_means(pixels, width, height)
    if rows < height:
        pixels = pixels[np.arange(height) * rows // height]
    if columns < width:
        pixels = pixels[:, np.arange(width) * columns // width]
    if rows <= height and columns <= width:
        return pixels
    averaged = _averaged(pixels, height) if rows > height else pixels.astype(np.float32)
    if columns > width:
        averaged = _averaged(averaged.swapaxes(0, 1), width).swapaxes(0, 1)
    return (averaged + np.float32(0.5)).astype(np.uint8)


def _block_means(pixels: UInt8, width: int, height: int) -> UInt8:
    """Means over whole blocks, rounded down."""
    down, across = pixels.shape[0] // height, pixels.shape[1] // width
    sums = pixels[::down].astype(np.uint32)
    for i in range(1, down):
        sums += pixels[i::down]
    total = sums[:, ::across].copy()
    for i in range(1, across):
        total += sums[:, i::across]
    return (total // (down * across)).astype(np.uint8)


def _averaged(values: np.ndarray, count: int) -> NDArray[np.float32]:
    """(count, ...) float32 from more rows, each weighted by its share of the area."""
    indices, weights = _shares(len(values), count)
    shape = (count,) + (1,) * (values.ndim - 1)
    total = values[indices[0]] * weights[0].reshape(shape)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        total += values[index] * weight.reshape(shape)
    return total


@lru_cache(maxsize=32)
def _shares(length: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Which of `length` inputs lie under each of `count` outputs (K, count), and their shares."""
    edges = np.arange(count + 1) * (length / count)
    first = np.floor(edges[:-1] + 1e-9).astype(np.intp)
    taken = int(np.ceil(length / count)) + 1
    indices = first + np.arange(taken)[:, None]
    overlap = np.minimum(indices + 1, edges[1:]) - np.maximum(indices, edges[:-1])
    weights = np.clip(overlap, 0.0, None)
    return np.minimum(indices, length - 1), (weights / weights.sum(axis=0)).astype(np.float32)
