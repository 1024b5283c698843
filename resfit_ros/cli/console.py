"""How the command line talks: progress bars, one-line errors, exit statuses."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from resfit_ros.core.errors import ResfitError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

EXIT_ERROR, EXIT_INTERRUPTED = 1, 130
PLAIN_STEPS = 4  # lines printed per phase when the output is not a terminal


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float, float, str], None]]:
    """Yields `on_progress(done, total, words)`; plain lines where there is no terminal."""
    if not console.is_terminal:
        yield _plain_progress(title)
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, words="starting")

        def update(done: float, total: float, words: str) -> None:
            bar.update(task, completed=int(done), total=int(total), words=words)

        yield update


def _plain_progress(title: str) -> Callable[[float, float, str], None]:
    printed = -1

    def update(done: float, total: float, words: str) -> None:
        nonlocal printed
        part = int(PLAIN_STEPS * done / total) if total else 0
        if part > printed:
            printed = part
            console.print(f"{title}: {int(done)} of {int(total)}, {words}")

    return update


def _fail(words: str) -> NoReturn:
    errors.print(f"[bold red]error:[/] {escape(words)}", soft_wrap=True)
    sys.exit(EXIT_ERROR)


@contextmanager
def reporting_errors() -> Iterator[None]:
    """One clear line instead of a traceback for what a user can put right.

    SIGTERM ends a verb as cleanly as Ctrl-C does.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except ResfitError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; choose another place or free it")
    except KeyboardInterrupt:
        errors.print("stopped; nothing finished was lost")
        sys.exit(EXIT_INTERRUPTED)
