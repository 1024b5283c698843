"""A policy that does not fit the robot is refused when it is loaded, and what does not fit is named."""

import dataclasses

import numpy as np
import pytest

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.chunked import ChunkedPolicy
from resfit_ros.policies.protocol import Camera, History, PolicySpec, Robot, check_fits, check_state, close_policy

ROBOT = Robot(
    ("a", "b"), StateLayout(("joint_positions",), 2), (Camera("front", 64, 48), Camera("wrist", 64, 48)), 20.0
)
SPEC = PolicySpec(
    name="act:123",
    action_dim=2,
    horizon=16,
    identity="1",
    state_dim=2,
    joint_names=("a", "b"),
    cameras=(Camera("wrist", 64, 48),),
    control_hz=20.0,
)


def test_when_everything_fits_expect_no_complaint():
    check_fits(SPEC, ROBOT, 16)


def test_when_the_policy_says_nothing_expect_only_the_number_of_joints_checked():
    check_fits(PolicySpec("quiet", 2, 8, "1"), ROBOT, 8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joint_names": ("b", "a")}, "'act:123' was made for other joints.*joint 0 is 'b' there and 'a' here"),
        ({"joint_names": (), "action_dim": 7}, "gives actions of 7 numbers, but joint_names lists 2 joints"),
        ({"cameras": (Camera("top"),)}, r"needs camera 'top', but camera_names offers 'front' \(64 x 48\)"),
        ({"cameras": (Camera("front", 84, 84),)}, r"'front' \(84 x 84\).*give 64 x 48"),
        ({"control_hz": 50.0}, "gives actions at 50 Hz, but control_hz is 20; set control_hz to 50"),
        ({"horizon": 8}, r"execute_steps \+ prefetch_steps \+ blend_steps is 16, longer than the chunks.*\(8\)"),
    ],
)
def test_when_something_does_not_fit_expect_it_named(changes, words):
    with pytest.raises(ConfigError, match=words):
        check_fits(dataclasses.replace(SPEC, **changes), ROBOT, 16)


def test_when_the_robot_has_no_cameras_expect_that_said():
    with pytest.raises(ConfigError, match="camera_names offers none"):
        check_fits(SPEC, dataclasses.replace(ROBOT, cameras=()), 16)


def test_when_the_state_has_another_length_expect_both_lengths():
    with pytest.raises(ConfigError, match="expects a state of 9 numbers, but the configured state layout gives 2"):
        check_state("act:123", 9, 2)


def test_when_a_policy_has_nothing_to_free_expect_no_complaint():
    close_policy(object())


# -- policies that look back ----------------------------------------------------------------------


def seen(step: int, episode_id: int = 1) -> Observation:
    return Observation(0, episode_id, step, np.zeros(2, np.float32))


def steps_before(history: History, step: int, episode_id: int = 1) -> list[int]:
    return [o.step for o in history.before(seen(step, episode_id))]


def test_when_observations_pass_expect_the_newest_before_each():
    history = History(2)
    for step in range(5):
        history.see(seen(step))
    assert steps_before(history, 4) == [2, 3]


def test_when_an_observation_comes_again_expect_it_once():
    history = History(2)
    for step in (0, 1, 1, 1):
        history.see(seen(step))
    assert steps_before(history, 1) == [0]


def test_when_an_episode_begins_expect_nothing_of_the_one_before():
    history = History(3)
    for step in range(3):
        history.see(seen(step))
    history.see(seen(0, episode_id=2))
    assert steps_before(history, 0, episode_id=2) == []


def test_when_a_policy_looks_back_expect_the_steps_right_before_each_inference():
    class Diffusion:
        spec, history = PolicySpec("d", 2, 4, "1"), 1

        def __init__(self) -> None:
            self.recalled: list[list[int]] = []

        def reset(self, episode_id: int) -> None:
            pass

        def recall(self, earlier) -> None:
            self.recalled.append([o.step for o in earlier])

        def infer(self, observation) -> np.ndarray:
            return np.zeros((4, 2), np.float32)

    policy = Diffusion()
    chunked = ChunkedPolicy(policy, Chunking(4))
    chunked.reset(1)
    for step in range(9):
        chunked.action(seen(step))
    assert policy.recalled == [[], [3], [7]]
    policy.recalled.clear()
    chunked.reset(1)  # the same id again, as in evaluations of one episode
    for step in range(9):
        chunked.action(seen(step))
    assert policy.recalled == [[], [3], [7]]
