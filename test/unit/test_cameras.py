"""Pictures read from serialised messages, decoded late, compared with the one before."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from resfit_ros.core.errors import ShapeError  # noqa: E402
from resfit_ros.pictures.cameras import Camera  # noqa: E402
from resfit_ros.pictures.cdr import read_compressed_image, read_image  # noqa: E402
from resfit_ros.ros.convert import image_to_msg  # noqa: E402
from resfit_ros.pictures.images import PictureOptions  # noqa: E402


def noise(rows: int = 8, columns: int = 10, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), np.uint8)


def raw(pixels: np.ndarray, stamp_ns: int = 1) -> bytes:
    return serialize_message(image_to_msg(pixels, stamp_ns, "wrist_optical_frame"))


def jpeg(pixels: np.ndarray) -> bytes:
    cv2 = pytest.importorskip("cv2")
    return serialize_message(CompressedImage(format="jpeg", data=cv2.imencode(".jpg", pixels)[1].tobytes()))


def camera(transport: str = "raw", **options) -> Camera:
    return Camera(transport, PictureOptions(10, 8, **options))


SHORT = dict(max_size=9)


@given(st.text("abc/", **SHORT), st.integers(0, 9), st.integers(0, 9), st.text("abc8", **SHORT), st.binary(**SHORT))
def test_when_an_image_is_serialised_expect_every_field_read_back(frame, height, width, encoding, data):
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=1, step=7, data=data)
    message.header.frame_id, message.header.stamp.sec, message.header.stamp.nanosec = frame, 3, 4
    read = read_image(serialize_message(message))
    assert (read.height, read.width, read.encoding, read.is_bigendian, read.step) == (height, width, encoding, 1, 7)
    assert (read.stamp_ns, bytes(read.data)) == (3_000_000_004, data)


@given(st.text("abc/", max_size=9), st.text("jpeg;", max_size=9), st.binary(max_size=9))
def test_when_a_compressed_image_is_serialised_expect_every_field_read_back(frame, format_, data):
    message = CompressedImage(format=format_, data=data)
    message.header.frame_id = frame
    read = read_compressed_image(serialize_message(message))
    assert (read.stamp_ns, read.format, bytes(read.data)) == (0, format_, data)


def test_when_a_message_is_cut_off_anywhere_expect_refusal():
    whole = raw(noise(2, 3))
    end = len(whole) - 4  # the rest is padding
    for length in range(end):
        with pytest.raises(ShapeError, match="cut off"):
            read_image(whole[:length])


@given(st.binary(max_size=80))
def test_when_a_message_is_any_bytes_expect_a_picture_or_refusal(data):
    for transport in ("raw", "compressed"):
        with pytest.raises(ShapeError):
            camera(transport).take(data)


def test_when_a_picture_is_asked_for_expect_it_decoded_once():
    picture, same = camera().take(raw(noise()))
    assert not same
    np.testing.assert_array_equal(picture["image"], noise())
    assert picture["image"] is picture["image"]


def test_when_the_content_is_repeated_under_a_new_stamp_expect_it_noticed():
    wrist = camera()
    given = [wrist.take(raw(noise(seed=seed), stamp))[1] for stamp, seed in enumerate((0, 0, 1, 0))]
    assert given == [False, True, False, False]


def test_when_only_the_last_byte_differs_expect_another_picture():
    wrist, pixels = camera(), noise(100, 100)
    wrist.take(raw(pixels))
    pixels[-1, -1, -1] ^= 1
    assert not wrist.take(raw(pixels))[1]


@pytest.mark.parametrize(("transport", "send"), [("raw", raw), ("compressed", jpeg)])
def test_when_the_size_changes_expect_refusal_with_both_until_it_is_back(transport, send):
    wrist = camera(transport)
    wrist.take(send(noise()))[0].pixels()
    with pytest.raises(ShapeError, match="12 x 6 px now, but were 10 x 8"):
        wrist.take(send(noise(6, 12)))[0].pixels()
    assert wrist.take(send(noise(seed=1)))[0].pixels().shape == (8, 10, 3)


def test_when_a_picture_proved_bad_expect_the_next_looked_at_on_arrival():
    front = camera("compressed")
    front.take(jpeg(noise()))
    bad = serialize_message(CompressedImage(format="jpeg", data=b"no picture"))
    picture, _ = front.take(bad)  # taken: nobody has looked yet
    with pytest.raises(ShapeError):
        picture.pixels()
    with pytest.raises(ShapeError):
        front.take(bad)
    front.take(jpeg(noise()))
    front.take(bad)


def test_when_the_crop_reaches_over_the_edge_expect_refusal_on_arrival():
    with pytest.raises(ShapeError, match="crop 9 x 9 at \\(5, 0\\)"):
        camera(crop=(5, 0, 9, 9)).take(raw(noise()))
