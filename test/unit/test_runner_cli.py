"""`resfit sim-train`: its arguments, its refusals and its table."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")

from resfit_ros.cli import sim_train as verb  # noqa: E402
from resfit_ros.core.errors import ConfigError  # noqa: E402

app = typer.Typer()
app.command()(verb.sim_train)


def refused(out: Path, *arguments: str) -> str:
    """Runs the verb, which must fail with nothing written, and returns what it said."""
    result = CliRunner().invoke(app, ["--out", str(out), *arguments])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert not out.exists()
    return " ".join(result.output.split())


def test_when_settings_are_parsed_expect_yaml_scalars():
    texts = ["utd=2", "critic_lr=1e-3", "polyak=0.01", "rlpd=true", "critic_kind=hl_gauss"]
    parsed = verb.parse_settings(texts)
    assert parsed == {
        "utd": 2, "critic_lr": 1e-3, "polyak": 0.01, "rlpd": True, "critic_kind": "hl_gauss"
    }  # fmt: skip


@pytest.mark.parametrize("text", ["utd", "=2", "utd=[1, 2]", "utd={a: 1}", "utd=[", "utd=null", "utd="])
def test_when_a_setting_is_no_scalar_expect_the_text_named(text):
    with pytest.raises(ConfigError) as caught:
        verb.parse_settings([text])
    assert text in str(caught.value)


def test_when_a_setting_is_given_twice_expect_refusal():
    with pytest.raises(ConfigError, match="utd: given twice"):
        verb.parse_settings(["utd=1", "utd=2"])


@pytest.mark.parametrize(
    ("text", "count", "seeds"),
    [("", None, [0]), ("", 3, [0, 1, 2]), ("4", None, [4]), ("2, 0,1", None, [2, 0, 1])],
)
def test_when_seeds_are_asked_for_expect_them(text, count, seeds):
    assert verb.parse_seeds(text, count) == seeds


@pytest.mark.parametrize(
    ("text", "count", "words"),
    [
        ("1,1", None, "twice"),
        ("1,a", None, "'a' is not a seed"),
        ("-1", None, "'-1' is not a seed"),
        ("1,", None, "'' is not a seed"),
        ("1", 2, "give one"),
    ],
)
def test_when_seeds_make_no_sense_expect_refusal(text, count, words):
    with pytest.raises(ConfigError, match=words):
        verb.parse_seeds(text, count)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "utdd=2"], "did you mean 'utd'"),
        (["--set", "utd=fast"], "expected float, got str 'fast'"),
        (["--set", "utd=-1"], "utd must be greater than 0"),
        (["--steps", "100"], "total_steps 100 must be above warmup_steps"),
        (["--steps", "9000", "--set", "total_steps=9000"], "give one"),
        (["--config", "bimanual_lfit"], "bimanual_lift"),
        (["--policy", "no/such/policy"], "no/such/policy"),
        (["--seeds", "0,0"], "twice"),
    ],
)
def test_when_an_argument_is_wrong_expect_one_line_and_nothing_written(tmp_path, arguments, words):
    assert words in refused(tmp_path / "out", *arguments)


def test_when_results_are_shown_expect_rates_and_the_wilson_interval():
    def entry(steps: int, successes: int) -> dict:
        return {"env_steps": steps, "critic_updates": 2 * steps, "successes": successes, "episodes": 50}

    result = {"seed": 3, "evaluations": [entry(0, 20), entry(9001, 45)], "total_wall_s": 61.4}
    with verb.console.capture() as captured:
        verb.print_results([result])
    row = next(line for line in captured.get().splitlines() if "9001" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["3", "40%", "90%", "79% to 96%", "9001", "18002", "61 s"]


def test_when_progress_comes_from_several_seeds_expect_one_bar_of_all():
    class Job:
        def __init__(self, seed: int) -> None:
            self.seed = seed

    shown = []
    update = verb._overall(lambda *values: shown.append(values), [0, 4])
    update(Job(0), 5, 7, "demonstrations: 5 of 9 succeeded")
    update(Job(4), 500, 1000, "success 40%")
    update(Job(0), 100, 1000, "evaluating")
    assert [done for done, _, _ in shown] == [0.0, 50.0, 60.0]
    assert shown[-1][1:] == (200.0, "seed 0: evaluating | seed 4: success 40%")
