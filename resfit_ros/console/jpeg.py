"""Camera pictures as browsers show them."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resfit_ros.core.images import resized

QUALITY = 75
LARGEST_SIDE = 640  # pixels; a phone shows no more beside the buttons


def as_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A JPEG of rgb8 (height, width, 3), made smaller where it is larger than a phone needs."""
    height, width = pixels.shape[:2]
    shrink = max(1, -(-max(height, width) // LARGEST_SIDE))
    if shrink > 1:
        # By whole blocks, which is fast; the few pixels at the edge that make no block are left out.
        pixels = resized(
            pixels[: height - height % shrink, : width - width % shrink], width // shrink, height // shrink
        )
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
