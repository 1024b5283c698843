"""What a policy from elsewhere is shown of an observation."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.inputs import InputOptions, PolicyInputs
from resfit_ros.policies.protocol import Camera, Robot

BLOCKS = ("joint_positions", "joint_velocities", "pose/box")
LAYOUT = StateLayout(BLOCKS, 2)
CAMERAS = (Camera("front", 4, 6), Camera("wrist", 8, 10))
ROBOT = Robot(("shoulder", "elbow"), LAYOUT, CAMERAS)
OBSERVATION = Observation(
    0,
    1,
    0,
    np.arange(LAYOUT.size, dtype=np.float32),
    (np.full((4, 6, 3), 1, np.uint8), np.full((8, 10, 3), 2, np.uint8)),
)


def picked(robot: Robot = ROBOT, **options) -> PolicyInputs:
    return PolicyInputs(InputOptions(**options), robot, "lift.yaml")


def test_when_nothing_is_chosen_expect_whole_state_and_all_cameras():
    inputs = picked()
    np.testing.assert_array_equal(inputs.state(OBSERVATION), np.arange(11))
    assert inputs.state_dim == 11
    assert inputs.camera_names == ("front", "wrist")
    assert {name: int(image.max()) for name, image in inputs.images(OBSERVATION).items()} == {"front": 1, "wrist": 2}


def test_when_blocks_are_listed_in_another_order_expect_the_policy_s_order():
    inputs = picked(state=("pose/box", "joint_positions"))
    np.testing.assert_array_equal(inputs.state(OBSERVATION), [4, 5, 6, 7, 8, 9, 10, 0, 1])
    assert inputs.state_dim == 9


@given(st.permutations(BLOCKS).flatmap(lambda order: st.integers(1, 3).map(lambda n: tuple(order[:n]))))
def test_when_any_blocks_are_chosen_expect_each_at_its_place(blocks):
    state = picked(state=blocks).state(OBSERVATION)
    expected = [OBSERVATION.state[LAYOUT.slice_of(block)] for block in blocks]
    np.testing.assert_array_equal(state, np.concatenate(expected))
    assert state.dtype == np.float32


def test_when_the_state_is_picked_expect_a_copy():
    picked(state=("joint_positions",)).state(OBSERVATION)[:] = 99
    assert OBSERVATION.state[0] == 0


def test_when_the_robot_has_no_state_expect_an_empty_one():
    robot = Robot(("shoulder",), StateLayout((), 1), CAMERAS)
    state = picked(robot).state(OBSERVATION)
    assert state.shape == (0,) and state.dtype == np.float32


def test_when_a_camera_is_renamed_expect_its_pictures_under_the_policy_s_name():
    inputs = picked(cameras=("observation.image=wrist", "front"))
    assert inputs.camera_names == ("observation.image", "front")
    assert inputs.images(OBSERVATION)["observation.image"].shape == (8, 10, 3)
    assert inputs.cameras(ROBOT) == (CAMERAS[1], CAMERAS[0])
    assert inputs.size("observation.image", ROBOT) == (8, 10)


def test_when_one_camera_serves_two_inputs_expect_both():
    images = picked(cameras=("left=front", "right=front")).images(OBSERVATION)
    assert images["left"] is images["right"]


def test_when_there_are_spaces_around_a_name_expect_them_ignored():
    assert picked(cameras=("image = wrist",)).camera_names == ("image",)


def test_when_the_policy_is_without_cameras_expect_none():
    inputs = picked(without_cameras=True)
    assert inputs.camera_names == () and inputs.images(OBSERVATION) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"state": ("joint_position",)}, "lift.yaml: state block 'joint_position' .* did you mean 'joint_positions'?"),
        ({"cameras": ("wirst",)}, "lift.yaml: camera 'wirst' .* did you mean 'wrist'?"),
        ({"cameras": ("image=left",)}, "camera 'left' is not among the robot's; known: front, wrist"),
        ({"cameras": ("=front",)}, "camera '=front' has no name"),
        ({"cameras": ("image=front", "image=wrist")}, "camera 'image' is listed twice"),
        ({"cameras": ("front",), "without_cameras": True}, "without_cameras contradicts cameras"),
        ({"control_hz": -1.0}, "control_hz must be at least 0, got -1.0"),
    ],
)
def test_when_options_do_not_fit_expect_an_error_that_names_them(options, words):
    with pytest.raises(ConfigError, match=words.replace("?", re.escape("?"))):
        picked(**options)


def test_when_the_robot_has_no_cameras_expect_the_parameter_named():
    with pytest.raises(ConfigError, match="camera 'front' .* the robot has no camera_names; set them"):
        picked(Robot(("shoulder", "elbow"), LAYOUT), cameras=("front",))
