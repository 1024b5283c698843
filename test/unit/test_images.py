"""Camera messages to resized rgb8 arrays."""

import sys
from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from sensor_msgs.msg import Image  # noqa: E402

from resfit_ros.core.errors import ShapeError  # noqa: E402
from resfit_ros.pictures.images import PictureOptions, resized_rgb8, rgb8, rgb8_of_file  # noqa: E402


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


@pytest.mark.parametrize(("width", "height"), [(12, 10), (10, 8), (20, 8)])
def test_when_pictures_grow_expect_pixels_of_the_original(width, height):
    pixels = noise(8, 10)
    given = resized_rgb8(message(pixels), width, height)
    assert (given.shape, given.dtype) == ((height, width, 3), np.uint8)
    colours = {tuple(p) for p in pixels.reshape(-1, 3)}
    assert {tuple(p) for p in given.reshape(-1, 3)} <= colours
    np.testing.assert_array_equal(given[0, 0], pixels[0, 0])


def test_when_size_is_no_whole_multiple_expect_each_pixel_weighted_by_its_area():
    pixels = np.array([[[0] * 3, [90] * 3, [240] * 3]], np.uint8)
    given = resized_rgb8(message(pixels), 2, 1)
    # The middle pixel is shared: (0 + 90 / 2) / 1.5 and (90 / 2 + 240) / 1.5.
    assert given[0, :, 0].tolist() == [30, 190]


@pytest.mark.parametrize(("width", "height"), [(7, 5), (84, 84), (3, 90), (99, 1)])
def test_when_shrinking_by_any_factor_expect_what_opencv_gives(width, height):
    cv2 = pytest.importorskip("cv2")
    pixels = noise(91, 100)
    expected = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    given = resized_rgb8(message(pixels), width, height)
    assert np.abs(given.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("rows", "columns", "width", "height"), [(8, 12, 3, 2), (6, 6, 6, 2), (224, 224, 112, 56)])
def test_when_size_is_a_whole_multiple_expect_the_mean_rounded_down_bit_for_bit(rows, columns, width, height):
    pixels = noise(rows, columns)
    blocks = pixels.reshape(height, rows // height, width, columns // width, 3)
    np.testing.assert_array_equal(
        resized_rgb8(message(pixels), width, height), blocks.mean(axis=(1, 3)).astype(np.uint8)
    )


def test_when_encoding_is_unknown_expect_the_known_ones_named():
    with pytest.raises(ShapeError, match="'yuv444' is not supported; use one of rgb8, bgr8"):
        resized_rgb8(message(noise(2, 2, 1), "yuv444"), 2, 2)


# --- grey, depth, Bayer patterns -------------------------------------------------------------------


def of_type(values: np.ndarray, encoding: str, big: bool = False, padding: int = 0) -> Image:
    """`values` (rows, columns) in their own type, in either byte order."""
    ordered = values.astype(values.dtype.newbyteorder(">" if big else "<"))
    sent = message(ordered.view(np.uint8).reshape(*values.shape, -1), encoding, padding)
    sent.is_bigendian = int(big)
    return sent


def test_when_picture_is_grey_expect_three_equal_channels():
    grey = noise(4, 6, 1)
    given = resized_rgb8(message(grey, "mono8"), 6, 4)
    np.testing.assert_array_equal(given, grey.repeat(3, axis=2))


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 5])
def test_when_numbers_have_16_bits_expect_byte_order_and_padding_respected(big, padding):
    values = np.array([[0x0102, 0xFF00], [0x8000, 0x00FF]], np.uint16)
    given = resized_rgb8(of_type(values, "mono16", big, padding), 2, 2)
    assert given[:, :, 1].tolist() == [[1, 255], [128, 0]]


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("encoding", "unit", "kind"), [("16UC1", 1000, np.uint16), ("32FC1", 1, np.float32)]
)
def test_when_picture_is_depth_expect_the_range_spread_over_black_to_white(encoding, unit, kind, big):
    metres = np.array([[0.4, 0.5, 1.0, 1.5, 2.5]])
    options = PictureOptions(5, 1, depth_range_m=(0.5, 1.5))
    given = rgb8(of_type((metres * unit).astype(kind), encoding, big), options)
    assert given[0].tolist() == [[v] * 3 for v in (0, 0, 127, 255, 255)]


def test_when_there_is_no_depth_reading_expect_black_and_infinity_white():
    values = np.array([[np.nan, -np.inf, 0.0, np.inf]], np.float32)
    assert resized_rgb8(of_type(values, "32FC1"), 4, 1)[0, :, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_when_picture_is_a_bayer_pattern_expect_its_colours(pattern):
    pytest.importorskip("cv2")
    colour = {"r": 200, "g": 100, "b": 50}
    cell = np.array([colour[c] for c in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(cell, (4, 4))[:, :, None]
    given = resized_rgb8(message(mosaic, f"bayer_{pattern}8"), 8, 8)
    assert given[4, 4].tolist() == [200, 100, 50]


# --- cropping --------------------------------------------------------------------------------------


def test_when_cropped_expect_that_part_before_resizing():
    pixels = noise(8, 10)
    given = rgb8(message(pixels), PictureOptions(4, 3, crop=(2, 1, 4, 3)))
    np.testing.assert_array_equal(given, pixels[1:4, 2:6])


@pytest.mark.parametrize("crop", [(7, 0, 4, 4), (0, 5, 4, 4), (0, 0, 11, 8)])
def test_when_the_crop_reaches_over_the_edge_expect_both_sizes_named(crop):
    said = f"crop {crop[2]} x {crop[3]} at .* picture of 10 x 8 px"
    with pytest.raises(ShapeError, match=said):
        rgb8(message(noise(8, 10)), PictureOptions(4, 4, crop=crop))


# --- compressed ------------------------------------------------------------------------------------


def encoded(pixels: np.ndarray, end: str = ".png") -> bytes:
    cv2 = pytest.importorskip("cv2")
    return cv2.imencode(end, pixels)[1].tobytes()


def test_when_a_picture_is_compressed_expect_red_green_blue_and_its_size():
    pixels = noise(4, 6)
    given, size = rgb8_of_file(encoded(pixels[:, :, ::-1]), "rgb8; png compressed bgr8", PictureOptions(6, 4))
    np.testing.assert_array_equal(given, pixels)
    assert size == (6, 4)


def test_when_a_compressed_picture_is_a_jpeg_expect_nearly_the_original():
    pixels = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    given, _ = rgb8_of_file(encoded(pixels[:, :, ::-1], ".jpg"), "jpeg", PictureOptions(8, 8))
    assert np.abs(given.astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize(("format_", "expected"), [("16UC1; png compressed", 127), ("mono16; png", 3)])
def test_when_a_compressed_picture_has_16_bits_expect_depth_unless_it_says_grey(format_, expected):
    values = np.full((4, 4), 1000, np.uint16)
    given, _ = rgb8_of_file(encoded(values), format_, PictureOptions(4, 4, depth_range_m=(0.0, 2.0)))
    assert set(given.ravel().tolist()) == {expected}


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 cut off"])
def test_when_compressed_data_is_no_picture_expect_refusal(data):
    with pytest.raises(ShapeError, match="cannot be decoded"):
        rgb8_of_file(data, "jpeg", PictureOptions(4, 4))


@pytest.mark.parametrize(
    "pixels", [noise(4, 6), noise(4, 6)[:, :, 0], noise(4, 6)[:, :, 0].astype(np.uint16)], ids=["rgb", "grey", "depth"]
)
def test_when_there_is_no_opencv_expect_the_same_from_pillow(monkeypatch, pixels):
    pytest.importorskip("PIL")
    data = encoded(pixels)
    with_opencv, _ = rgb8_of_file(data, "", PictureOptions(6, 4))
    monkeypatch.setitem(sys.modules, "cv2", None)
    with_pillow, _ = rgb8_of_file(data, "", PictureOptions(6, 4))
    np.testing.assert_array_equal(with_opencv, with_pillow)


def test_when_nothing_can_decode_expect_what_to_install(monkeypatch):
    data = encoded(noise(4, 6))
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ShapeError, match="need OpenCV or Pillow; install one"):
        rgb8_of_file(data, "", PictureOptions(6, 4))
    with pytest.raises(ShapeError, match="'bayer_rggb8' needs OpenCV; install it"):
        resized_rgb8(message(noise(4, 4, 1), "bayer_rggb8"), 4, 4)


@pytest.mark.parametrize("change", [{"height": 5}, {"width": 9}, {"step": 3}])
def test_when_data_has_the_wrong_size_expect_refusal(change):
    wrong = message(noise(4, 6))
    for name, value in change.items():
        setattr(wrong, name, value)
    with pytest.raises(ShapeError, match="bytes"):
        resized_rgb8(wrong, 6, 4)
