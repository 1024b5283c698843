"""Commands of an existing controller over time."""

import numpy as np
import pytest

from resfit_ros.core.command_path import CommandFollower, CommandPath
from resfit_ros.core.errors import ShapeError

S = 1_000_000_000


def path(*points: tuple[float, float]) -> CommandPath:
    """Of one joint: (time [s], position) per point."""
    return CommandPath(np.array([t for t, _ in points]), np.array([[p] for _, p in points]))


def test_when_no_command_has_come_expect_none():
    follower = CommandFollower()
    assert follower.at(0) is None
    assert follower.velocity(0) is None
    assert follower.silent_s(0) == float("inf")


def test_when_a_target_has_no_duration_expect_it_at_once():
    follower = CommandFollower()
    follower.receive(path((0.0, 2.0)), S)
    assert follower.at(S)[0] == 2.0
    assert follower.velocity(S) is None


def test_when_a_trajectory_is_followed_expect_straight_lines_from_point_to_point():
    follower = CommandFollower()
    follower.receive(path((0.0, 1.0)), 0)
    follower.receive(path((1.0, 3.0), (2.0, 2.0)), 10 * S)
    assert [follower.at(round(t * S))[0] for t in (10, 10.5, 11, 11.5, 12, 99)] == [1.0, 2.0, 3.0, 2.5, 2.0, 2.0]
    assert [follower.velocity(round(t * S))[0] for t in (10.5, 11.5, 12)] == [2.0, -1.0, 0.0]


def test_when_a_trajectory_is_replaced_midway_expect_the_next_to_set_out_from_there():
    follower = CommandFollower()
    follower.receive(path((0.0, 0.0)), 0)
    follower.receive(path((2.0, 2.0)), 0)
    follower.receive(path((1.0, 5.0)), S)
    assert follower.at(round(1.5 * S))[0] == 3.0


def test_when_a_trajectory_has_ended_expect_the_silence_since_its_end():
    follower = CommandFollower()
    follower.receive(path((2.0, 2.0)), 0)
    assert follower.silent_s(S) == -1.0
    assert follower.silent_s(5 * S) == 3.0


@pytest.mark.parametrize(
    ("times", "positions", "reason"),
    [
        ([0.0, 1.0], [[1.0]], "do not go with"),
        ([], np.zeros((0, 1)), "do not go with"),
        ([0.0], [[np.nan]], "NaN or Inf"),
        ([np.inf], [[1.0]], "NaN or Inf"),
        ([1.0, 1.0], [[1.0], [2.0]], "must ascend"),
        ([-1.0], [[1.0]], "must ascend"),
    ],
)
def test_when_a_command_makes_no_sense_expect_the_reason(times, positions, reason):
    with pytest.raises(ShapeError, match=reason):
        CommandPath(np.array(times), np.array(positions))
