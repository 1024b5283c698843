"""Camera messages to resized rgb8 arrays."""

import numpy as np
from sensor_msgs.msg import Image

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.images import resized

CHANNEL_ORDER = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)}


def resized_rgb8(message: Image, width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3), by area averaging where the size is a whole multiple, else nearest.

    Raises ShapeError on an encoding that is not known or data of the wrong size.
    """
    order = CHANNEL_ORDER.get(message.encoding)
    if order is None:
        known = ", ".join(CHANNEL_ORDER)
        raise ShapeError(f"encoding '{message.encoding}' is not supported; use one of {known}")
    channels = len(message.encoding.removesuffix("8"))
    data = np.frombuffer(message.data, np.uint8)
    if len(data) != message.height * message.step or message.step < message.width * channels:
        raise ShapeError(f"image data has {len(data)} bytes, expected height x step")
    rows = data.reshape(message.height, message.step)[:, : message.width * channels]
    pixels = rows.reshape(message.height, message.width, channels)[:, :, order]
    return resized(pixels, width, height)
