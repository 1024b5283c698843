"""Frames of an episode side by side, at even steps."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FRAMES = 8
GAP = 6  # between two frames [px]


def even_steps(rows: int, frames: int = FRAMES) -> list[int]:
    """Up to `frames` different rows out of `rows`, the first and the last among them, evenly spaced."""
    return sorted(set(np.linspace(0, rows - 1, min(frames, rows)).round().astype(int).tolist()))


def film_strip(
    images: NDArray[np.uint8], steps: Sequence[int], width: int, frames: int = FRAMES
) -> NDArray[np.uint8]:
    """A row of the images (N, H, W, 3) at `steps`, uint8 (h, width, 3), white where none is left.

    Each has 1 / `frames` of the width; small images are enlarged.
    """
    from PIL import Image

    size = (width - (frames - 1) * GAP) // frames
    height = max(1, round(size * images.shape[1] / images.shape[2]))
    strip = np.full((height, width, 3), 255, np.uint8)
    for place, step in enumerate(steps):
        left = place * (size + GAP)
        picture = Image.fromarray(images[step]).resize((size, height), Image.Resampling.BICUBIC)
        strip[:, left : left + size] = np.asarray(picture)
    return strip
