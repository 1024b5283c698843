"""`resfit console`: what it says and refuses before it serves anything."""

import pytest
import typer
from typer.testing import CliRunner

from resfit_ros.cli.console_command import TOKEN_VARIABLE, announcement, console_command
from resfit_ros.console.access import Access


def run(*arguments, **environment):
    app = typer.Typer()
    app.command()(console_command)
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.mark.parametrize("environment", [{}, {TOKEN_VARIABLE: "short"}])
def test_when_the_token_is_short_expect_one_line_and_status_1(environment):
    result = run("--host", "0.0.0.0", *([] if environment else ["--token", "short"]), **environment)
    assert result.exit_code == 1
    assert "has 5 characters; give at least 12" in result.output


def test_when_help_is_asked_for_expect_every_option():
    words = run("--help", COLUMNS="200").output
    assert [o for o in ("--host", "--port", "--token", "--namespace", "--allow-host") if o not in words] == []


@pytest.mark.parametrize(
    ("access", "is_given", "words"),
    [
        (Access("127.0.0.1"), False, "operator console: http://127.0.0.1:8700/"),
        (Access("::1"), False, "operator console: http://[::1]:8700/"),
        (
            Access("10.0.0.5", "made-for-this-run"),
            False,
            "operator console: http://10.0.0.5:8700/#token=made-for-this-run",
        ),
        (Access("10.0.0.5", "the-operators-own"), True, "operator console: http://10.0.0.5:8700/"),
    ],
)
def test_when_the_console_starts_expect_its_address_and_only_a_made_token(access, is_given, words):
    assert announcement(access, 8700, is_given) == words
