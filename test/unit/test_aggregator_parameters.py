"""What the aggregator's parameters refuse, and what follows from them."""

import pytest

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import AggregatorParameters


def aggregator(**changes) -> AggregatorParameters:
    return AggregatorParameters(**({"joint_names": ("a", "b"), "camera_names": ("left", "wrist")} | changes))


def test_when_all_kinds_of_blocks_are_listed_expect_their_sizes_and_topics():
    layout = aggregator(state=("joint_efforts", "wrench/tool", "array/hand/3", "tf/base/tool", "pose/box")).layout
    assert layout.size == 2 + 6 + 3 + 7 + 7
    assert layout.slice_of("tf/base/tool") == slice(11, 18)
    assert layout.topics == {"wrench/tool": "tool_wrench", "array/hand/3": "hand_array", "pose/box": "box_pose"}


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("wrench", "'wrench'; use .*wrench/NAME"),
        ("wrench/a/b", "'wrench/a/b'"),
        ("array/hand", "'array/hand'; use .*array/NAME/SIZE"),
        ("array/hand/0", "SIZE must be a whole number from 1 to 10000"),
        ("array/hand/x", "'array/hand/x': SIZE"),
        ("tf/base", "'tf/base'; use .*tf/TARGET/SOURCE"),
        ("tf//tool", "'tf//tool'"),
        ("pose/", "'pose/'"),
    ],
)
def test_when_a_block_is_odd_expect_it_named_and_what_is_allowed(block, said):
    with pytest.raises(ConfigError, match=said):
        aggregator(state=(block,))


def test_when_one_array_has_two_sizes_expect_refusal():
    with pytest.raises(ConfigError, match="hand_array; an array has one size"):
        aggregator(state=("array/hand/2", "array/hand/3"))


@pytest.mark.parametrize("block", ["array/hand/2", "tf/base/tool"])
def test_when_a_block_cannot_wait_for_the_simulation_expect_refusal_in_lockstep(block):
    with pytest.raises(ConfigError, match=f"'{block}' needs timing realtime"):
        aggregator(state=("joint_positions", block), timing="lockstep")


def test_when_one_transport_is_given_expect_it_for_all():
    assert aggregator(camera_transports=("compressed",)).camera_topics == {
        "left": "left/image_raw/compressed",
        "wrist": "wrist/image_raw/compressed",
    }


def test_when_transports_differ_expect_each_its_topic():
    topics = aggregator(camera_transports=("raw", "compressed")).camera_topics
    assert list(topics.values()) == ["left/image_raw", "wrist/image_raw/compressed"]


def test_when_crops_are_given_expect_one_per_camera():
    crops = aggregator(camera_crops=(0, 0, 0, 0, 80, 0, 480, 480)).crops
    assert crops == {"left": (0, 0, 0, 0), "wrist": (80, 0, 480, 480)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"camera_transports": ("raw",) * 3}, "3 entries for 2 cameras"),
        ({"camera_transports": ("theora",)}, "must be one of raw, compressed"),
        ({"camera_crops": (1, 2, 3, 4)}, "4 numbers for 2 cameras"),
        ({"camera_crops": (0, 0, 0, 9, 0, 0, 0, 0)}, "camera 'left': 0 x 9 px"),
        ({"camera_crops": (-1, 0, 0, 0, 0, 0, 0, 0)}, "at least 0"),
        ({"camera_names": ("left", "left")}, "'left' twice"),
        ({"depth_range_m": (2.0, 1.0)}, "near < far"),
        ({"depth_range_m": (2.0,)}, "near, far"),
        ({"source_age_names": ("wirst",), "source_age_limits_s": (1.0,)}, "no source 'wirst'; did you mean 'wrist'"),
        ({"source_age_names": ("wrist",)}, "1 entries, source_age_limits_s 0"),
        ({"source_age_names": ("wrist",), "source_age_limits_s": (0.0,)}, "greater than 0"),
    ],
)
def test_when_a_value_is_odd_expect_it_named(changes, said):
    with pytest.raises(ConfigError, match=said):
        aggregator(**changes)


def test_when_sources_have_limits_of_their_own_expect_the_default_for_the_rest():
    p = aggregator(source_age_names=("joints", "wrist"), source_age_limits_s=(0.05, 1.0))
    assert p.max_ages_ns == {"joints": 50_000_000, "left": 200_000_000, "wrist": 1_000_000_000}
