"""A checkpoint becomes one file that gives the same actions, or nothing is written."""

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import small_config
from exported_actors import MODES, SEEING, SETTINGS, checkpoint, exported
from test_compatibility import normaliser

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.types import Observation
from resfit_ros.learning.checkpoint import load_run_actor, save_checkpoint
from resfit_ros.learning.export import export_residual, random_samples
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.trainer import Trainer

pytest.importorskip("onnx", reason="pip install onnx")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["onnx", "torch-export"])
def test_when_exported_expect_the_actions_of_the_checkpoint(tmp_path, mode, kind):
    report = exported(tmp_path, mode, kind)
    there, here = load_run_actor(report.checkpoint).actor, ExportedResidual(report.path)
    samples = list(random_samples(normaliser(), here.cameras, 20, seed=5))
    directions = np.array([there(*sample) for sample in samples])
    assert np.abs(directions).max() > 0.1
    assert np.abs(directions - [here(*sample) for sample in samples]).max() < 1e-5
    assert report.difference < 1e-5


@pytest.mark.parametrize("kind", ["onnx", "torch-export"])
def test_when_exported_twice_expect_the_same_bytes_and_the_hash_that_was_told(tmp_path, kind):
    report = exported(tmp_path, kind=kind)
    first = report.path.read_bytes()
    again = export_residual(report.checkpoint, tmp_path / "again.zip", SETTINGS, kind)
    assert again.path.read_bytes() == first
    assert again.sha256 == report.sha256 == hashlib.sha256(first).hexdigest()


def test_when_exported_expect_robot_base_policy_and_origin_in_the_manifest(tmp_path):
    report = exported(tmp_path)
    with zipfile.ZipFile(report.path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
    assert manifest["settings"] == SETTINGS
    assert manifest["base_policy"]["sha256"] == "a" * 64
    assert manifest["provenance"]["checkpoint"] == report.checkpoint.name
    assert manifest["provenance"]["run"] == "run"
    assert manifest["acting"] == {"residual_scale": 0.2, "without_base": False}


def test_when_an_actor_sees_no_pictures_expect_cameras_not_asked_for(tmp_path):
    path = checkpoint(tmp_path / "checkpoints")
    export_residual(path, tmp_path / "x.resfit", SETTINGS | SEEING)
    assert ExportedResidual(tmp_path / "x.resfit").settings == SETTINGS


def test_when_bags_are_compared_too_expect_them_counted(tmp_path):
    recorded = [(Observation(0, 1, k, np.ones(3, np.float32)), np.ones(2, np.float32), 0.5) for k in range(7)]
    assert exported(tmp_path, recorded=recorded).recorded_checks == 7


def test_when_actions_differ_by_more_than_the_tolerance_expect_nothing_written(tmp_path):
    with pytest.raises(DataError, match="more than the tolerance -1; try the other --format"):
        exported(tmp_path, tolerance=-1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joint_names": ["a", "c"]}, "joint 1 is 'b' there and 'c' here"),
        ({"state": ["joint_positions"]}, "3 state numbers there, 2 here"),
    ],
)
def test_when_the_configuration_is_another_expect_both_sides(tmp_path, changes, words):
    path = checkpoint(tmp_path / "checkpoints")
    with pytest.raises(MismatchError, match=words):
        export_residual(path, tmp_path / "x.resfit", SETTINGS | changes)


def test_when_cameras_are_others_expect_both_sizes(tmp_path):
    path = checkpoint(tmp_path / "checkpoints", **MODES["images"])
    with pytest.raises(MismatchError, match=r"\(16, 16\)\].* there, \[\(8, 16\), \(8, 16\)\] here"):
        export_residual(path, tmp_path / "x.resfit", SETTINGS | SEEING | {"image_height": 8})


@pytest.mark.parametrize(
    ("name", "kind", "words"), [("x.onnx", "onnx", "let its name end in"), ("x.zip", "tflite", "use onnx or")]
)
def test_when_name_or_format_is_unknown_expect_what_to_give(tmp_path, name, kind, words):
    with pytest.raises(ConfigError, match=words):
        export_residual(tmp_path, tmp_path / name, SETTINGS, kind)


def test_when_onnx_is_not_installed_expect_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr("resfit_ros.learning.export_graph.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install onnx"):
        exported(tmp_path)


# -- image features computed beforehand -----------------------------------------------------------


class Means(torch.nn.Module):
    """Pictures (B, 3, H, W) to the mean of each colour."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.mean(dim=(2, 3))


@pytest.fixture
def extractor(tmp_path) -> Path:
    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    return path


def of_features(tmp_path: Path, extractor: Path) -> Path:
    config = small_config(use_images=True, feature_extractor=str(extractor))
    trainer = Trainer(config, normaliser(), "cpu", ((16, 16),) * 2, "a" * 64)
    for parameter in trainer.agent.average_actor.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return save_checkpoint(tmp_path / "checkpoints", trainer, {})


def test_when_features_come_from_a_file_expect_it_taken_along(tmp_path, extractor):
    path = of_features(tmp_path, extractor)
    out = tmp_path / "x.resfit"
    report = export_residual(path, out, SETTINGS | SEEING, "torch-export", str(extractor))
    extractor.unlink()
    assert report.difference < 1e-5
    black, white = (tuple(np.full((16, 16, 3), v, np.uint8) for _ in range(2)) for v in (0, 255))
    actor, state, base = ExportedResidual(out), np.zeros(3), np.zeros(2)
    mixed = black[:1] + white[:1]
    assert np.abs(actor.direction(state, base, 0.0, black) - actor.direction(state, base, 0.0, mixed)).max() > 1e-3


def test_when_features_come_from_a_file_expect_onnx_refused_with_the_other_format(tmp_path, extractor):
    with pytest.raises(ConfigError, match="use --format torch-export"):
        path = of_features(tmp_path, extractor)
        export_residual(path, tmp_path / "x.resfit", SETTINGS | SEEING, "onnx", str(extractor))
    assert not (tmp_path / "x.resfit").exists()
