"""What was made of a raw bag, as tables."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resfit_ros.cli.console import console
from resfit_ros.cli.data_tables import WIDE
from resfit_ros.data.raw_report import DROPPED_COLUMNS, EPISODE_COLUMNS, SOURCE_COLUMNS, RawReport


def print_raw_report(report: RawReport) -> None:
    """Its sources, its episodes, and what was dropped with the reason."""
    console.print(f"[bold]{escape(report.bag)}[/]", soft_wrap=True)
    _print_table(SOURCE_COLUMNS, report.source_rows())
    _print_table(EPISODE_COLUMNS, report.episode_rows())
    if report.dropped:
        _print_table(DROPPED_COLUMNS, report.dropped_rows())


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(escape(title), no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False, width=max(console.width, WIDE)).print(table)
