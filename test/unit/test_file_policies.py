"""Base policies in TorchScript, torch.export and ONNX files, exported here and loaded as a robot would."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_policies import (
    DEPRECATED,
    FILES,
    FRONT,
    FROM_STATE,
    LAYOUT,
    OBSERVATION,
    ROBOT,
    TORCH_KINDS,
    WRIST,
    A,
    ExportedFiles,
    H,
    Odd,
    S,
    Several,
    expected,
    export,
    export_torch,
    load,
    zeros,
)

from resfit_ros.core.observation import StateLayout
from resfit_ros.core.schema import hints, markdown_table
from resfit_ros.core.types import Observation
from resfit_ros.policies.file_policy import FLOAT_CHW, UINT8_HWC, FileOptions
from resfit_ros.policies.onnx import OnnxOptions
from resfit_ros.policies.protocol import Robot
from resfit_ros.policies.reference import SUFFIXES, parse_reference

pytestmark = DEPRECATED
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return ExportedFiles(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize("layout", [UINT8_HWC, FLOAT_CHW])
@pytest.mark.parametrize("kind", FILES)
def test_when_three_formats_hold_the_same_weights_expect_the_same_chunk(files, kind, layout):
    policy = load(kind, files(kind, layout), cameras=["front"], images=layout)
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", FILES)
def test_when_a_policy_sees_the_state_alone_expect_its_chunk(files, kind):
    policy = load(kind, files(kind, None), without_cameras=True)
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(camera=None), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", FILES)
def test_when_a_camera_is_renamed_expect_the_other_camera_s_pictures(files, kind):
    policy = load(kind, files(kind), cameras=["front=wrist"])
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(camera=1), atol=1e-6, rtol=0)
    assert policy.spec.cameras == (WRIST,)


@pytest.mark.parametrize("kind", FILES)
def test_when_state_blocks_are_listed_expect_them_in_that_order(files, kind):
    policy = load(kind, files(kind, None), without_cameras=True, state=["joint_velocities", "joint_positions"])
    swapped = Observation(0, 1, 0, OBSERVATION.state[[2, 3, 0, 1]])
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(swapped, None), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", FILES)
def test_when_a_file_is_loaded_expect_its_specification(files, kind):
    spec = load(kind, files(kind), cameras=["front"], control_hz=20.0).spec
    assert (spec.action_dim, spec.horizon, spec.state_dim, spec.control_hz) == (A, H, S, 20.0)
    assert spec.cameras == (FRONT,) and spec.name == f"{kind}:{spec.identity[:12]}"
    assert spec.config["kind"] == kind and spec.config["location"] == str(files(kind))
    assert spec.config["options"]["cameras"] == ["front"] and spec.config["options"]["images"] == UINT8_HWC


@pytest.mark.parametrize("kind", FILES)
def test_when_the_next_chunk_is_computed_expect_the_one_before_untouched(files, kind):
    policy = load(kind, files(kind, None), without_cameras=True)
    first = policy.infer(OBSERVATION)
    kept = first.copy()
    policy.infer(Observation(0, 1, 1, np.ones(S, np.float32)))
    np.testing.assert_array_equal(first, kept)
    assert first.dtype == np.float32 and first.flags.owndata and first.flags.writeable


@pytest.mark.parametrize("kind", FILES)
def test_when_pictures_are_read_only_expect_no_complaint(files, kind, recwarn):
    image = OBSERVATION.images[0].copy()
    image.flags.writeable = False  # as they come out of a message
    policy = load(kind, files(kind), cameras=["front"])
    policy.infer(Observation(0, 1, 0, OBSERVATION.state, (image, image)))
    assert [w for w in recwarn if not issubclass(w.category, DeprecationWarning)] == []


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_when_a_program_writes_into_its_input_expect_the_observation_untouched(tmp_path, kind):
    class Greedy(torch.nn.Module):
        def forward(self, state, front):
            front.zero_()
            return state.zero_().sum() + torch.zeros(1, 3, 2)

    export_torch(kind, tmp_path / FILES[kind], Greedy(), zeros(UINT8_HWC))
    policy = load(kind, tmp_path / FILES[kind], cameras=["front"])
    before = OBSERVATION.state.copy(), OBSERVATION.images[0].copy()
    policy.infer(OBSERVATION)
    np.testing.assert_array_equal(OBSERVATION.state, before[0])
    np.testing.assert_array_equal(OBSERVATION.images[0], before[1])


@pytest.mark.parametrize("kind", TORCH_KINDS)
def test_when_a_program_gives_several_outputs_expect_the_first(tmp_path, kind):
    export_torch(kind, tmp_path / FILES[kind], Several(), (torch.zeros(1, S),))
    policy = load(kind, tmp_path / FILES[kind], without_cameras=True)
    np.testing.assert_allclose(policy.infer(OBSERVATION), OBSERVATION.state.sum() + np.ones((H, A)), atol=1e-6)


def test_when_the_state_is_left_out_expect_the_pictures_alone(tmp_path):
    class Colour(torch.nn.Module):
        def forward(self, front):
            return front.to(torch.float32).mean() + torch.zeros(3, 2)

    export_torch("torchscript", tmp_path / "policy.pt", Colour(), ())
    policy = load("torchscript", tmp_path / "policy.pt", without_state=True, cameras=["front"])
    assert policy.spec.state_dim == 0
    np.testing.assert_allclose(policy.infer(OBSERVATION)[0, 0], OBSERVATION.images[0].mean(), rtol=1e-5)


def test_when_zeros_give_nan_expect_the_policy_loaded(tmp_path):
    export_torch("torchscript", tmp_path / "policy.pt", Odd("nan"), ())
    policy = load("torchscript", tmp_path / "policy.pt", without_cameras=True)
    assert policy.spec.horizon == H and np.isnan(policy.infer(OBSERVATION)).all()


@pytest.mark.parametrize("kind", FILES)
def test_when_one_weight_changes_expect_another_identity(files, tmp_path, kind):
    changed = FROM_STATE.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(9))
    path = export(kind, tmp_path / FILES[kind], None, changed)
    assert load(kind, path, without_cameras=True).spec.identity != identity(files, kind)


def identity(files, kind: str, robot: Robot = ROBOT, **options) -> str:
    return load(kind, files(kind, None), robot, without_cameras=True, **options).spec.identity


@pytest.mark.parametrize("kind", FILES)
def test_when_an_option_changes_expect_another_identity(files, kind):
    swapped = identity(files, kind, state=["joint_velocities", "joint_positions"])
    assert len({identity(files, kind), swapped, identity(files, kind, images=FLOAT_CHW)}) == 3


def test_when_the_robot_s_state_is_ordered_otherwise_expect_another_identity(files):
    robot = Robot(ROBOT.joint_names, StateLayout(tuple(reversed(LAYOUT.blocks)), A), ROBOT.cameras)
    assert identity(files, "torchscript", robot) != identity(files, "torchscript")


def test_when_a_file_is_copied_elsewhere_expect_the_same_identity(files, tmp_path):
    (tmp_path / "copy.pt").write_bytes(files("torchscript", None).read_bytes())
    copied = load("torchscript", tmp_path / "copy.pt", without_cameras=True)
    assert copied.spec.identity == identity(files, "torchscript")


def test_when_options_are_documented_expect_the_table_of_the_code():
    page = (ROOT / "docs/policies/files.md").read_text()
    begin = "<!-- options: written by resfit_ros.core.schema.markdown_table -->\n"
    assert page.split(begin)[1].split("<!-- end of options -->")[0] == markdown_table(OnnxOptions)
    assert list(hints(OnnxOptions))[-3:] == [name for name in hints(OnnxOptions) if name not in hints(FileOptions)]


@pytest.mark.parametrize(
    ("name", "options"), [("torchscript", FileOptions), ("torch_export", FileOptions), ("onnx", OnnxOptions)]
)
def test_when_an_example_description_is_read_expect_every_key_known(name, options):
    reference = parse_reference(str(ROOT / "config/policies" / f"{name}.yaml"))
    assert reference.options_as(options).control_hz == 20.0 and SUFFIXES[reference.path.suffix] == name


def test_when_the_documented_commands_are_run_expect_three_policies_of_that_horizon(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="the exporter of PyTorch needs the package onnx")
    pytest.importorskip("onnxruntime", reason="running an ONNX file needs the package onnxruntime")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/policies/files.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    # torch.jit.script reads the source of what it compiles.
    (tmp_path / "documented_export.py").write_text("".join(blocks))
    monkeypatch.syspath_prepend(tmp_path)
    __import__("documented_export")
    printed = capsys.readouterr().out
    assert re.findall(r"^(\w+):\w{12} (\d+) (\d+)$", printed, re.M) == [
        (kind, "16", "2") for kind in ("torch_export", "onnx", "torchscript")
    ]
