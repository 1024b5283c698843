"""How the command line talks: progress bars, one-line errors, exit statuses."""

import signal
import sys
import time
import traceback
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
from resfit_ros.log_follower import is_verbose

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
            bar.update(task, completed=int(done), total=int(total) or None, words=words)

        yield update


@contextmanager
def working(title: str, quiet: bool = False) -> Iterator[None]:
    """A spinner while something runs of which nobody can say how far it is; nothing without a terminal."""
    if console.is_terminal and not quiet:
        with console.status(escape(title)):
            yield
    else:
        yield


def _plain_progress(title: str) -> Callable[[float, float, str], None]:
    printed, first = -1, None

    def update(done: float, total: float, words: str) -> None:
        nonlocal printed, first
        now = time.monotonic()
        first = first or (now, done)  # a job that is resumed begins with some of it done
        part = int(PLAIN_STEPS * done / total) if total else 0
        if part > printed:
            printed = part
            of = f" of {int(total)}" if total else ""
            made, took_s = done - first[1], now - first[0]
            left = f", {duration(took_s * (total - done) / made)} left" if made > 0 and total > done else ""
            console.print(f"{title}: {int(done)}{of}, {words}{left}", markup=False)

    return update


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min, 1 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _fail(words: str) -> NoReturn:
    if is_verbose():
        errors.print(traceback.format_exc(), markup=False, soft_wrap=True)
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
    except BrokenPipeError:
        raise  # nobody reads any more: habits.run ends without a word
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; choose another place or free it")
    except KeyboardInterrupt:
        errors.print("stopped; nothing finished was lost")
        sys.exit(EXIT_INTERRUPTED)
