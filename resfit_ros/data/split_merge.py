"""Directories of bags taken apart into training and held-out sets, and several put into one."""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from resfit_ros.core.errors import DataError
from resfit_ros.data.bag_table import METADATA, BagRow, bag_directories, bag_row
from resfit_ros.data.formats.whole_output import whole

TRAIN, HELD_OUT, RECORD = "train", "held_out", "split.json"
OUTCOME, RANDOM = "outcome", "random"
Progress = Callable[[float, float, str], None]


def divide(
    outcomes: Mapping[str, str], fraction: float, seed: int, by: str = OUTCOME
) -> tuple[list[str], list[str]]:
    """Names of bags in two sorted lists: (training set, held-out set of about `fraction` of them).

    outcomes: name of each bag to its outcome; with by=OUTCOME each outcome is divided in the same
    proportion. The same names and seed give the same lists. At least one bag comes into either.
    """
    groups: dict[str, list[str]] = {}
    for name in sorted(outcomes):
        groups.setdefault(outcomes[name] if by == OUTCOME else "", []).append(name)
    wanted = min(max(1, round(fraction * len(outcomes))), len(outcomes) - 1)
    generator = np.random.default_rng(seed)
    held_out: list[str] = []
    for group, count in zip(groups.values(), _shares([len(g) for g in groups.values()], wanted), strict=True):
        held_out += [group[i] for i in generator.permutation(len(group))[:count]]
    return sorted(set(outcomes) - set(held_out)), sorted(held_out)


def _shares(sizes: Sequence[int], wanted: int) -> list[int]:
    """`wanted` items taken from groups in proportion to their sizes, by largest remainders."""
    exact = [wanted * size / sum(sizes) for size in sizes]
    shares = [int(e) for e in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (shares[i] - exact[i], i))
    for i in by_remainder[: wanted - sum(shares)]:
        shares[i] += 1
    return shares


def split_bags(
    directory: Path,
    out: Path,
    fraction: float,
    seed: int,
    by: str = OUTCOME,
    copy: bool = False,
    on_progress: Progress = lambda *_: None,
) -> dict[str, list[str]]:
    """Puts the bags of a directory into OUT/train and OUT/held_out; returns their names by set.

    Bags stay as they are, byte for byte: hard links, or copies where there can be none or with `copy`.
    OUT/split.json says what went where. Raises DataError on fewer than two bags.
    """
    rows = {path.name: bag_row(path) for path in bag_directories(directory)}
    if len(rows) < 2:
        raise DataError(f"{directory}: holds one bag, which cannot be split; give a folder of several")
    train, held_out = divide({n: r.outcome for n, r in rows.items()}, fraction, seed, by)
    sets = {TRAIN: train, HELD_OUT: held_out}
    with whole(out) as partial:
        done = 0
        for folder, names in sets.items():
            for name in names:
                _place(directory / name, partial / folder / name, copy)
                done += 1
                on_progress(done, len(rows), name)
        _record(partial / RECORD, directory, rows, sets, fraction=fraction, seed=seed, by=by)
    return sets


def _place(bag: Path, target: Path, copy: bool) -> None:
    target.mkdir(parents=True)
    for file in bag.iterdir():
        if copy or not _linked(file, target / file.name):
            shutil.copy2(file, target / file.name)


def _linked(file: Path, target: Path) -> bool:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        return False
    return True


def _record(
    path: Path, directory: Path, rows: Mapping[str, BagRow], sets: Mapping[str, Sequence[str]], **how: object
) -> None:
    listed = {
        folder: [{"bag": name, "outcome": rows[name].outcome, "steps": rows[name].steps} for name in names]
        for folder, names in sets.items()
    }
    path.write_text(json.dumps({"source": str(directory.resolve()), **how, **listed}, indent=1) + "\n")


def finished(bags: Sequence[Path], on_note: Callable[[str], None]) -> list[Path]:
    """The bags that have their metadata; a note on each of the others."""
    for bag in bags:
        if not (bag / METADATA).is_file():
            on_note(f"{bag}: left out, it was never closed; recover it with 'resfit data check {bag.parent} --repair'")
    return [bag for bag in bags if (bag / METADATA).is_file()]
