"""From a line or a description to a loaded policy, and what tells two policies apart."""

import hashlib
import json
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.identity import (
    RECORD,
    controller_identity,
    controller_record,
    identity_of,
    keep_record,
    policy_record,
)
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.policies.reference import KINDS, PolicyReference, absolute, parse_reference

ROOT = Path(__file__).resolve().parents[2]
ROBOT = Robot(("shoulder", "elbow"), StateLayout(("joint_positions", "joint_velocities"), 2))
CLASSES = """
from dataclasses import replace
from resfit_ros.policies.protocol import PolicySpec

class Good:
    def __init__(self, robot, horizon=8):
        self.spec = PolicySpec("good", robot.action_dim, horizon, "identity")
    def reset(self, episode_id): pass
    def infer(self, observation): pass

class NoReset:
    spec = PolicySpec("no_reset", 2, 8, "identity")
    def __init__(self, robot): pass
    def infer(self, observation): pass

class WordsAsSpec(NoReset):
    spec = "words"
    def reset(self, episode_id): pass

class Anonymous(Good):
    def __init__(self, robot):
        super().__init__(robot)
        self.spec = replace(self.spec, identity="")

number = 3
"""


@pytest.fixture
def classes(tmp_path, monkeypatch):
    """The module of CLASSES, importable for one test."""
    (tmp_path / "some_policies.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path)
    yield "some_policies"
    sys.modules.pop("some_policies", None)


def write(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))
    return str(path)


@pytest.mark.parametrize(
    ("text", "kind", "location"),
    [
        ("policies/lift", "built_in", "policies/lift"),
        ("model.onnx", "onnx", "model.onnx"),
        ("model.pt", "torchscript", "model.pt"),
        ("model.ts", "torchscript", "model.ts"),
        ("model.pt2", "torch_export", "model.pt2"),
        (" ws://host:8000 ", "openpi", "ws://host:8000"),
        ("wss://host/policy", "openpi", "wss://host/policy"),
        ("lerobot:models/act", "lerobot", "models/act"),
        ("python:package.module:Class", "python", "package.module:Class"),
        ("torchscript:weights/model.pth", "torchscript", "weights/model.pth"),
        ("expert", "expert", ""),
        ("expert:3", "expert", "3"),
        ("runs/12:30/policy", "built_in", "runs/12:30/policy"),
    ],
)
def test_when_a_line_names_a_policy_expect_its_kind_and_place(text, kind, location):
    assert parse_reference(text) == PolicyReference(kind, location)


def test_when_a_directory_was_saved_by_lerobot_expect_that_kind(tmp_path):
    write(tmp_path / "config.json", json.dumps({"type": "act"}))
    assert parse_reference(str(tmp_path)).kind == "lerobot"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "policy is empty"),
        ("onnx:", "nothing after the colon"),
        ("onx:model.onnx", "unknown kind 'onx'; did you mean 'onnx'"),
        ("missing.yaml", "missing.yaml: cannot be read .No such file"),
    ],
)
def test_when_a_line_is_mistaken_expect_an_error_that_says_so(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_reference(text)


def test_when_a_file_has_an_unknown_type_expect_the_known_ones_listed(tmp_path):
    path = write(tmp_path / "model.safetensors", "")
    with pytest.raises(ConfigError, match=r"unknown type '.safetensors'; known: .onnx, .pt2, .pt, .ts, .yaml"):
        parse_reference(path)


def test_when_a_description_names_a_file_expect_it_relative_to_the_description(tmp_path):
    path = write(tmp_path / "policies" / "lift.yaml", "kind: onnx\nlocation: ../model.onnx\nimages: float_chw\n")
    reference = parse_reference(path)
    assert reference.path.resolve() == tmp_path / "model.onnx"
    assert reference.options == {"images": "float_chw"} and reference.where == path


def test_when_a_description_names_a_server_expect_its_address_unchanged(tmp_path):
    path = write(tmp_path / "pi0.yaml", "kind: openpi\nlocation: ws://host:8000\n")
    assert parse_reference(path).location == "ws://host:8000"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "not valid YAML"),
        ("- onnx\n", "expected keys with 'kind:' among them"),
        ("location: model.onnx\n", "expected keys with 'kind:' among them"),
        ("kind: tensorflow\nlocation: m\n", "unknown kind 'tensorflow'"),
        ("kind: onnx\n", "missing key 'location'"),
        ("kind: onnx\nlocation:\n", "missing key 'location'"),
        ("kind: built_in\nlocation: lift\nimages: float_chw\n", "'built_in' has no option 'images'"),
    ],
)
def test_when_a_description_is_wrong_expect_the_file_named(tmp_path, text, words):
    path = write(tmp_path / "policy.yaml", text)
    with pytest.raises(ConfigError, match=words) as caught:
        parse_reference(path).require_no_options()
    assert "policy.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["torchscript", "torch_export", "onnx", "python"])
def test_when_an_example_description_is_read_expect_its_kind(name):
    assert parse_reference(str(ROOT / "config/policies" / f"{name}.yaml")).kind == name


@pytest.mark.parametrize(
    "text", ["", "expert", "ws://host:8000", "python:package.module:Class", "openpi:ws://host:1", "onnx:", "onx:m.onnx"]
)
def test_when_a_policy_lies_in_no_file_expect_the_line_kept(text):
    assert absolute(text) == text


@pytest.mark.parametrize("text", ["lift", "onnx:models/lift", " lift.yaml "])
def test_when_a_policy_lies_in_a_file_expect_it_found_from_anywhere(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, colon, path = absolute(text).rpartition(":")
    assert Path(path).is_relative_to(tmp_path) and kind == text.rpartition(":")[0]
    assert str(Path(path).relative_to(tmp_path)) == text.rpartition(":")[2].strip()


def test_when_every_kind_is_listed_expect_an_adapter_for_each():
    from resfit_ros.policies.loading import ADAPTERS

    assert set(ADAPTERS) == set(KINDS)


def test_when_a_class_is_named_expect_it_called_with_robot_and_options(classes):
    reference = PolicyReference("python", f"{classes}:Good", {"horizon": 5})
    assert load_policy(reference, ROBOT, Chunking(4)).spec.horizon == 5


@pytest.mark.parametrize(
    ("location", "options", "words"),
    [
        ("some_policies", {}, "write python:package.module:Class"),
        (":Good", {}, "write python:package.module:Class"),
        (".some_policies:Good", {}, "write python:package.module:Class"),
        ("missing_module:Good", {}, "there is no module 'missing_module'"),
        ("some_policies:God", {}, "module 'some_policies' has no 'God'"),
        ("some_policies:number", {}, "does not fit: 3 is not a callable object"),
        ("some_policies:Good", {"horizn": 3}, "does not fit: got an unexpected keyword argument 'horizn'"),
        ("builtins:dict", {}, "does not fit: no signature found"),
        ("some_policies:NoReset", {}, "has no 'reset'"),
        ("some_policies:WordsAsSpec", {}, "spec must be a PolicySpec, got str"),
        ("some_policies:Anonymous", {}, "spec.identity is empty"),
        ("some_policies:Good", {"horizon": 3}, "execute_steps .* is 4, longer than the chunks"),
    ],
)
def test_when_a_class_is_no_policy_of_the_robot_expect_an_error_that_says_why(classes, location, options, words):
    with pytest.raises(ConfigError, match=words):
        load_policy(PolicyReference("python", location, options), ROBOT, Chunking(4))


@pytest.mark.parametrize(
    ("missing", "error", "words"),
    [("lerobot.policies", ConfigError, "needs the Python package 'lerobot'"), ("some", ModuleNotFoundError, "some")],
)
def test_when_the_class_s_module_lacks_a_library_expect_the_library_named(classes, tmp_path, missing, error, words):
    (tmp_path / "some_policies.py").write_text(f"raise ModuleNotFoundError('no {missing}', name='{missing}')\n")
    with pytest.raises(error, match=words):
        load_policy(PolicyReference("python", "some_policies:Good"), ROBOT, Chunking(4))


def test_when_the_documented_class_is_run_expect_it_to_reach_its_target_at_its_speed(tmp_path, monkeypatch):
    code = (ROOT / "docs/policies/python.md").read_text().split("```python\n")[1].split("```")[0]
    write(tmp_path / "documented_policies" / "hold.py", code)
    monkeypatch.syspath_prepend(tmp_path)
    reference = PolicyReference("python", "documented_policies.hold:Hold", {"speed": 2.0, "horizon": 8})
    policy = load_policy(reference, ROBOT, Chunking(8))
    chunk = policy.infer(Observation(0, 1, 0, np.array([0.35, -0.15, 0, 0], np.float32)))
    np.testing.assert_allclose(chunk[:4], [[0.25, -0.05], [0.15, 0], [0.05, 0], [0, 0]], atol=1e-7)
    assert chunk.shape == (8, 2) and chunk.dtype == np.float32


def test_when_files_are_hashed_expect_their_bytes_then_the_options(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"weights")
    two.write_bytes(b"more")
    expected = hashlib.sha256(b'weightsmore{"a":[1],"b":2}').hexdigest()
    assert identity_of([one, two], {"b": 2, "a": [1]}) == expected


def test_when_a_file_cannot_be_hashed_expect_it_named(tmp_path):
    with pytest.raises(DataError, match=r"gone: cannot be read \(No such file or directory\)"):
        identity_of([tmp_path / "gone"])


def test_when_a_controller_is_unnamed_expect_no_identity():
    assert controller_identity("") == "" and controller_identity("a") != controller_identity("b")


def test_when_a_run_goes_on_with_its_policy_expect_its_record_kept(tmp_path):
    record = policy_record(PolicySpec("good", 2, 8, "abc", config={"kind": "onnx"}))
    keep_record(tmp_path / "run", record)
    keep_record(tmp_path / "run", record)
    assert json.loads((tmp_path / "run" / RECORD).read_text()) == record


def test_when_a_run_goes_on_with_another_policy_expect_both_named(tmp_path):
    keep_record(tmp_path, policy_record(PolicySpec("first", 2, 8, "abc")))
    with pytest.raises(MismatchError, match="base policy 'first' .abc., now it is 'second' .def."):
        keep_record(tmp_path, policy_record(PolicySpec("second", 2, 8, "def")))


def test_when_a_run_goes_on_with_an_unnamed_controller_expect_no_complaint(tmp_path):
    keep_record(tmp_path, controller_record("mpc 1.2"))
    keep_record(tmp_path, controller_record(""))
    assert json.loads((tmp_path / RECORD).read_text())["name"] == "mpc 1.2"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": "a"}'])
def test_when_a_record_is_damaged_expect_it_named(tmp_path, text):
    write(tmp_path / RECORD, text)
    with pytest.raises(DataError, match=f"{RECORD}: damaged"):
        keep_record(tmp_path, controller_record("mpc"))
