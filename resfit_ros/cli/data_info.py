"""`resfit data info`: what bags hold, as their metadata say, or as their messages do."""

import dataclasses
from pathlib import Path
from typing import Any

from resfit_ros.cli.console import console
from resfit_ros.cli.data_notes import print_json, progress
from resfit_ros.cli.data_tables import count, print_rows, print_topics, print_totals
from resfit_ros.core.errors import DataError
from resfit_ros.data.bag_table import (
    BagRow,
    Totals,
    bag_directories,
    bag_folders,
    bag_row,
    sizes_of,
    totals_of,
    unfinished_bags,
)


def print_info(source: Path, deep: bool, as_json: bool) -> None:
    """Prints the bags of a folder, or the totals of each folder below it; raises DataError when there is none."""
    if not _holds_bags(source):
        folders = {folder: [bag_row(bag) for bag in bag_directories(folder)] for folder in bag_folders(source)}
        if as_json:
            print_json({str(f): _totals_dict(totals_of(rows)) for f, rows in folders.items()})
        else:
            for folder, rows in folders.items():
                print_totals(totals_of(rows), f"{folder}: ")
            console.print("give one of these folders for a line per episode")
        return
    bags = bag_directories(source)
    rows = [bag_row(bag) for bag in bags]
    if deep:
        with progress("read", as_json) as on_progress:
            rows = [_looked_into(row, on_progress, i, len(rows)) for i, row in enumerate(rows, 1)]
    unfinished = unfinished_bags(source)
    if as_json:
        listed = {"bags": [r.as_dict() for r in rows], "totals": _totals_dict(totals_of(rows))}
        print_json(listed | {"unfinished": [str(b) for b in unfinished]})
        return
    print_rows(rows)
    if len(rows) == 1:
        print_topics(rows[0])
    print_totals(totals_of(rows))
    if unfinished:
        console.print(
            f"{count(len(unfinished), 'bag')} in {unfinished[0].parent}: its recorder was stopped; "
            f"recover with 'resfit data check {source} --repair'",
            soft_wrap=True,
        )


def _holds_bags(source: Path) -> bool:
    """Whether there are bags, and not only folders of them; raises DataError when there are none at all."""
    try:
        bag_directories(source)
    except DataError:
        if not bag_folders(source):
            raise
        return False
    return True


def _looked_into(row: BagRow, on_progress: Any, done: int, total: int) -> BagRow:
    """The row with what reading the bag whole shows."""
    from resfit_ros.data.check_bags import check_bag

    report = check_bag(row.path, None)
    on_progress(done, total, row.path.name)
    words = [p.removeprefix(f"{row.path}: ") for p in report.problems]
    more = f" (and {count(len(words) - 1, 'problem')} more)" if len(words) > 1 else ""
    damage = row.damage or (words[0] + more if words else "")
    try:
        sizes = sizes_of(row.path)
    except DataError:  # the report says why
        sizes = row.sizes
    return dataclasses.replace(row, steps=report.steps, damage=damage, sizes=sizes)


def _totals_dict(totals: Totals) -> dict[str, Any]:
    return dataclasses.asdict(totals) | {"success_share": totals.success_share}
