"""What is special about base policies in ONNX files: names, providers, weights that lie apart."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from exported_policies import LAYOUT, OBSERVATION, A, ExportedFiles, H, expected, export_onnx, load
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.policies.onnx import external_files
from resfit_ros.policies.protocol import Robot


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return ExportedFiles(tmp_path_factory.mktemp("files"))


def test_when_onnx_inputs_have_other_names_expect_them_mapped(tmp_path):
    export_onnx(tmp_path / "policy.onnx", None, state="observation.state")
    policy = load("onnx", tmp_path / "policy.onnx", without_cameras=True, state_input="observation.state")
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(camera=None), atol=1e-6, rtol=0)


def test_when_an_onnx_input_has_an_unknown_name_expect_the_file_s_names_listed(tmp_path):
    export_onnx(tmp_path / "policy.onnx", None, state="observation.state")
    with pytest.raises(ConfigError, match=r"expects observation.state float32 \(batch, 4\); .* offers state float32"):
        load("onnx", tmp_path / "policy.onnx", without_cameras=True)


def test_when_an_onnx_output_is_named_expect_that_one(files):
    policy = load("onnx", files("onnx", None), without_cameras=True, output="actions")
    assert policy.spec.horizon == H
    flat = Robot(tuple("abcdef"), LAYOUT)
    assert load("onnx", files("onnx", None), flat, output="flat").spec.action_dim == H * A


def test_when_an_onnx_output_does_not_exist_expect_the_nearest(files):
    with pytest.raises(ConfigError, match="has no output 'action'; did you mean 'actions'"):
        load("onnx", files("onnx", None), without_cameras=True, output="action")


def test_when_state_and_camera_share_an_onnx_name_expect_an_error(files):
    with pytest.raises(ConfigError, match="'front' is the name of the state and of a camera"):
        load("onnx", files("onnx"), state_input="front")


def test_when_a_provider_is_not_there_expect_the_available_ones(files):
    runtime = pytest.importorskip("onnxruntime", reason="running an ONNX file needs the package onnxruntime")
    if "CUDAExecutionProvider" in runtime.get_available_providers():
        pytest.skip("this build of ONNX Runtime has the provider")
    with pytest.raises(ConfigError, match="provider 'cuda' is not in this build .*CPUExecutionProvider"):
        load("onnx", files("onnx", None), without_cameras=True, provider="cuda")


@pytest.fixture
def external(tmp_path):
    """An ONNX file whose weights lie beside it."""
    export_onnx(tmp_path / "policy.onnx", None, external=True)
    return tmp_path / "policy.onnx"


def test_when_onnx_weights_lie_apart_expect_them_found_and_used(external):
    assert external_files(external) == [external.parent / "weights.data"]
    policy = load("onnx", external, without_cameras=True)
    np.testing.assert_allclose(policy.infer(OBSERVATION), expected(camera=None), atol=1e-6, rtol=0)


def test_when_onnx_weights_that_lie_apart_change_expect_another_identity(external):
    before = load("onnx", external, without_cameras=True).spec.identity
    weights = bytearray((external.parent / "weights.data").read_bytes())
    weights[0] ^= 1
    (external.parent / "weights.data").write_bytes(weights)
    assert load("onnx", external, without_cameras=True).spec.identity != before


def test_when_onnx_weights_that_lie_apart_are_missing_expect_their_file_named(external):
    (external.parent / "weights.data").unlink()
    with pytest.raises(DataError, match="weights.data: cannot be read"):
        load("onnx", external, without_cameras=True)


def test_when_onnx_weights_apart_are_nested_in_a_branch_expect_them_found(tmp_path):
    pytest.importorskip("onnx", reason="building an ONNX file needs the package onnx")
    from onnx import TensorProto, helper

    tensor = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value="branch.data")
    branch = helper.make_graph([helper.make_node("Constant", [], ["x"], value=tensor)], "branch", [], [])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=branch, else_branch=branch)
    model = helper.make_model(helper.make_graph([node], "policy", [], []))
    (tmp_path / "policy.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "policy.onnx") == [tmp_path / "branch.data"]


@given(st.binary(max_size=200))
def test_when_a_file_holds_any_bytes_expect_the_search_for_weights_to_end(content):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "policy.onnx")
        path.write_bytes(content)
        assert external_files(path) == [] or b"location" in content


def test_when_onnx_runtime_is_missing_expect_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "policy.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match="needs the Python package 'onnxruntime', .*: pip install onnxruntime"):
        load("onnx", tmp_path / "policy.onnx")
