"""An exported file is run as it was written, or refused in a sentence."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from exported_actors import SETTINGS, exported
from hypothesis import given
from hypothesis import strategies as st
from test_compatibility import OTHER_POLICY

from resfit_ros.core.errors import ConfigError, DataError, MismatchError, ShapeError
from resfit_ros.core.types import Observation
from resfit_ros.learning.actor_slot import ActorSlot
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.exported_file import HASHES, MANIFEST, TORCH_GRAPH, read_exported, write_exported
from resfit_ros.learning.exported_graph import MODEL
from resfit_ros.learning.hashes import sha256

pytest.importorskip("onnx", reason="pip install onnx")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

ROOT = Path(__file__).resolve().parents[2]
STATE, BASE = np.array([0.3, -0.2, 0.1], np.float32), np.array([0.4, -0.5], np.float32)


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("onnx")).path


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory) -> Path:
    return exported(tmp_path_factory.mktemp("torch"), kind="torch-export").path


def rewritten(source: Path, out: Path, **changes: bytes | None) -> Path:
    """A file with other contents and right hashes; None: left out."""
    manifest, files = read_exported(source)
    files[MANIFEST] = json.dumps(manifest).encode()
    names = {name.replace("_", "."): data for name, data in changes.items()}
    write_exported(out, {k: v for k, v in (files | names).items() if v is not None})
    return out


# -- what it says ---------------------------------------------------------------------------------


def test_when_a_command_is_asked_for_expect_the_base_action_with_a_bounded_correction(onnx_file):
    actor = ExportedResidual(onnx_file)
    direction = actor.direction(STATE, BASE, 0.25)
    correction = 0.2 * direction * actor.normaliser.action_half_range
    assert np.abs(direction).max() > 0.01
    assert actor.command(STATE, BASE, 0.25) == pytest.approx(BASE + correction, abs=1e-6)


def test_when_trained_without_a_base_policy_expect_the_whole_command_from_the_actor(tmp_path):
    actor = ExportedResidual(exported(tmp_path, "rlpd").path)
    commands = [actor.command(STATE, base, 0.0) for base in (BASE, -BASE)]
    assert commands[0] == pytest.approx(commands[1], abs=1e-6)


@pytest.mark.parametrize(("state", "base"), [(STATE[:2], BASE), (STATE, BASE[:1])])
def test_when_vectors_have_other_sizes_expect_the_right_one_named(onnx_file, state, base):
    with pytest.raises(ShapeError, match="expected"):
        ExportedResidual(onnx_file).direction(state, base, 0.0)


def test_when_pictures_are_missing_expect_their_sizes(tmp_path):
    actor = ExportedResidual(exported(tmp_path, "images").path)
    with pytest.raises(DataError, match=r"trained on pictures of \[\(16, 16\), \(16, 16\)\]"):
        actor.direction(STATE, BASE, 0.0)


def test_when_the_state_is_not_finite_expect_no_command(onnx_file):
    with pytest.raises(DataError, match="the residual is not finite"):
        ExportedResidual(onnx_file).command(STATE * np.nan, BASE, 0.0)


def test_when_there_is_no_pytorch_expect_it_to_run(onnx_file):
    code = """
import sys
sys.modules["torch"] = sys.modules["safetensors"] = sys.modules["rclpy"] = None
from pathlib import Path
from resfit_ros.learning.exported import ExportedResidual
print(ExportedResidual(Path(sys.argv[1])).command([0.3, -0.2, 0.1], [0.4, -0.5], 0.25).tolist())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(onnx_file)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(ExportedResidual(onnx_file).command(STATE, BASE, 0.25), abs=1e-6)


@pytest.mark.parametrize("library", ["onnxruntime", "torch"])
def test_when_what_runs_it_is_missing_expect_how_to_install_it(onnx_file, torch_file, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=f"pip install {library}"):
        ExportedResidual(onnx_file if library == "onnxruntime" else torch_file)


# -- whom it belongs to ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "base_policy", "words"),
    [
        ({"joint_names": ["a", "x"]}, "", "joint 1 is 'b' there and 'x' here"),
        ({"control_hz": 10.0}, "", "control_hz is 20.0 there and 10.0 here"),
        ({"execute_steps": 4}, "", "execute_steps is 8 there and 4 here"),
        ({"state": ["joint_positions"]}, "", "positions, array/force/1 there and joint_positions here"),
        ({}, OTHER_POLICY, "'mlp:aaaa' .aaaaaaaaaaaa., here it is bbbbbbbbbbbb"),
    ],
)
def test_when_it_belongs_elsewhere_expect_both_sides_named(onnx_file, settings, base_policy, words):
    with pytest.raises(MismatchError, match=words):
        ExportedResidual(onnx_file).require(settings, base_policy)


def test_when_it_belongs_here_or_nothing_is_known_expect_it_accepted(onnx_file):
    actor = ExportedResidual(onnx_file)
    actor.require(SETTINGS, "a" * 64)
    actor.require()
    assert actor.base_policy_sha256 == "a" * 64


def test_when_a_slot_loads_a_file_expect_it_to_act_with_the_files_scaling(onnx_file):
    slot = ActorSlot(("a", "b"))
    assert slot.load(onnx_file, SETTINGS) == (onnx_file, ())
    assert slot.usable
    assert (slot.schedule.residual_scale, slot.schedule.warm_up, slot.schedule.exploration_std) == (0.2, False, 0.0)
    assert slot.actor(Observation(0, 1, 0, STATE), BASE, 0.25).shape == (2,)


def test_when_a_slot_sees_another_base_policy_expect_the_file_unused_and_both_named(onnx_file):
    slot = ActorSlot(("a", "b"))
    slot.load(onnx_file)
    slot.see_base_policy(OTHER_POLICY)
    assert not slot.usable
    assert "aaaaaaaaaaaa" in slot.problem and "bbbbbbbbbbbb" in slot.problem


def test_when_a_slot_has_other_joints_expect_refusal(onnx_file):
    with pytest.raises(MismatchError, match="joint 0 is 'a' there and 'b' here"):
        ActorSlot(("b", "a")).load(onnx_file)


# -- damage ---------------------------------------------------------------------------------------


@given(st.data())
def test_when_the_file_is_cut_anywhere_expect_refusal(onnx_file, tmp_path_factory, data):
    whole = onnx_file.read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "x.resfit"
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match="export it again"):
        ExportedResidual(cut)


@given(st.data())
def test_when_any_byte_changes_expect_refusal_or_the_same_actions(onnx_file, tmp_path_factory, data):
    whole = bytearray(onnx_file.read_bytes())
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    flipped = tmp_path_factory.mktemp("flip") / "x.resfit"
    flipped.write_bytes(whole)
    expected = ExportedResidual(onnx_file).command(STATE, BASE, 0.25)
    try:
        found = ExportedResidual(flipped).command(STATE, BASE, 0.25)
    except DataError:
        return
    assert np.array_equal(found, expected)  # a byte that nobody reads, such as a date


def packed(path: Path, entries: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../../etc/cron.d/x", b"")], "holds '../../etc/cron.d/x', which is no part"),
        ([("/manifest.json", b"{}")], "holds '/manifest.json', which is no part"),
        ([("actor.pkl", b"")], "holds 'actor.pkl'"),
        ([("manifest.json", b"{}"), ("manifest.json", b"{}")], "holds manifest.json twice"),
        ([("manifest.json", b"{}")], "do not match its SHA256SUMS"),
        ([], "do not match its SHA256SUMS|no readable manifest"),
    ],
)
def test_when_an_archive_is_not_ours_expect_what_is_odd_about_it(tmp_path, entries, words):
    with pytest.raises(DataError, match=words):
        ExportedResidual(packed(tmp_path / "x.resfit", entries))
    assert [p.name for p in tmp_path.iterdir()] == ["x.resfit"]


def test_when_it_was_compressed_expect_refusal(tmp_path):
    bomb = packed(tmp_path / "x.zip", [("actor.onnx", b"0" * 1_000_000)], zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match="compressed"):
        ExportedResidual(bomb)


def test_when_there_is_no_file_expect_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="no such file; make one with 'resfit export CHECKPOINT x.resfit'"):
        ActorSlot(("a", "b")).load(tmp_path / "x.resfit")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"{", "no readable manifest.json"),
        (b"[]", "no readable manifest.json"),
        (b'{"format": "other", "version": 1}', "is no exported actor"),
        (b'{"format": "resfit residual actor", "version": 9}', "later release .format 9, this one reads up to 1."),
        (b'{"format": "resfit residual actor", "version": 1, "graph": "x.so"}', "names no known graph"),
        (b'{"format": "resfit residual actor", "version": 1, "graph": "actor.pt2"}', "lacks actor.pt2"),
        (b'{"format": "resfit residual actor", "version": 1, "graph": "actor.onnx"}', "manifest cannot be used"),
    ],
)
def test_when_the_manifest_is_odd_expect_why(onnx_file, tmp_path, manifest, words):
    with pytest.raises(DataError, match=words):
        ExportedResidual(rewritten(onnx_file, tmp_path / "x.resfit", manifest_json=manifest))


def test_when_the_graph_is_none_expect_refusal(onnx_file, tmp_path):
    with pytest.raises(DataError, match="its graph cannot be loaded"):
        ExportedResidual(rewritten(onnx_file, tmp_path / "x.resfit", actor_onnx=b"nothing"))


def test_when_another_scaling_was_put_in_expect_refusal(onnx_file, tmp_path):
    with pytest.raises(DataError, match="x.resfit: normaliser: entries missing"):
        ExportedResidual(rewritten(onnx_file, tmp_path / "x.resfit", normaliser_json=b'{"joint_names": []}'))


def test_when_hashes_are_listed_expect_them_as_sha256sum_reads_them(onnx_file):
    with zipfile.ZipFile(onnx_file) as archive:
        lines = archive.read(HASHES).decode().splitlines()
        assert lines == [f"{sha256(archive.read(n))}  {n}" for n in sorted(archive.namelist()) if n != HASHES]


# -- pickles --------------------------------------------------------------------------------------


def with_inner(data: bytes, name: str, content: bytes) -> bytes:
    """A program of torch.export with one part replaced or added."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        parts = {n: old.read(n) for n in old.namelist()} | {f"archive/{name}": content}
        for part, held in parts.items():
            new.writestr(part, held)
    return stream.getvalue()


PICKLED = b'{"config": {"w": {"path_name": "weight_0", "use_pickle": true}}}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data/sample_inputs/model.pt", b"\x80\x02cos\nsystem\n."),
        ("data/constants/opaque_obj_0", b"\x80\x02."),
        ("data/weights/model.pt", b"\x80\x02."),
        ("data/weights/model_weights_config.json", PICKLED),
    ],
)
def test_when_a_program_holds_what_would_be_unpickled_expect_refusal(torch_file, tmp_path, name, content):
    inner = with_inner(read_exported(torch_file)[1][TORCH_GRAPH], name, content)
    with pytest.raises(DataError, match=f"holds archive/{name}, which 'resfit export' does not write"):
        ExportedResidual(rewritten(torch_file, tmp_path / "x.resfit", actor_pt2=inner))


def test_when_a_program_is_exported_expect_no_pickle_in_it(torch_file):
    with zipfile.ZipFile(io.BytesIO(read_exported(torch_file)[1][TORCH_GRAPH])) as inner:
        assert [n for n in inner.namelist() if inner.read(n)[:1] == b"\x80" or inner.read(n)[:2] == b"PK"] == []


# -- code -----------------------------------------------------------------------------------------


def doctored(path: Path, out: Path, change) -> Path:
    """A file whose program says something else; change: of the JSON of the program."""
    inner = read_exported(path)[1][TORCH_GRAPH]
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        model = json.loads(archive.read(f"archive/{MODEL}"))
    change(model)
    return rewritten(path, out, actor_pt2=with_inner(inner, MODEL, json.dumps(model).encode()))


def graph_of(model: dict) -> dict:
    return model["graph_module"]["graph"]


def sized(model: dict, expression: str) -> None:
    symbolic = {"as_expr": {"expr_str": expression, "hint": None}}
    graph_of(model)["tensor_values"]["vector"]["sizes"][0] = symbolic


def valued(model: dict, expression: str) -> None:
    graph_of(model)["sym_int_values"]["s0"] = {"as_expr": {"expr_str": expression, "hint": None}}


def guarded(model: dict, expression: str) -> None:
    model["guards_code"] = [expression]


def targeted(model: dict, _expression: str) -> None:
    graph_of(model)["nodes"][0]["target"] = "torch.hub.load"


def from_file(model: dict, _expression: str) -> None:
    graph_of(model)["nodes"][0]["target"] = "torch.ops.aten.from_file.default"


def imported(model: dict, _expression: str) -> None:
    factory = {"default_factory_module": "antigravity", "default_factory_name": "x", "dict_context": []}
    context = json.dumps(factory)
    tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}
    model["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = json.dumps([1, tree])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (sized, "'as_expr'"),
        (valued, "'sym_int_values'"),
        (guarded, "'guards_code'"),
        (targeted, "the operator 'torch.hub.load'"),
        (from_file, "the operator 'torch.ops.aten.from_file.default'"),
        (imported, "'in_spec'"),
    ],
)
def test_when_a_program_holds_code_expect_refusal_before_pytorch_reads_it(
    torch_file, tmp_path, monkeypatch, change, words
):
    written, read = tmp_path / "written", []
    expression = f"__import__('pathlib').Path({str(written)!r}).touch()"
    path = doctored(torch_file, tmp_path / "x.resfit", lambda model: change(model, expression))
    monkeypatch.setattr(torch.export, "load", read.append)
    with pytest.raises(DataError, match=f"holds {words} in archive/{MODEL}, which"):
        ExportedResidual(path)
    assert (written.exists(), read) == (False, [])


def test_when_a_program_sees_pictures_expect_it_accepted(tmp_path):
    assert ExportedResidual(exported(tmp_path, "images", "torch-export").path)
