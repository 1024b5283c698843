"""A policy that does not fit the robot is refused when it is loaded, and what does not fit is named."""

import dataclasses

import pytest

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.policies.protocol import Camera, PolicySpec, Robot, check_fits, check_state, close_policy

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
        ({"horizon": 8}, r"execute_steps \+ prefetch_steps is 16, longer than the chunks.*\(8\)"),
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
