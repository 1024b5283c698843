"""The documentation: it builds without a warning, and what it tells people to type exists."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from resfit_ros.cli.main import app
from resfit_ros.core.types import Reason
from resfit_ros.learning.advice import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")
CODE_BLOCK = re.compile(r"^```\w*\n(.*?)^```|((?:^ {4}\S.*\n)+)", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
REPOSITORY_FILE = re.compile(r"^(?:config|docs|launch|msg|srv|scripts|test|resfit_ros)/[\w/.-]+\.\w+$")
END_OF_COMMAND = {"|", "||", "&&", ";", ">", ">>", "2>&1", "&", "done"}


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands_in(text: str) -> Iterator[list[str]]:
    """What a page tells people to type: code blocks line by line, and inline code, each split into words."""
    blocks = ["".join(match) for match in CODE_BLOCK.findall(text)]
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    prose = CODE_BLOCK.sub("", text)
    for line in (*lines, *INLINE_CODE.findall(prose)):
        try:
            yield shlex.split(line.strip().removeprefix("$ "), comments=True)
        except ValueError:  # a piece of output with a lone quote
            continue


def typed(words: list[str], program: str) -> list[str]:
    """The words of a command after the program's name, up to a pipe; none where it is another program."""
    while words and re.fullmatch(r"\w+=\S*|nice|-n|\d+", words[0]):
        words = words[1:]
    if not words or Path(words[0]).name != program:
        return []
    ends = [i for i, word in enumerate(words) if word in END_OF_COMMAND]
    return words[1 : ends[0] if ends else None]


def unknown_in(words: list[str]) -> str | None:
    """The first verb or option of a `resfit` command that does not exist."""
    command = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        verb = words[0]
        if re.search(r"[^a-z-]", verb):  # a placeholder: VERB, info|check
            return None
        if verb not in command.commands:
            return f"verb {verb}"
        command, words = command.commands[verb], words[1:]
    known = {"--help", *(option for p in command.params for option in (*p.opts, *p.secondary_opts))}
    for word in words:
        if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known:
            return f"option {word}"
    return None


def unknown_launch_argument(words: list[str]) -> str | None:
    """The launch file or the argument of a `ros2 launch resfit_ros ...` that does not exist."""
    if words[:2] != ["launch", "resfit_ros"] or not re.fullmatch(r"[a-z_]+\.launch\.py", words[2]):
        return None
    path = ROOT / "launch" / words[2]
    if not path.is_file():
        return words[2]
    known = {argument.name for argument in _module(path).ARGUMENTS}
    given = [word.split(":=")[0] for word in words[3:] if ":=" in word]
    return next((f"{words[2]} {name}:=" for name in given if name not in known), None)


@page
def test_when_a_page_names_a_resfit_command_expect_its_verb_and_options(page):
    found = [typed(words, "resfit") for words in commands_in(page.read_text())]
    wrong = {" ".join(words): unknown_in(words) for words in found if words}
    assert {command: what for command, what in wrong.items() if what} == {}


@page
def test_when_a_page_names_a_launch_file_expect_it_and_its_arguments(page):
    found = [typed(words, "ros2") for words in commands_in(page.read_text())]
    wrong = [unknown_launch_argument(words) for words in found if len(words) > 2]
    assert [what for what in wrong if what] == []


@page
def test_when_a_page_names_a_service_of_the_graph_expect_it_in_the_reference(page):
    served = re.findall(r"\| serves \| `(/resfit/[\w/]+)`", (ROOT / "docs/reference/nodes.md").read_text())
    called = [typed(words, "ros2") for words in commands_in(page.read_text())]
    names = [words[2] for words in called if words[:2] == ["service", "call"]]
    assert [n for n in names if n.startswith("/resfit/") and n not in served] == []


@page
def test_when_a_page_links_to_a_file_expect_it_there(page):
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@page
def test_when_a_page_names_a_file_of_the_repository_expect_it_there(page):
    named = [code for code in INLINE_CODE.findall(page.read_text()) if REPOSITORY_FILE.match(code)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("    resfit finetun --run-dir a\n", "verb finetun"),
        ("```sh\nresfit data split a b --copied\n```\n", "option --copied"),
        ("```sh\nFOO=1 resfit \\\n  evaluate --outt x | head\n```\n", "option --outt"),
        ("Use `resfit demo --sead 3` now.", "option --sead"),
    ],
)
def test_when_a_command_is_wrong_expect_it_found(text, what):
    (words,) = [typed(words, "resfit") for words in commands_in(text) if typed(words, "resfit")]
    assert unknown_in(words) == what


def test_when_a_launch_argument_is_wrong_expect_it_found():
    words = shlex.split("launch resfit_ros finetune.launch.py policy:=a steppes:=100")
    assert unknown_launch_argument(words) == "finetune.launch.py steppes:="


def test_when_the_site_is_built_strictly_expect_every_page_in_it(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install mkdocs==1.6.1")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path))
    build(config)  # raises on the first warning: a broken link, a page that is not in the navigation
    built = {str(p.relative_to(tmp_path).with_suffix(".md")) for p in tmp_path.rglob("*.html")}
    assert {str(p.relative_to(ROOT / "docs")) for p in PAGES[1:]} <= built


def test_when_troubleshooting_is_written_anew_expect_no_change():
    script = _module(ROOT / "scripts/troubleshooting_page.py")
    written = script.PAGE.read_text()
    assert written == script.filled(written), "run `python scripts/troubleshooting_page.py`"


def test_when_the_learner_can_warn_expect_each_warning_explained():
    text = (ROOT / "docs/troubleshooting.md").read_text()
    assert [rule.__name__ for rule in RULES if f"### {rule.__name__}\n" not in text] == []


def test_when_the_safety_filter_can_give_a_reason_expect_each_explained():
    text = (ROOT / "docs/troubleshooting.md").read_text()
    assert [reason.words for reason in Reason if f"| `{reason.words}` |" not in text] == []
