"""LeRobot datasets to episodes: what versions 2.1 and 3.0 have in common."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats import lerobot_features as columns
from resfit_ros.data.formats import lerobot_side_file as side_file
from resfit_ros.data.formats.frames import BETWEEN_NS, START_NS, Frames, episode_of
from resfit_ros.data.formats.lerobot_ours import ours_of
from resfit_ros.data.formats.lerobot_source import Entry, Source, source_of
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.options import ImportOptions, OnNote
from resfit_ros.data.formats.outcomes import REWARD_COLUMNS, SUCCESS_COLUMNS, outcome_of
from resfit_ros.data.formats.parquet import EpisodeRows, Table, matrix, texts_or_bytes
from resfit_ros.data.formats.pictures import decoded, resized
from resfit_ros.data.formats.video import read_video


def import_(
    root: Path,
    options: ImportOptions,
    on_note: OnNote,
    entries: Callable[[Source, Notes], Iterator[Entry]],
) -> Iterator[tuple[EpisodeData, BagAbout]]:
    """The episodes that `entries` lists; see Format.read."""
    library("pyarrow")
    notes = Notes(on_note)
    source = source_of(root, options, notes)
    rests, rows = _rests(root, notes), EpisodeRows(source.columns)
    plain, start_ns, seen, given = source.about(), START_NS, 0, 0
    for entry in entries(source, notes):
        if options.episodes and entry.index not in options.episodes:
            continue
        seen += 1
        where = f"{root}: episode {entry.index}"
        try:
            frames, about = _frames(source, entry, rows, rests.get(entry.index), where, notes)
        except MismatchError:
            raise
        except DataError as error:
            notes(f"{where}: left out, {error}")
            continue
        data = episode_of(frames, source.control_hz, start_ns, notes)
        if data is None:
            continue
        given += 1
        start_ns = int(data.stamps_ns[-1]) + BETWEEN_NS if frames.ours is None else start_ns
        size = data.images[0].shape[2:0:-1] if data.images else ()
        yield data, dataclasses.replace(about or plain, image_size=size)
    if not given:
        raise DataError(f"{root}: none of the {seen} episodes that were asked for can be used")


def _rests(root: Path, notes: Notes) -> dict[int, tuple[int, side_file.Rest]]:
    try:
        return side_file.read(root)
    except DataError as error:
        notes(f"{error}; last observations and outcomes are taken from the columns")
        return {}


def _frames(
    source: Source,
    entry: Entry,
    rows: EpisodeRows,
    rest: tuple[int, side_file.Rest] | None,
    where: str,
    notes: Notes,
) -> tuple[Frames, BagAbout | None]:
    table = _sorted(rows.of(entry.data, entry.index))
    states = [matrix(table, key) for key in source.state_keys]
    states = [s if i is None else s[:, list(i)] for s, i in zip(states, source.state_index, strict=True)]
    after = own = about = None
    if columns.STAMP in table.column_names:
        after, own, about = ours_of(source, table, rest, where, notes)
    frames = Frames(
        where=where,
        states=np.concatenate(states, axis=1),
        actions=source.joints.of(matrix(table, source.action_key)),
        outcome=rest[1].outcome
        if about and source.options.outcome == "auto"
        else _outcome(source, table, where),
        images=_images(source, entry, table),
        after=after,
        times_s=matrix(table, "timestamp")[:, 0] if "timestamp" in table.column_names else None,
        length=entry.length,
        ours=own,
    )
    return frames, about


def _sorted(table: Table) -> Table:
    return table.sort_by("frame_index") if "frame_index" in table.column_names else table


def _outcome(source: Source, table: Table, where: str) -> Outcome:
    found = [
        next((k for k in names if k in table.column_names), "") for names in (SUCCESS_COLUMNS, REWARD_COLUMNS)
    ]
    successes, rewards = (matrix(table, key)[:, 0] if key else None for key in found)
    return outcome_of(source.options, successes, rewards, where)


def _images(source: Source, entry: Entry, table: Table) -> tuple[np.ndarray, ...]:
    cameras = []
    for key in source.camera_keys:
        if key in entry.videos:
            path, from_s = entry.videos[key]
            rows = _video_places(table, source.control_hz)
            found = read_video(path, from_s, int(rows.max()) + 1, source.control_hz)
            there = np.argmax(rows >= len(found)) if (rows >= len(found)).any() else len(rows)
            pictures = found[rows[:there]]
        else:
            pictures = _stored_pictures(source.root, table, key)
        cameras.append(resized(pictures, source.options.image_size))
    return tuple(cameras)


def _video_places(table: Table, fps: float) -> np.ndarray:
    """Which picture of its video belongs to each row."""
    if "timestamp" in table.column_names:
        seconds = matrix(table, "timestamp")[:, 0].astype(np.float64)
        if np.isfinite(seconds).all() and (seconds >= 0).all():
            return np.round(seconds * fps).astype(int)
    return np.arange(len(table))


def _stored_pictures(root: Path, table: Table, key: str) -> np.ndarray:
    """The pictures of a column up to the first that is damaged."""
    pictures: list[np.ndarray] = []
    try:
        for file in texts_or_bytes(table, key):
            data = file["bytes"] if file["bytes"] is not None else (root / file["path"]).read_bytes()
            picture = decoded(data)
            if pictures and picture.shape != pictures[0].shape:
                raise DataError(f"a picture is {picture.shape}, those before it {pictures[0].shape}")
            pictures.append(picture)
    except (DataError, OSError, LookupError, TypeError) as error:
        if not pictures:
            raise DataError(f"column '{key}' has no picture ({error})") from None
    return np.stack(pictures)
