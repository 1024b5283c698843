"""Files that are no base policy of the robot: each error says what is expected, what is there, what to do."""

import re

import numpy as np
import pytest
import torch
from exported_policies import (
    DEPRECATED,
    FILES,
    FROM_STATE,
    LAYOUT,
    OBSERVATION,
    ROBOT,
    TORCH_KINDS,
    ExportedFiles,
    Odd,
    StatePolicy,
    export_torch,
    load,
)

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.file_policy import FLOAT_CHW, as_chunk
from resfit_ros.policies.protocol import Camera, Robot

pytestmark = DEPRECATED


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return ExportedFiles(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize(("what", "shape"), [("vector", r"\(2,\)"), ("batch of two", r"\(2, 3, 2\)")])
def test_when_the_output_is_no_chunk_expect_its_shape_named(tmp_path, what, shape):
    export_torch("torchscript", tmp_path / "policy.pt", Odd(what), ())
    with pytest.raises(ConfigError, match=rf"policy.pt': it gives actions of shape {shape}, expected \(1, horizon"):
        load("torchscript", tmp_path / "policy.pt", without_cameras=True)


def test_when_the_output_is_a_dictionary_expect_an_error_that_says_so(tmp_path):
    class Dictionary(torch.nn.Module):
        def forward(self, state):
            return {"actions": state}

    export_torch("torchscript", tmp_path / "policy.pt", Dictionary(), ())
    with pytest.raises(ConfigError, match="it gives a dict, expected one tensor of actions"):
        load("torchscript", tmp_path / "policy.pt", without_cameras=True)


def test_when_a_chunk_has_no_rows_expect_an_error():
    with pytest.raises(ConfigError, match=r"actions of shape \(1, 0, 2\)"):
        as_chunk(np.zeros((1, 0, 2)))


ONE_CAMERA = {"cameras": ["front"]}
OFFERS = re.escape("the robot's configuration offers ")
STATE_WORDS, FRONT_WORDS = re.escape("state float32 (1, 4)"), re.escape("front uint8 (1, 8, 10, 3)")
MISFITS = {
    "a camera too many": ({}, f"{OFFERS}{STATE_WORDS}, {FRONT_WORDS}, wrist"),
    "no camera": ({"without_cameras": True}, f"{OFFERS}{STATE_WORDS};"),
    "too small a state": (
        ONE_CAMERA | {"state": ["joint_positions"]},
        rf"{OFFERS}state float32 \(1, 2\), {FRONT_WORDS}",
    ),
    "another layout": (ONE_CAMERA | {"images": FLOAT_CHW}, rf"{OFFERS}{STATE_WORDS}, front float32 \(1, 3, 8, 10\)"),
}


@pytest.mark.parametrize("misfit", MISFITS)
@pytest.mark.parametrize("kind", FILES)
def test_when_inputs_do_not_fit_expect_both_sides_named(files, kind, misfit):
    options, words = MISFITS[misfit]
    with pytest.raises(ConfigError, match=words) as caught:
        load(kind, files(kind), **options)
    expects = {
        "torchscript": "expects state, front;",
        "torch_export": "expects state float32 (1, 4), front uint8 (1, 8, 10, 3);",
        "onnx": "expects state float32 (batch, 4), front uint8 (1, 8, 10, 3);",
    }
    message = str(caught.value)
    assert kind == "torchscript" or "cannot be run" not in message  # seen from what the file declares
    assert expects[kind] in message and FILES[kind] in message and "options state, without_state" in message


def test_when_torchscript_complains_expect_its_reason_without_the_traceback(files):
    with pytest.raises(ConfigError, match="cannot be run: RuntimeError: .*cannot be multiplied") as caught:
        load("torchscript", files("torchscript"), state=["joint_positions"], cameras=["front"])
    assert "Traceback" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", FILES)
def test_when_the_state_has_another_size_at_run_time_expect_the_policy_named(files, kind):
    policy = load(kind, files(kind), cameras=["front"])
    wrong = Observation(0, 1, 0, OBSERVATION.state[:3], OBSERVATION.images)
    with pytest.raises(DataError, match=f"base policy '{policy.spec.name}' failed: "):
        policy.infer(wrong)


@pytest.mark.parametrize("kind", FILES)
def test_when_the_robot_has_other_joints_expect_their_number_named(files, kind):
    robot = Robot(("a", "b", "c"), StateLayout(("joint_positions", "joint_velocities"), 2), ROBOT.cameras)
    with pytest.raises(ConfigError, match="gives actions of 2 numbers, but joint_names lists 3 joints"):
        load(kind, files(kind, None), robot, without_cameras=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"least_horizon": 4}, r"longer than the chunks of base policy 'torchscript:\w+' \(3\)"),
        ({"control_hz": 10.0}, "gives actions at 10 Hz, but control_hz is 20"),
        ({"images": "chw"}, "images must be one of uint8_hwc, float_chw, got 'chw'"),
        ({"image": "float_chw"}, "unknown key 'image'; did you mean 'images'"),
        ({"without_state": True, "state": ["joint_positions"]}, "without_state contradicts state"),
        ({"without_state": True}, "it would see neither state nor cameras"),
        ({"provider": "cpu"}, "unknown key 'provider'"),
    ],
)
def test_when_options_do_not_fit_expect_an_error_that_says_why(files, options, words):
    with pytest.raises(ConfigError, match=words):
        load("torchscript", files("torchscript", None), **({"without_cameras": True} | options))


def test_when_the_size_of_a_camera_is_unknown_expect_the_parameters_named(files):
    robot = Robot(ROBOT.joint_names, LAYOUT, (Camera("front"),))
    with pytest.raises(ConfigError, match="size of camera 'front' unknown; set image_height and image_width"):
        load("torchscript", files("torchscript"), robot)


DAMAGE = {
    "missing": lambda content: None,
    "empty": lambda content: b"",
    "garbage": lambda content: b"garbage" * 100,
    "truncated": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("kind", FILES)
def test_when_a_file_is_damaged_expect_it_named(files, tmp_path, kind, damage):
    content = DAMAGE[damage](files(kind).read_bytes())
    if content is not None:
        (tmp_path / FILES[kind]).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(tmp_path / FILES[kind]))):
        load(kind, tmp_path / FILES[kind], cameras=["front"])


@pytest.mark.parametrize("new_format", [True, False])
@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_when_a_file_is_a_pickled_checkpoint_expect_how_to_export_it(tmp_path, kind, new_format):
    path = tmp_path / FILES[kind]
    torch.save(StatePolicy(FROM_STATE).state_dict(), path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(DataError, match="pickled weights without the program: export it with torch.jit.script/trace"):
        load(kind, path)


@pytest.mark.parametrize(("kind", "other"), [("torchscript", "torch_export"), ("torch_export", "torchscript")])
def test_when_a_file_is_of_the_other_kind_expect_that_kind_named(files, kind, other):
    with pytest.raises(DataError, match=f"give it as {other}:FILE"):
        load(kind, files(other))
