"""A conversion: episodes are read, written as bags, and those exported where a dataset is wanted."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resfit_ros.bringup import RunConfig
from resfit_ros.cli.console import console
from resfit_ros.cli.conversion_options import BAGS, RAW, ConversionOptions
from resfit_ros.cli.data_notes import Notes, print_json, progress
from resfit_ros.cli.data_tables import count
from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.bag_table import bag_directories
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.data.expected import configured_about
from resfit_ros.data.formats import FORMATS
from resfit_ros.data.formats.whole_output import sound_episodes, whole

Episodes = Iterator[tuple[EpisodeData, BagAbout]]


def run_conversion(source: Path, out: Path, options: ConversionOptions, as_json: bool) -> None:
    """Converts, and prints what came of it.

    Raises DataError when nothing can be used, MismatchError when it does not fit the configuration; `out`
    comes into being whole or not at all.
    """
    notes, reports = Notes(quiet=as_json), []
    if options.kind == BAGS and options.to != BAGS:
        written = _export(bag_directories(source), out, options, notes, as_json)
    elif options.to == BAGS:
        with whole(out) as partial:
            written = _write_bags(source, partial, options, notes, reports, as_json)
    else:
        _require_new(out)
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=out.parent) as folder:
            bags = Path(folder) / "bags"
            _write_bags(source, bags, options, notes, reports, as_json)
            written = _export(bag_directories(bags), out, options, notes, as_json)
    if as_json:
        facts = {"from": options.kind, "to": options.to, "out": str(out), "episodes": written}
        print_json(facts | {"notes": notes.given, "reports": reports})
    else:
        console.print(f"{count(written, 'episode')}, {options.kind} to {options.to}: {out}", soft_wrap=True)


def _require_new(out: Path) -> None:
    if out.exists():
        raise DataError(f"{out}: exists already; remove it, or write elsewhere")
    out.parent.mkdir(parents=True, exist_ok=True)


def _write_bags(
    source: Path, out: Path, options: ConversionOptions, notes: Notes, reports: list[Any], as_json: bool
) -> int:
    """Number of episodes written as bags."""
    out.mkdir()
    written, steps, total = 0, 0, _episodes_in(source, options.kind)
    with progress("convert", as_json) as on_progress:
        for data, about in _episodes(source, options, notes, reports, as_json):
            _require_robot(source, data, about, options.config)
            written, steps = written + 1, steps + len(data)
            write_episode(out, written, data, about)
            on_progress(written, max(written, total), f"{steps} steps")
    if not written:
        raise DataError(f"{source}: no episode of it can be used; 'resfit data info' or 'check' tell more of bags")
    return written


def _episodes(
    source: Path, options: ConversionOptions, notes: Notes, reports: list[Any], as_json: bool
) -> Episodes:
    if options.kind == BAGS:
        return sound_episodes(bag_directories(source), notes)
    if options.kind != RAW:
        return FORMATS[options.kind].read(source, options.reading, notes)
    from resfit_ros.cli.raw_tables import print_raw_report
    from resfit_ros.data.raw_bags import raw_episodes

    def on_report(report: Any) -> None:
        reports.append(report.to_json())
        if not as_json:
            print_raw_report(report)

    return raw_episodes(source, options.config, options.reading, notes, on_report)


def _episodes_in(source: Path, kind: str) -> int:
    """Number of episodes as far as it is quickly known; 0: it is not."""
    try:
        if kind == BAGS:
            return len(bag_directories(source))
        if source.is_dir():
            return int(json.loads((source / "meta" / "info.json").read_text())["total_episodes"])
        import h5py

        with h5py.File(source) as file:
            return len(file["data"])
    except (ImportError, OSError, ValueError, LookupError, TypeError, DataError):  # the reader says what is wrong
        return 0


def _require_robot(source: Path, data: EpisodeData, about: BagAbout, config: RunConfig | None) -> None:
    """Raises MismatchError on an episode of another robot than the configuration's."""
    if config is None:
        return
    difference = about.difference(configured_about(config))
    if not difference and data.states.shape[1] != config.state_dim:
        difference = f"states have {data.states.shape[1]} numbers, expected {config.state_dim}"
    if difference:
        raise MismatchError(
            f"{source}: does not fit {config.path}: {difference}; name joints with --joint-map, columns with --set, "
            "or leave --config out"
        )


def _export(
    bags: Sequence[Path], out: Path, options: ConversionOptions, notes: Notes, as_json: bool
) -> int:
    with progress("export", as_json) as on_progress:
        return FORMATS[options.to].write(_Watched(bags, on_progress), out, options.writing, notes)


class _Watched(list):
    """Bags that say how far whoever goes through them has come."""

    def __init__(self, bags: Iterable[Path], on_progress: Any) -> None:
        super().__init__(bags)
        self._on_progress = on_progress

    def __iter__(self) -> Iterator[Path]:
        for done, bag in enumerate(super().__iter__(), 1):
            yield bag
            self._on_progress(done, len(self), bag.name)
