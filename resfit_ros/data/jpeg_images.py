"""Pictures of an observation as JPEG: smaller bags, at the price of pixels that are not quite those seen.

In a bag such a picture is a sensor_msgs/Image of encoding `jpeg`: height and width as ever, step 0, and the
JPEG file as data.
"""

import numpy as np

from resfit_ros.core.parameters import JPEG, RGB8
from resfit_ros.data.interfaces import type_name, typestore
from resfit_ros.pictures.pixels import encoded, pixels


def with_jpeg(observation: bytes, quality: int) -> bytes:
    """A serialised Observation whose rgb8 pictures are JPEG of that quality (1 to 100).

    What is not rgb8 stays as it is. Raises ShapeError where a picture is not of the size it says.
    """
    types, kind = typestore(), type_name("Observation")
    message = types.deserialize_cdr(observation, kind)
    for image in message.images:
        if image.encoding == RGB8:
            image.data = np.frombuffer(encoded(pixels(image), quality), np.uint8)
            image.encoding, image.step = JPEG, 0
    return bytes(types.serialize_cdr(message, kind))
