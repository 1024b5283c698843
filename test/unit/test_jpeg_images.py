"""Pictures as JPEG in bags: smaller, nearly the same, and read like any others."""

import numpy as np
import pytest
from builders import episode_messages
from serialised import image, serialise

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import Observation
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.interfaces import type_name, typestore
from resfit_ros.core.parameters import JPEG
from resfit_ros.data.jpeg_images import with_jpeg
from resfit_ros.data.read_bags import read_messages
from resfit_ros.pictures.pixels import pixels

HEIGHT, WIDTH = 40, 60


def picture() -> np.ndarray:
    """Smooth, with a red block in it."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    found = np.stack([x * 3, y * 5, x + y], axis=-1).astype(np.uint8)
    found[10:20, 15:30] = 200, 30, 30
    return found


def observation(*pictures: np.ndarray) -> Observation:
    return Observation(7, 3, 2, np.arange(5, dtype=np.float32), pictures, (0.01,), "/resfit/aggregator")


def message(raw: bytes):
    return typestore().deserialize_cdr(raw, type_name("Observation"))


def test_when_encoded_expect_a_smaller_message_with_nearly_the_same_pixels():
    raw = serialise(observation(picture(), picture()))[1]
    small = with_jpeg(raw, 95)
    assert len(small) < len(raw) / 2
    for found in message(small).images:
        assert (found.encoding, found.height, found.width, found.step) == (JPEG, HEIGHT, WIDTH, 0)
        off = np.abs(pixels(found).astype(int) - picture())
        assert off.mean() < 2.0


def test_when_quality_is_lower_expect_fewer_bytes():
    raw = serialise(observation(picture()))[1]
    assert len(with_jpeg(raw, 30)) < len(with_jpeg(raw, 90)) < len(with_jpeg(raw, 100))


def test_when_encoded_expect_all_else_unchanged():
    raw = serialise(observation(picture()), "base_link")[1]
    before, after = message(raw), message(with_jpeg(raw, 90))
    for name in ("header", "episode_id", "step", "source_id"):
        assert getattr(after, name) == getattr(before, name)
    np.testing.assert_array_equal(after.state, before.state)
    np.testing.assert_array_equal(after.source_ages_s, before.source_ages_s)


def test_when_encoded_already_expect_the_same_bytes():
    once = with_jpeg(serialise(observation(picture()))[1], 60)
    assert with_jpeg(once, 10) == once


def test_when_there_are_no_pictures_expect_the_message_as_it_was():
    raw = serialise(observation())[1]
    assert with_jpeg(raw, 90) == raw


def test_when_decoded_twice_expect_the_same_bits():
    (encoded,) = message(with_jpeg(serialise(observation(picture()))[1], 90)).images
    np.testing.assert_array_equal(pixels(encoded), pixels(encoded))


def test_when_a_jpeg_bag_is_read_expect_its_pixels(tmp_path):
    bag = EpisodeBag(tmp_path, 1, "/resfit")
    values = episode_messages(np.random.default_rng(0), 2, image_shape=(16, 24, 3))
    expected = []
    for number, value in enumerate(values):
        topic, raw = serialise(value)
        if isinstance(value, Observation):
            raw = with_jpeg(raw, 95)
            expected += [pixels(i) for i in message(raw).images]
        bag.write(topic, number, raw)
    read = [o for o in read_messages(bag.close({"outcome": "success"})) if isinstance(o, Observation)]
    assert len(read) == len(expected) == 3
    for found, wanted in zip(read, expected, strict=True):
        np.testing.assert_array_equal(found.images[0], wanted)


def test_when_a_jpeg_message_is_heard_expect_the_pixels_of_the_bag():
    serialization = pytest.importorskip("rclpy.serialization")
    messages = pytest.importorskip("resfit_ros.msg")
    from resfit_ros.ros.convert import observation_from_msg

    raw = with_jpeg(serialise(observation(picture()))[1], 90)
    heard = observation_from_msg(serialization.deserialize_message(raw, messages.Observation))
    np.testing.assert_array_equal(heard.images[0], pixels(message(raw).images[0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": np.zeros(50, np.uint8)}, "50 bytes cannot be decoded"),
        ({"height": 41}, "60 x 40 px, expected 60 x 41"),
        ({"encoding": "rgb8"}, "bytes, expected 7200"),
    ],
)
def test_when_data_are_not_what_they_say_expect_it_named(change, words):
    (encoded,) = message(with_jpeg(serialise(observation(picture()))[1], 90)).images
    for name, value in change.items():
        setattr(encoded, name, value)
    with pytest.raises(ShapeError, match=words):
        pixels(encoded)


def test_when_rgb8_expect_the_memory_of_the_message():
    made = image(picture())
    assert np.shares_memory(pixels(made), made.data)
