"""Poses out of the tf tree."""

import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from geometry_msgs.msg import TransformStamped  # noqa: E402

from resfit_ros.core.errors import ConfigError  # noqa: E402
from resfit_ros.ros.convert import header  # noqa: E402
from resfit_ros.ros.frames import Frames, frames_of  # noqa: E402

BLOCK = "tf/base/tool"


class Tree:
    """Answers as tf2_ros.Buffer does."""

    def __init__(self) -> None:
        self.found: TransformStamped | None = None
        self.asked = None

    def lookup_transform(self, target, source, time):
        self.asked = target, source, time.nanoseconds
        if self.found is None:
            raise LookupError(f'"{target}" passed to lookupTransform argument target_frame does not exist')
        return self.found

    def clear(self) -> None:
        self.found = None


def transform(stamp_ns: int, x: float = 0.0) -> TransformStamped:
    message = TransformStamped(header=header(stamp_ns))
    message.transform.translation.x = x
    message.transform.rotation.w = -1.0
    return message


@pytest.fixture
def tree() -> Tree:
    return Tree()


@pytest.fixture
def frames(tree) -> Frames:
    return Frames([BLOCK], tree, LookupError)


def test_when_a_frame_is_known_expect_its_newest_pose_in_the_target(frames, tree):
    tree.found = transform(7, x=0.5)
    ((block, stamp_ns, pose),) = frames.news()
    assert (block, stamp_ns, tree.asked) == (BLOCK, 7, ("base", "tool", 0))
    np.testing.assert_array_equal(pose, [0.5, 0, 0, 0, 0, 0, 1])


def test_when_nothing_moved_on_expect_no_news(frames, tree):
    tree.found = transform(7)
    assert len(list(frames.news())) == 1
    assert list(frames.news()) == []
    tree.found = transform(8)
    assert len(list(frames.news())) == 1


def test_when_a_transform_is_static_expect_it_always_new_and_without_a_stamp(frames, tree):
    tree.found = transform(0)
    assert [stamp for _ in range(3) for _, stamp, _ in frames.news()] == [None] * 3


def test_when_a_frame_is_unknown_expect_no_news_and_what_tf_said(frames):
    assert list(frames.news()) == []
    assert "does not exist" in frames.why[BLOCK]


def test_when_no_block_is_of_tf_expect_nothing_listened_to():
    assert frames_of(SimpleNamespace(), ()) is None


@pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_when_tf2_is_not_installed_expect_one_sentence_with_what_to_do():
    with pytest.raises(ConfigError, match="block 'tf/base/tool' needs tf2_ros.*install it.*or publish the pose"):
        frames_of(SimpleNamespace(), (BLOCK,))


def test_when_a_rotation_is_none_expect_no_news_and_the_reason(frames, tree):
    tree.found = transform(7)
    tree.found.transform.rotation.w = 0.0
    assert list(frames.news()) == []
    assert "length zero" in frames.why[BLOCK]
