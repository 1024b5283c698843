"""Habits of the whole command line, over every verb there is."""

import inspect
import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from resfit_ros.cli import console, habits  # noqa: E402
from resfit_ros.cli.main import app  # noqa: E402
from resfit_ros.core.errors import ConfigError  # noqa: E402
from resfit_ros.log_follower import VERBOSE  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
GROUP = typer.main.get_command(app)
VERBS = dict(habits.walk(GROUP))
every_verb = pytest.mark.parametrize("verb", VERBS)
runner = CliRunner()
# What a script reads on: it asks for JSON. All others leave their results in files.
FOR_SCRIPTS = [
    "status", "check-robot", "evaluate", "export",
    "data info", "data check", "data split", "data merge", "data convert",
]  # fmt: skip


# Refused before anything is written or started; status and console have nothing to refuse.
REFUSED = [
    "demo --config nowhere",
    "record --out bags --config nowhere",
    "train-bc --bags nowhere --out policy",
    "pretrain --bags nowhere --out run --policy nowhere",
    "finetune --run-dir run --policy nowhere",
    "evaluate --out here --finish",
    "up --policy nowhere",
    "check-robot nowhere",
    "export nowhere lift.resfit",
    "sim-train --out sweep --seeds x",
    "serve-policy",
    "data info nowhere",
    "data check nowhere",
    "data view nowhere",
    "data split nowhere parts",
    "data merge all nowhere",
    "data convert nowhere dataset",
]
WHAT_TO_DO = ("; ", "give ", "expected ", "use ")


def options_of(verb: str) -> set[str]:
    return {name for parameter in VERBS[verb].params for name in parameter.opts}


def in_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    """A small command line of its own, run to its end."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True, text=True, timeout=60, cwd=ROOT, **options,
    )  # fmt: skip


# -- help ------------------------------------------------------------------------------------


@every_verb
def test_when_help_is_asked_expect_an_example_that_can_be_typed(verb: str):
    result = runner.invoke(app, [*verb.split(), "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    typed = shlex.split(habits.EXAMPLES[verb])
    assert f"Example: {habits.EXAMPLES[verb]}" in " ".join(result.output.split())
    assert typed[: 1 + len(verb.split())] == ["resfit", *verb.split()]
    assert {word for word in typed if word.startswith("-")} <= options_of(verb)


@every_verb
def test_when_help_is_asked_expect_every_option_explained(verb: str):
    silent = [p.opts for p in VERBS[verb].params if not p.help]
    assert silent == []
    assert VERBS[verb].help


@every_verb
def test_when_an_example_is_parsed_expect_it_accepted(verb: str):
    arguments = shlex.split(habits.EXAMPLES[verb])[1 + len(verb.split()) :]
    context = VERBS[verb].make_context(verb, arguments)
    assert context.args == []


@every_verb
def test_when_an_option_is_misspelt_expect_the_nearest_named(verb: str):
    right = max((o for o in options_of(verb) if o.startswith("--") and o != "--verbose"), key=len, default="--help")
    result = runner.invoke(app, [*verb.split(), right[:-1] + right[-1] * 2], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert right in result.output


def test_when_a_verb_is_misspelt_expect_the_nearest_named():
    result = runner.invoke(app, ["recrod"])
    assert result.exit_code == 2
    assert "record" in result.output


# -- errors and ends -------------------------------------------------------------------------


@every_verb
def test_when_a_verb_fails_expect_it_to_report_as_the_others_do(verb: str):
    assert "with reporting_errors():" in inspect.getsource(VERBS[verb].callback)


def test_when_an_error_is_reported_expect_one_line_and_status_1(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end, console.reporting_errors():
        raise ConfigError("no such file; give another one")
    said = capsys.readouterr()
    assert end.value.code == 1
    assert said.err == "error: no such file; give another one\n"
    assert said.out == ""


@pytest.mark.parametrize("arguments", REFUSED, ids=lambda a: a.split()[0])
def test_when_a_verb_is_refused_expect_one_line_that_ends_with_what_to_do(arguments: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(app, arguments.split())
    assert result.exit_code == 1, result.output
    said = result.stderr.strip()
    assert said.startswith("error: ")
    assert said.count("\n") == 0
    assert any(words in said for words in WHAT_TO_DO), said
    assert list(tmp_path.iterdir()) == []


def test_when_it_is_verbose_expect_where_the_error_came_from(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VERBOSE, "1")
    with pytest.raises(SystemExit), console.reporting_errors():
        raise ConfigError("no such file; give another one")
    assert "test_cli_habits.py" in capsys.readouterr().err


def test_when_ctrl_c_is_pressed_expect_one_line_and_status_130():
    code = """
        from resfit_ros.cli.console import reporting_errors
        import time
        with reporting_errors():
            print("ready", flush=True)
            time.sleep(30)
    """
    command, pipe = [sys.executable, "-c", textwrap.dedent(code)], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == "stopped; nothing finished was lost\n"


@pytest.mark.parametrize("printing", ["print(line, flush=True)", "print(line)", "console.print(line)"])
def test_when_nobody_reads_on_expect_an_end_without_a_word(printing: str):
    code = f"""
        import typer
        from resfit_ros.cli.console import console, reporting_errors
        from resfit_ros.cli.habits import run
        app = typer.Typer(pretty_exceptions_enable=False)
        @app.command()
        def much() -> None:
            with reporting_errors():
                for line in map(str, range(20000)):
                    {printing}
        run(app)
    """
    shell = '"$0" -c "$1" | head -n 1; echo "status ${PIPESTATUS[0]}"'
    piped = subprocess.run(
        ["bash", "-c", shell, sys.executable, textwrap.dedent(code)],
        capture_output=True, text=True, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert piped.stderr == ""
    first, status = piped.stdout.splitlines()
    assert (first, status) in (("0", "status 1"), ("0", "status 141"))


# -- more, less, and for machines --------------------------------------------------------------


@every_verb
def test_when_more_is_asked_before_or_after_the_verb_expect_both_taken(verb: str):
    assert {"-v", "--verbose"} <= options_of(verb)
    assert any("-v" in p.opts for p in GROUP.params)


def test_when_more_is_asked_expect_nodes_and_jobs_to_know(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VERBOSE, "")
    runner.invoke(app, ["data", "info", "-v", "/nowhere"])
    assert os.environ[VERBOSE] == "1"


@pytest.mark.parametrize("verb", FOR_SCRIPTS)
def test_when_a_script_asks_expect_json(verb: str):
    assert "--json" in options_of(verb)


def test_when_json_is_asked_expect_nothing_else_on_standard_output():
    result = runner.invoke(app, ["check-robot", "robots/ur_like", "--json"])
    assert isinstance(json.loads(result.stdout), dict)


@pytest.mark.parametrize("arguments", [["--help"], ["record"], ["data", "info", "/nowhere"]])
def test_when_it_is_no_terminal_expect_no_colours(arguments: list[str]):
    code = "from resfit_ros.cli.main import main; import sys; sys.argv[0] = 'resfit'; main()"
    plain = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS")}
    result = in_python(code, *arguments, env=plain)
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize(("no_color", "coloured"), [("1", False), ("", True)])
def test_when_no_color_is_set_expect_no_colours_even_in_a_terminal(no_color: str, coloured: bool):
    code = "from resfit_ros.cli.main import main; import sys; sys.argv[0] = 'resfit'; main()"
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color", "NO_COLOR": no_color}
    said = in_python(code, "data", "info", "/nowhere", env=os.environ | terminal).stderr
    assert ("31m" in said) is coloured
    assert "error:" in said


# -- progress ----------------------------------------------------------------------------------


def test_when_there_is_no_terminal_expect_a_few_lines_with_the_time_left(capsys, monkeypatch):
    now = iter(range(0, 1000, 10))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    update = console._plain_progress("record")
    for done in range(0, 101):
        update(done, 100, "episodes") if done % 5 == 0 else None
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == console.PLAIN_STEPS + 1
    assert lines[2] == "record: 50 of 100, episodes, 2 min left".replace("2 min", console.duration(100))
    assert "left" not in lines[-1]


def test_when_a_job_is_resumed_expect_the_time_left_told_from_what_was_done_now(capsys, monkeypatch):
    now = iter((0, 100))
    monkeypatch.setattr(console.time, "monotonic", lambda: next(now))
    update = console._plain_progress("train")
    update(900, 1600, "")
    update(1200, 1600, "")
    assert capsys.readouterr().out.splitlines()[-1].endswith("2 min left")  # 300 in 100 s, 400 to go


@pytest.mark.parametrize(("seconds", "words"), [(8, "8 s"), (89, "89 s"), (200, "3 min"), (4800, "1 h 20 min")])
def test_when_a_time_is_told_expect_words_for_people(seconds: float, words: str):
    assert console.duration(seconds) == words


# -- completion --------------------------------------------------------------------------------


def completions(shell_words: str, at: int, env: dict | None = None) -> list[str]:
    """What `resfit` offers bash."""
    code = "from resfit_ros.cli.main import main; import sys; sys.argv[0] = 'resfit'; main()"
    asked = {"_RESFIT_COMPLETE": "complete_bash", "COMP_WORDS": shell_words, "COMP_CWORD": str(at)}
    return in_python(code, env=os.environ | asked | (env or {})).stdout.split()


@pytest.mark.parametrize(
    ("typed", "at", "offered"),
    [("resfit eval", 1, "evaluate"), ("resfit data ch", 2, "check"), ("resfit record --ep", 2, "--episodes")],
)
def test_when_tab_is_pressed_expect_verbs_and_options(typed: str, at: int, offered: str):
    assert completions(typed, at) == [offered]


def test_when_bash_loads_the_completion_expect_it_to_work(tmp_path: Path):
    command = tmp_path / "resfit"
    command.write_text(
        f"#!{sys.executable}\nimport sys\nfrom resfit_ros.cli.main import main\nsys.argv[0] = 'resfit'\nmain()\n"
    )
    command.chmod(0o755)
    script = """
        eval "$(resfit --show-completion)"
        complete -p resfit
        COMP_WORDS=(resfit stat) COMP_CWORD=1
        _resfit_completion resfit
        echo "offers: ${COMPREPLY[*]}"
    """
    said = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=ROOT,
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    ).stdout  # fmt: skip
    assert "complete -o default -F _resfit_completion resfit" in said
    assert said.splitlines()[-1] == "offers: status"
