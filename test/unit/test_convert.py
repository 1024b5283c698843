"""Messages to values and back, and the constants both sides share."""

from array import array

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS")

from resfit_ros import msg  # noqa: E402
from resfit_ros.core.types import (  # noqa: E402
    Action,
    ActionChunk,
    EpisodeEnded,
    EpisodeStarted,
    Executed,
    LearnerPhase,
    Mode,
    Observation,
    Outcome,
    Reason,
    SafetyState,
)
from resfit_ros.ros import convert  # noqa: E402

RNG = np.random.default_rng(0)
STAMP = 1_700_000_000_123_456_789


def vector(count: int = 3) -> np.ndarray:
    return RNG.standard_normal(count).astype(np.float32)


VALUES = [
    (
        Observation(
            STAMP,
            2**40 + 1,
            7,
            vector(5),
            (RNG.integers(0, 256, (4, 6, 3), np.uint8), RNG.integers(0, 256, (2, 2, 3), np.uint8)),
            (0.25, 0.5),
            "aggregator",
        ),
        convert.observation_to_msg,
        convert.observation_from_msg,
    ),
    (
        Observation(0, 1, 0, vector()),
        convert.observation_to_msg,
        convert.observation_from_msg,
    ),
    (
        ActionChunk(STAMP, 3, 8, RNG.standard_normal((4, 3)).astype(np.float32), "bc", 0.125),
        convert.chunk_to_msg,
        convert.chunk_from_msg,
    ),
    (
        Action(STAMP, 3, 8, vector(), vector(), vector(), 0.25, 12, Mode.EXPLORE, "residual"),
        convert.action_to_msg,
        convert.action_from_msg,
    ),
    (
        Executed(
            STAMP,
            3,
            8,
            vector(),
            SafetyState.HOLD,
            Reason.STALE_ACTION | Reason.POSITION_LIMIT,
            True,
            "safety_filter",
        ),
        convert.executed_to_msg,
        convert.executed_from_msg,
    ),
    (EpisodeStarted(STAMP, 4, 17), convert.episode_to_msg, convert.episode_from_msg),
    (
        EpisodeEnded(STAMP, 4, Outcome.SUCCESS, 33, -1, "button"),
        convert.episode_to_msg,
        convert.episode_from_msg,
    ),
]


@pytest.mark.parametrize(
    ("value", "to_msg", "from_msg"), VALUES, ids=[type(value).__name__ for value, *_ in VALUES]
)
def test_when_converted_and_back_expect_equal_values(value, to_msg, from_msg):
    back = from_msg(to_msg(value))
    assert type(back) is type(value)
    for name in type(value).__slots__:
        ours, theirs = getattr(back, name), getattr(value, name)
        assert type(ours) is type(theirs), name
        if name == "images":
            assert len(ours) == len(theirs)
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=name)


@pytest.mark.parametrize(
    ("cls", "message", "prefix"),
    [
        (Mode, msg.Action, "MODE_"),
        (Outcome, msg.Episode, "OUTCOME_"),
        (SafetyState, msg.ExecutedAction, "STATE_"),
        (Reason, msg.ExecutedAction, "REASON_"),
        (LearnerPhase, msg.LearnerStatus, "PHASE_"),
    ],
)
def test_when_compared_expect_enums_and_message_constants_to_agree(cls, message, prefix):
    # Constants are properties of the message's metaclass.
    names = [name for name in dir(type(message)) if name.startswith(prefix)]
    constants = {name.removeprefix(prefix): getattr(message, name) for name in names}
    members = {m.name: int(m) for m in cls if m.name != "NONE" or cls is Outcome}
    assert members == constants
    assert len(members) >= 4


def test_when_read_from_bags_expect_the_same_event_constant():
    from resfit_ros.data.read_bags import EVENT_ENDED

    assert EVENT_ENDED == msg.Episode.EVENT_ENDED


@pytest.mark.parametrize("stamp_ns", [0, 1, 999_999_999, 1_000_000_000, STAMP])
def test_when_stamps_are_converted_and_back_expect_every_nanosecond(stamp_ns):
    assert convert.to_ns(convert.to_time(stamp_ns)) == stamp_ns


def test_when_chunk_sizes_disagree_expect_an_empty_chunk():
    message = convert.chunk_to_msg(ActionChunk(0, 1, 0, np.zeros((4, 3), np.float32)))
    message.horizon = 5
    assert convert.chunk_from_msg(message).actions.shape == (0, 0)


def test_when_floats_are_converted_expect_row_major_order():
    given = convert.floats(np.array([[1, 2], [3, 4]], np.float64).T)
    assert (given.typecode, given.tolist()) == ("f", [1, 3, 2, 4])
    np.testing.assert_array_equal(convert.from_floats(given), np.float32([1, 3, 2, 4]))


def test_when_doubles_are_converted_expect_full_precision():
    given = convert.doubles(np.array([0.1, 1e-300]))
    assert (given.typecode, given.tolist()) == ("d", [0.1, 1e-300])
    assert convert.from_doubles(given).tolist() == [0.1, 1e-300]


def test_when_image_is_converted_expect_an_rgb8_message():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    message = convert.image_to_msg(image[:, ::-1], STAMP, "camera")
    assert (message.height, message.width, message.step, message.encoding) == (2, 4, 12, "rgb8")
    assert message.header.frame_id == "camera"
    assert message.data == array("B", image[:, ::-1].tobytes())
    np.testing.assert_array_equal(convert.rgb8_from_msg(message), image[:, ::-1])
