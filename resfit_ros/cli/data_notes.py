"""How the verbs of `resfit data` talk: progress, notes said once each, or JSON alone."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.markup import escape

from resfit_ros.cli.console import console, progress_bar


def print_json(values: Any) -> None:
    """For scripts: one JSON value on standard output, and nothing else."""
    typer.echo(json.dumps(values, indent=1))


@contextmanager
def progress(title: str, as_json: bool) -> Iterator[Callable[[float, float, str], None]]:
    """A progress bar, unless standard output is for JSON."""
    if as_json:
        yield lambda *_: None
    else:
        with progress_bar(title) as on_progress:
            yield on_progress


class Notes:
    """Takes sentences; prints those it has not had before, unless `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self.given: list[str] = []
        self.quiet = quiet

    def __call__(self, sentence: str) -> None:
        if sentence in self.given:
            return
        self.given.append(sentence)
        if not self.quiet:
            console.print(f"[yellow]note:[/] {escape(sentence)}", soft_wrap=True)
