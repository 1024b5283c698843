"""A file that says of raw bags how their episodes went, and where in the bag they lie."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from resfit_ros.core.errors import DataError, nearest
from resfit_ros.core.types import Outcome
from resfit_ros.data.raw_options import OUTCOMES

COLUMNS = ("bag", "start_s", "end_s", "outcome")


@dataclass(frozen=True)
class LabelRow:
    """One episode. start_s, end_s: from the bag's first message, None: the bag's own. where: for errors."""

    bag: str
    start_s: float | None
    end_s: float | None
    outcome: Outcome
    where: str

    def is_of(self, bag: Path) -> bool:
        """Whether it is about this bag: its name, with or without ending, or no name at all."""
        return self.bag in ("", bag.name, bag.stem)


def read_labels(path: Path) -> tuple[LabelRow, ...]:
    """All rows of a .csv, .yaml or .json file; raises DataError naming the row that is wrong."""
    return tuple(_row(f"{path}, {where}", row) for where, row in _rows(path))


def rows_of(rows: tuple[LabelRow, ...], bag: Path, labels: Path) -> tuple[LabelRow, ...]:
    """The rows about one bag, by their start; raises DataError when there are none, or two overlap."""
    ours = sorted((r for r in rows if r.is_of(bag)), key=lambda r: r.start_s or 0.0)
    if not ours:
        known = sorted({r.bag for r in rows})
        hint = f"; {nearest(bag.name, known)}" if known else ""
        raise DataError(f"{labels}: says nothing of bag '{bag.name}'{hint}")
    for before, after in zip(ours, ours[1:], strict=False):
        if before.end_s is None or (after.start_s or 0.0) < before.end_s:
            earlier = before.where.rpartition(", ")[2]
            raise DataError(f"{after.where}: begins before the episode of {earlier} ends")
    return tuple(ours)


def _rows(path: Path) -> list[tuple[str, Mapping[str, Any]]]:
    try:
        text = path.read_text()
        if path.suffix == ".csv":
            table = csv.DictReader(text.splitlines(), skipinitialspace=True)
            return [(f"line {table.line_num}", row) for row in table]
        found = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, csv.Error, yaml.YAMLError) as error:
        raise DataError(f"{path}: cannot be read as labels ({error})") from None
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise DataError(f"{path}: expected a list of rows with {', '.join(COLUMNS)}")
    return [(f"row {i}", row) for i, row in enumerate(found, 1)]


def _row(where: str, row: Mapping[Any, Any]) -> LabelRow:
    for key in row:
        if key not in COLUMNS:
            raise DataError(f"{where}: unknown column '{key}'; {nearest(str(key), COLUMNS)}")
    word = str(row.get("outcome") or "").strip().lower()
    if word not in OUTCOMES:
        raise DataError(f"{where}: outcome '{word}': expected {', '.join(OUTCOMES)}")
    start_s, end_s = _seconds(where, row, "start_s"), _seconds(where, row, "end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise DataError(f"{where}: end_s {end_s:g} is not after start_s {start_s or 0.0:g}")
    return LabelRow(str(row.get("bag") or "").strip(), start_s, end_s, Outcome[word.upper()], where)


def _seconds(where: str, row: Mapping[Any, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise DataError(f"{where}: {column} '{value}': expected seconds from the bag's first message")
    return seconds
