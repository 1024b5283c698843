"""Tables and JSON of `resfit data info`."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resfit_ros.cli.console import console
from resfit_ros.data.bag_table import BagRow, Totals

NOTHING = "–"
WIDE = 120  # columns
HASH_CHARACTERS = 12
OUTCOME_STYLES = {"success": "green", "failure": "red", "timeout": "yellow", "aborted": "dim"}


def count(number: int, what: str) -> str:
    """E.g. "1 bag", "1,200 bags"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size_text(size_bytes: int) -> str:
    """E.g. "1.5 MB", in powers of 1000."""
    size, units = float(size_bytes), ["B", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def duration_text(seconds: float) -> str:
    """E.g. "45.0 s", "12.5 min", "3.1 h"."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def robot_text(row: BagRow) -> str:
    """E.g. "29 joints, 20 Hz, 2 cameras 84 x 84 jpeg 90"."""
    about, sizes = row.about, row.sizes
    joints = len(about.joint_names) or sizes.joints
    cameras = len(about.camera_names) or len(sizes.images)
    words = [count(joints, "joint")] if joints else []
    words += [count(sizes.states, "state")] if sizes.states else []
    words += [f"{about.control_hz:g} Hz"] if about.control_hz else []
    if cameras:
        size = " x ".join(map(str, about.image_size or sizes.images[0]))
        encoding = f" {about.image_encoding}" if about.camera_names else ""
        quality = f" {about.jpeg_quality}" if about.jpeg_quality else ""
        words.append(f"{count(cameras, 'camera')} {size}{encoding}{quality}")
    return ", ".join(words)


# What bags say of their robot: a column where they differ, else one line above the table.
ABOUT_COLUMNS: dict[str, Callable[[BagRow], str]] = {
    "robot": robot_text,
    "base policy": lambda row: row.about.base_policy_sha256[:HASH_CHARACTERS],
    "source": lambda row: row.about.source,
}


def print_rows(rows: Sequence[BagRow]) -> None:
    """One line per bag; what all bags share is said once, above."""
    shared, columns = [], {}
    for title, of in ABOUT_COLUMNS.items():
        values = {of(row) for row in rows}
        if len(values) > 1:
            columns[title] = of
        elif values != {""}:
            shared.append(f"{title}: {values.pop()}")
    if shared:
        console.print(escape("; ".join(shared)), soft_wrap=True)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("episode", "outcome", "steps", "seconds", *columns, "size", "state"):
        right = title in ("steps", "seconds", "size")
        table.add_column(title, justify="right" if right else "left", no_wrap=title != "state")
    for row in rows:
        table.add_row(*_cells(row, columns.values()))
    Console(highlight=False, width=max(console.width, WIDE)).print(table)


def _cells(row: BagRow, columns: Any) -> list[str]:
    style = OUTCOME_STYLES.get(row.outcome)
    outcome = f"[{style}]{row.outcome}[/]" if style else escape(row.outcome or NOTHING)
    return [
        escape(row.path.name),
        outcome,
        NOTHING if row.steps is None else str(row.steps),
        NOTHING if row.seconds is None else f"{row.seconds:.1f}",
        *(escape(of(row) or NOTHING) for of in columns),
        size_text(row.size_bytes),
        f"[bold red]{escape(row.damage)}[/]" if row.damage else "[green]ok[/]",
    ]


def print_topics(row: BagRow) -> None:
    """Topics of one bag and its seed."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("topic", "type", "messages"):
        table.add_column(title, justify="right" if title == "messages" else "left", no_wrap=True)
    for name, (kind, messages) in row.topics.items():
        table.add_row(escape(name), escape(kind), str(messages))
    Console(highlight=False, width=max(console.width, WIDE)).print(table)
    if not row.outcome and not row.damage:
        console.print("not an episode of this recorder; make episodes of it with 'resfit data convert --from raw'")


def print_totals(totals: Totals, where: str = "") -> None:
    """One line: how much there is, how it ended, what is damaged."""
    kinds = ", ".join(f"{number} {outcome}" for outcome, number in totals.outcomes.items())
    share = totals.success_share
    success = f"; {share:.0%} success" if share is not None else ""
    damaged = f"; [bold red]{totals.damaged} damaged[/]" if totals.damaged else ""
    figures = [count(totals.episodes, "episode"), count(totals.steps, "step")]
    figures += [duration_text(totals.seconds)] if totals.seconds else []
    figures += [size_text(totals.size_bytes)]
    console.print(f"{escape(where)}{', '.join(figures)}: {escape(kinds)}{success}{damaged}", soft_wrap=True)
