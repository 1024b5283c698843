"""`resfit export`: what it takes from a run directory, what it prints, what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from exported_actors import SETTINGS, checkpoint
from typer.testing import CliRunner

from resfit_ros.bringup import NodeSpec
from resfit_ros.cli.export import export
from resfit_ros.core.schema import to_mapping
from resfit_ros.core.parameters import AggregatorParameters, ResidualParameters
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.learning.exported import ExportedResidual

pytest.importorskip("onnx", reason="pip install onnx")
pytest.importorskip("onnxruntime", reason="pip install onnxruntime")

CONFIG = """
robot:
  joint_names: [a, b]
  state: [joint_positions, array/force/1]
  control_hz: {control_hz}
  lower: [-1.0]
  upper: [1.0]
  max_velocity: [1.0]
  max_acceleration: [1.0]
"""
app = typer.Typer(pretty_exceptions_enable=False)
app.command()(export)


def said(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return " ".join(result.output.split())


@pytest.fixture
def run(tmp_path) -> Path:
    """A run directory with a configuration at 10 Hz and one episode of three steps."""
    run = tmp_path / "run"
    checkpoint(run / "checkpoints")
    (run / "config").mkdir()
    (run / "config" / "run.yaml").write_text(CONFIG.format(control_hz=10.0))
    rows = dict(states=np.ones((4, 3), np.float32), bases=np.ones((4, 2), np.float32))
    stamps = np.arange(1, 5, dtype=np.int64) * 10**8
    data = EpisodeData(**rows, actions=np.ones((3, 2), np.float32), stamps_ns=stamps, outcome=Outcome.SUCCESS)
    write_episode(run / "bags" / "finetune", 1, data, BagAbout(joint_names=("a", "b")))
    return run


@pytest.mark.parametrize("place", ["", "checkpoints"])
def test_when_a_run_is_exported_expect_its_settings_and_its_recorded_observations_compared(run, tmp_path, place):
    words = said(run / place, tmp_path / "x.resfit")
    assert "over 256 random and 4 recorded observations" in words
    assert "needs to run: NumPy and ONNX Runtime" in words
    assert ExportedResidual(tmp_path / "x.resfit").settings == SETTINGS | {"control_hz": 10.0}


def test_when_json_is_asked_for_expect_nothing_else_printed(run, tmp_path):
    result = json.loads(said(run, tmp_path / "x.resfit", "--json"))
    assert result["difference"] < 1e-5
    assert result["recorded_checks"] == 4
    assert result["checkpoint"].endswith("step-00000020-00000000")


def test_when_a_configuration_is_given_expect_it_before_the_runs(run, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.format(control_hz=5.0))
    said(run, tmp_path / "x.resfit", "--config", other)
    assert ExportedResidual(tmp_path / "x.resfit").settings["control_hz"] == 5.0


def test_when_a_run_keeps_its_nodes_parameters_alone_expect_those(run, tmp_path):
    (run / "config" / "run.yaml").unlink()
    (run / "config" / "finetune").mkdir()
    shared = {"joint_names": ("a", "b"), "control_hz": 25.0}
    started = {
        "aggregator": AggregatorParameters(**shared, state=("joint_positions", "array/force/1")),
        "residual": ResidualParameters(**shared, execute_steps=3),
    }
    for name, parameters in started.items():
        values = {k: v for k, v in to_mapping(parameters).items() if v != []} | {"use_sim_time": True}
        (run / "config" / "finetune" / f"{name}.yaml").write_text(NodeSpec(name, values).parameter_file_text())
    said(run, tmp_path / "x.resfit")
    found = ExportedResidual(tmp_path / "x.resfit").settings
    assert (found["control_hz"], found["execute_steps"]) == (25.0, 3)


def test_when_no_configuration_is_there_expect_how_to_give_one(run, tmp_path):
    (run / "config" / "run.yaml").unlink()
    assert "give the configuration it was trained with (--config)" in said(run, tmp_path / "x.resfit", status=1)
    assert not (tmp_path / "x.resfit").exists()


def test_when_the_file_is_there_expect_it_kept_unless_overwriting(run, tmp_path):
    out = tmp_path / "x.resfit"
    out.write_text("precious")
    assert "exists already; give another name, or --overwrite" in said(run, out, status=1)
    assert out.read_text() == "precious"
    said(run, out, "--overwrite")
    assert ExportedResidual(out).base_policy["name"] == "mlp:aaaa"


def test_when_bags_are_named_that_are_not_there_expect_refusal(run, tmp_path):
    assert "no such directory" in said(run, tmp_path / "x.resfit", "--bags", tmp_path / "nowhere", status=1)
