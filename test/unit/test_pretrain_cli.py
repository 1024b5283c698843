"""`resfit pretrain`: its arguments, its refusals and what it says at the end."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from resfit_ros.cli import pretrain as verb
from resfit_ros.core.errors import ConfigError

app = typer.Typer()
app.command()(verb.pretrain)


def refused(tmp_path: Path, *arguments: str) -> str:
    """Runs the verb, which must fail with nothing written, and returns what it said."""
    out = tmp_path / "run"
    result = CliRunner().invoke(app, ["--bags", str(tmp_path / "bags"), "--out", str(out), *arguments])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert not out.exists()
    return " ".join(result.output.split())


def test_when_options_become_settings_expect_them_beside_the_given_ones():
    changes = verb.settings_of(["utd=2"], seed=3, updates=None, device="cuda")
    assert changes == {"utd": 2, "seed": 3, "device": "cuda"}


@pytest.mark.parametrize("text", ["seed=1", "device=cpu", "pretrain_updates=10"])
def test_when_a_setting_is_given_twice_expect_the_option_named(text):
    with pytest.raises(ConfigError, match=f"--set {text.partition('=')[0]} are the same setting"):
        verb.settings_of([text], seed=0, updates=10, device=None)


def test_when_no_base_policy_is_named_expect_what_to_give(tmp_path):
    assert "no base policy" in refused(tmp_path)


def test_when_a_setting_is_unknown_expect_the_nearest_one(tmp_path):
    words = refused(tmp_path, "--policy", "expert", "--set", "conservativ=cql")
    assert "did you mean 'conservative'?" in words


def test_when_the_bags_are_not_there_expect_the_folder_named(tmp_path):
    pytest.importorskip("mujoco", reason="the expert needs mujoco")
    assert "bags: no such directory" in refused(tmp_path, "--policy", "expert", "--set", "execute_steps=1")


def test_when_there_are_many_notes_expect_the_first_and_where_the_rest_is(capsys):
    verb._print_notes([f"note {i}" for i in range(25)])
    said = capsys.readouterr().err
    assert said.count("left out:") == verb.SHOWN_NOTES
    assert "and 5 more; pretraining.json" in said


@pytest.mark.parametrize(("diverged", "words"), [(None, "2000 updates in 9 s"), (1500, "diverged by update 1500")])
def test_when_it_is_over_expect_data_errors_and_how_to_go_on(capsys, diverged, words):
    result = {
        "updates": 2000,
        "data": {"episodes": 9, "steps": 400, "success": 4, "failure": 2, "timeout": 3},
        "held_out": {"episodes": 1},
        "errors": {"seconds": 9.1, "train_td": [0.02], "held_out_td": [0.03], "diverged_by": diverged},
        "calibrated_on": "held-out episodes",
        "calibration": {"steps": 50, "q_mean": 0.4, "return_mean": 0.3, "truncated_share": 0.5},
    }
    verb._print_result(Path("runs/a"), Path("demos"), result)
    said = " ".join(capsys.readouterr().out.split())
    assert "9 episodes (4 successes, 2 failures, 3 timeouts; 400 steps), held out 1" in said
    assert "Q 0.400, observed return 0.300 (50% of the steps show a lower bound)" in said
    assert words in said
    assert "resfit finetune --run-dir runs/a --demos demos" in said
