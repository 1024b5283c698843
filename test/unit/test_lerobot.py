"""Directories saved by LeRobot: what is read of them without LeRobot, and which are refused."""

import re
import sys
from pathlib import Path

import pytest
from lerobot_policies import FILES, ROBOT, SIZE, feature, reference, written

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.schema import markdown_table
from resfit_ros.policies.lerobot import LerobotOptions, described_robot, load
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import Camera
from resfit_ros.policies.reference import PolicyReference, read_description

ROOT = Path(__file__).resolve().parents[2]


def test_when_lerobot_is_not_installed_expect_advice_to_serve_the_policy(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lerobot", None)
    words = "needs the Python package 'lerobot', which is missing: .* serve-policy --lerobot DIR"
    with pytest.raises(ConfigError, match=words):
        load_policy(reference(written(tmp_path)), ROBOT, Chunking(1))


def test_when_a_directory_is_described_expect_its_sizes_and_cameras(tmp_path):
    inputs = {
        "observation.state": feature("STATE", 5),
        "observation.images.top": feature("VISUAL", 3, 480, 640),
        "observation.image": feature("VISUAL", 3, 96, 96),
    }
    robot = described_robot(PolicyReference("lerobot", str(written(tmp_path, input_features=inputs))))
    assert robot.cameras == (Camera("top", 480, 640), Camera("image", 96, 96))
    assert robot.joint_names == ("j0", "j1", "j2")
    assert robot.layout.size == 5
    assert robot.layout.slice_of(robot.layout.blocks[0]) == slice(0, 5)


def test_when_a_policy_sees_no_state_expect_a_robot_without_one(tmp_path):
    inputs = {"observation.images.top": feature("VISUAL", 3, 8, 8)}
    layout = described_robot(PolicyReference("lerobot", str(written(tmp_path, input_features=inputs)))).layout
    assert layout.size == 0 and layout.blocks == ()


@pytest.mark.parametrize(
    ("options", "changes", "words"),
    [
        (
            {"state": []},
            {},
            "feature 'observation.state' has 3 numbers, but is given 6 (joint_positions 3, joint_velocities 3); "
            "choose the blocks it was trained on with 'state'",
        ),
        (
            {},
            {"output_features": {"action": feature("ACTION", 7)}},
            "feature 'action' has 7 numbers, but joint_names lists 3 joints; set joint_names",
        ),
        (
            {},
            {"input_features": {"observation.images.front": feature("VISUAL", 3, 480, 640)}, "state": []},
            "has no feature 'observation.state': it does not see the state; remove 'state'",
        ),
        (
            {"state": []},
            {"input_features": {"observation.images.front": feature("VISUAL", 3, 480, 640)}},
            "feature 'observation.images.front' is a picture of 480 x 640 (height x width), but is given 32 x 40; "
            "set image_height to 480 and image_width to 640",
        ),
        (
            {"state": []},
            {"input_features": {"observation.images.top": feature("VISUAL", 3, *SIZE)}},
            "feature 'observation.images.top' needs a camera 'top', but camera_names offers wrist, front; name the "
            "one to use with cameras: [top=OURS]",
        ),
        ({"cameras": ["frnt=wrist"]}, {}, "has no camera 'frnt' (option cameras); did you mean 'front'?"),
        ({"without_cameras": True}, {}, "sees observation.images.front; remove without_cameras"),
    ],
)
def test_when_robot_and_policy_differ_expect_both_sides_and_what_to_set(tmp_path, options, changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        load(reference(written(tmp_path, **changes), **options), ROBOT)
    assert f"lerobot:{tmp_path}" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"output_features": {}}, DataError, "config.json: not the configuration of a LeRobot policy (KeyError"),
        ({"input_features": [1]}, DataError, "config.json: not the configuration of a LeRobot policy (AttributeError"),
        ({"type": "sac"}, ConfigError, "a policy of type 'sac' gives no chunks of actions"),
        ({"use_peft": True}, ConfigError, "holds an adapter (PEFT) only; merge it"),
        (
            {"input_features": {"observation.environment_state": feature("ENV", 4)}},
            ConfigError,
            "feature 'observation.environment_state' comes from a simulator",
        ),
        (
            {"input_features": {"observation.images.depth": feature("VISUAL", 1, 8, 8)}},
            ConfigError,
            "feature 'observation.images.depth' has shape (1, 8, 8), only pictures (3, height, width)",
        ),
    ],
)
def test_when_a_configuration_cannot_be_used_expect_the_directory_and_the_reason(tmp_path, changes, error, words):
    with pytest.raises(error, match=re.escape(words)) as raised:
        described_robot(PolicyReference("lerobot", str(written(tmp_path, **changes))))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize("missing", FILES)
def test_when_a_file_is_missing_expect_it_named(tmp_path, missing):
    directory = written(tmp_path, tuple(name for name in FILES if name != missing))
    with pytest.raises(DataError, match=f"{missing} is missing; copy the whole directory"):
        load(reference(directory), ROBOT)


def test_when_a_processor_s_values_are_missing_expect_them_named(tmp_path):
    (written(tmp_path) / FILES[1]).write_text('{"steps": [{"state_file": "mean.safetensors"}]}')
    with pytest.raises(DataError, match="mean.safetensors is missing"):
        load(reference(tmp_path), ROBOT)


def test_when_the_directory_is_that_of_the_training_expect_the_one_inside(tmp_path):
    written(tmp_path / "pretrained_model")
    with pytest.raises(DataError, match=f"holds LeRobot's training; give {tmp_path / 'pretrained_model'}"):
        load(reference(tmp_path), ROBOT)


def test_when_the_location_is_a_name_on_a_hub_expect_a_path_asked_for():
    with pytest.raises(DataError, match="lerobot/act_aloha: no such directory; give the path"):
        load(reference(Path("lerobot/act_aloha")), ROBOT)


def test_when_options_are_documented_expect_the_table_of_the_code():
    page = (ROOT / "docs/policies/lerobot.md").read_text()
    written_there = page.split("markdown_table -->\n")[1].split("<!-- end of options -->")[0]
    assert written_there == markdown_table(LerobotOptions)


def test_when_the_example_description_is_read_expect_it_to_be_valid():
    found = read_description(ROOT / "config/policies/lerobot.yaml")
    assert found.kind == "lerobot"
    assert found.options_as(LerobotOptions).cameras == ("top=head_camera", "wrist=hand_camera")
