"""The command line refuses what cannot work: one line, non-zero exit, nothing written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from resfit_ros.cli.main import app  # noqa: E402
from resfit_ros.paths import find_config  # noqa: E402

runner = CliRunner()


def refused(*arguments: str) -> str:
    """Runs the verb, which must fail, and returns what it said."""
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


@pytest.mark.parametrize("verb", ["demo", "up", "record", "train-bc", "finetune", "evaluate", "sim-train"])
def test_when_help_is_asked_expect_every_option_explained(verb: str):
    result = runner.invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert "--config" in result.output


def test_when_a_configuration_is_unknown_expect_the_shipped_ones_named(tmp_path: Path):
    said = refused("record", "--out", str(tmp_path / "bags"), "--config", "bimanual_lfit")
    assert "bimanual_lfit" in said
    assert "bimanual_lift" in said
    assert not (tmp_path / "bags").exists()


def test_when_a_configuration_key_is_mistyped_expect_the_nearest_named(tmp_path: Path):
    text = find_config("bimanual_lift").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("critic_lr:", "crtic_lr:"))
    said = refused("record", "--out", str(tmp_path / "bags"), "--config", str(wrong))
    assert "crtic_lr" in said
    assert "critic_lr" in said
    assert "learner" in said
    assert not (tmp_path / "bags").exists()


def test_when_the_policy_training_key_is_mistyped_expect_it_named_before_recording(tmp_path: Path):
    text = find_config("bimanual_lift").read_text()
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(text.replace("horizon:", "horison:"))
    said = refused("record", "--out", str(tmp_path / "bags"), "--config", str(wrong))
    assert "horison" in said
    assert "horizon" in said


def test_when_there_are_no_bags_expect_the_folder_named_and_no_policy(tmp_path: Path):
    out = tmp_path / "policy"
    said = refused("train-bc", "--bags", str(tmp_path / "none"), "--out", str(out))
    assert "none" in said
    assert not out.exists()


def test_when_the_output_exists_expect_it_untouched(tmp_path: Path):
    out = tmp_path / "policy"
    out.mkdir()
    (out / "precious").write_text("keep me")
    said = refused("train-bc", "--bags", str(tmp_path), "--out", str(out))
    assert "already exists" in said
    assert (out / "precious").read_text() == "keep me"


def test_when_the_checkpoint_is_missing_expect_it_named_and_nothing_written(tmp_path: Path):
    said = refused(
        "evaluate",
        "--policy", str(tmp_path / "policy"),
        "--checkpoint", str(tmp_path / "checkpoints"),
        "--out", str(tmp_path / "out"),
    )  # fmt: skip
    assert "policy" in said
    assert not (tmp_path / "out").exists()


def test_when_the_base_policy_is_missing_expect_it_named_and_no_run_directory(tmp_path: Path):
    run_dir = tmp_path / "run"
    said = refused("finetune", "--policy", str(tmp_path / "policy"), "--run-dir", str(run_dir))
    assert "policy" in said
    assert not run_dir.exists()
