"""Camera messages to resized rgb8 arrays."""

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from sensor_msgs.msg import Image  # noqa: E402

from resfit_ros.core.errors import ShapeError  # noqa: E402
from resfit_ros.ros.images import resized_rgb8  # noqa: E402


def message(pixels: np.ndarray, encoding: str = "rgb8", padding: int = 0) -> Image:
    """`padding`: unused bytes at the end of each row."""
    rows, columns, channels = pixels.shape
    padded = np.pad(pixels.reshape(rows, -1), ((0, 0), (0, padding)), constant_values=255)
    return Image(
        height=rows,
        width=columns,
        encoding=encoding,
        step=columns * channels + padding,
        data=array("B", padded.tobytes()),
    )


def noise(rows: int, columns: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, columns, channels), np.uint8)


@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "012"), ("bgr8", "210"), ("rgba8", "012"), ("bgra8", "210")]
)
def test_when_encoding_differs_expect_red_green_blue(encoding, order):
    pixels = noise(4, 6, len(encoding) - 1)
    given = resized_rgb8(message(pixels, encoding), 6, 4)
    np.testing.assert_array_equal(given, pixels[:, :, [int(i) for i in order]])


def test_when_rows_are_padded_expect_the_padding_left_out():
    pixels = noise(4, 5)
    np.testing.assert_array_equal(resized_rgb8(message(pixels, padding=3), 5, 4), pixels)


def test_when_size_is_a_whole_multiple_expect_block_averages():
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2, :2] = [[[10] * 3, [20] * 3], [[30] * 3, [40] * 3]]
    given = resized_rgb8(message(pixels), 2, 2)
    assert given[:, :, 0].tolist() == [[25, 0], [0, 0]]


@pytest.mark.parametrize(("width", "height"), [(7, 5), (3, 4), (12, 10)])
def test_when_size_is_no_whole_multiple_expect_pixels_of_the_original(width, height):
    pixels = noise(8, 10)
    given = resized_rgb8(message(pixels), width, height)
    assert (given.shape, given.dtype) == ((height, width, 3), np.uint8)
    colours = {tuple(p) for p in pixels.reshape(-1, 3)}
    assert {tuple(p) for p in given.reshape(-1, 3)} <= colours
    np.testing.assert_array_equal(given[0, 0], pixels[0, 0])


def test_when_encoding_is_unknown_expect_the_known_ones_named():
    with pytest.raises(ShapeError, match="'mono8' is not supported; use one of rgb8, bgr8"):
        resized_rgb8(message(noise(2, 2, 1), "mono8"), 2, 2)


@pytest.mark.parametrize("change", [{"height": 5}, {"width": 9}, {"step": 3}])
def test_when_data_has_the_wrong_size_expect_refusal(change):
    wrong = message(noise(4, 6))
    for name, value in change.items():
        setattr(wrong, name, value)
    with pytest.raises(ShapeError, match="bytes"):
        resized_rgb8(wrong, 6, 4)
