"""Episodes to LeRobot datasets: what versions 2.1 and 3.0 have in common."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats import lerobot_features as columns
from resfit_ros.data.formats import lerobot_side_file as side_file
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.options import ExportOptions, OnNote
from resfit_ros.data.formats.pictures import png
from resfit_ros.data.formats.rate import rate_of
from resfit_ros.data.formats.whole_output import sound_episodes, whole

CHUNK = 1000  # files of a folder
NO_TASK = "unknown"


@dataclass(frozen=True, eq=False)
class Episode:
    """An episode as a layout writes it. table: its parquet rows; videos: pictures per video column."""

    index: int
    first_row: int
    table: Any
    videos: dict[str, np.ndarray]
    stats: dict[str, dict[str, Any]]

    def __len__(self) -> int:
        return len(self.table)


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is the same for all episodes. fps: frames per second."""

    root: Path
    features: dict[str, dict[str, Any]]
    fps: Fraction
    options: ExportOptions
    task: str

    def save_json(self, path: str, value: Any) -> None:
        """Writes a file below the root."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(json.dumps(value, indent=4) + "\n")

    def info(self, version: str, episodes: int, frames: int, **more: Any) -> dict[str, Any]:
        """The content of meta/info.json."""
        fps = int(self.fps) if self.fps.denominator == 1 else float(self.fps)
        return {
            "codebase_version": version,
            "robot_type": self.options.robot_type or None,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": 1,
            "chunks_size": CHUNK,
            "fps": fps,
            "splits": {"train": f"0:{episodes}"},
            **more,
            "features": self.features,
        }


class Layout(Protocol):
    """How a version arranges episodes in files."""

    def add(self, episode: Episode) -> None:
        """Writes an episode."""

    def finish(self) -> None:
        """Writes what describes them all."""

    def close(self) -> None:
        """Closes files that are open, also where writing went wrong."""


def export(
    bags: Sequence[Path],
    out: Path,
    options: ExportOptions,
    on_note: OnNote,
    layout_of: Callable[[Dataset], Layout],
) -> int:
    """Writes the sound ones of the bags; see Format.write."""
    library("pyarrow")
    rows: list[dict[str, Any]] = []
    layout: Layout | None = None
    with whole(out) as root:
        first_row = 0
        try:
            for data, about in sound_episodes(bags, on_note):
                if layout is None:
                    dataset = _dataset(root, data, about, options, on_note)
                    layout = layout_of(dataset)
                episode = _episode(len(rows), first_row, data, dataset)
                layout.add(episode)
                rows.append(side_file.row_of(episode.index, data, about))
                first_row += len(data)
            layout.finish()
            side_file.write(root, rows)
        finally:
            if layout is not None:
                layout.close()
    return len(rows)


def _dataset(
    root: Path, data: EpisodeData, about: BagAbout, options: ExportOptions, on_note: OnNote
) -> Dataset:
    (root / "meta").mkdir(parents=True)
    fps = Fraction(rate_of(data, about, options, on_note)).limit_denominator(1000)
    if fps.denominator != 1:
        on_note(
            f"{float(fps):g} frames per second are written as they are; LeRobot itself expects a whole number"
        )
    kind = "video" if options.video else "image"
    return Dataset(root, columns.features(about, data, kind), fps, options, options.task or NO_TASK)


def _episode(index: int, first_row: int, data: EpisodeData, dataset: Dataset) -> Episode:
    arrow, steps = library("pyarrow"), len(data)
    schema = columns.schema(dataset.features)
    values = _columns(index, first_row, data, float(dataset.fps))
    cameras = [key for key, feature in dataset.features.items() if feature["dtype"] in columns.PICTURES]
    pictures = {key: camera[:steps] for key, camera in zip(cameras, data.images, strict=True)}
    arrays = []
    for field in schema:
        if field.name in pictures:
            files = [
                {"bytes": png(p), "path": f"frame-{k:06d}.png"} for k, p in enumerate(pictures[field.name])
            ]
            arrays.append(arrow.array(files, field.type))
        elif arrow.types.is_fixed_size_list(field.type):
            flat = arrow.array(np.ascontiguousarray(values[field.name]).reshape(-1))
            arrays.append(arrow.FixedSizeListArray.from_arrays(flat, type=field.type))
        else:
            arrays.append(arrow.array(values[field.name].reshape(-1), field.type))
    return Episode(
        index=index,
        first_row=first_row,
        table=arrow.Table.from_arrays(arrays, schema=schema),
        videos=pictures if dataset.options.video else {},
        stats=columns.statistics(values, pictures),
    )


def _columns(index: int, first_row: int, data: EpisodeData, fps: float) -> dict[str, np.ndarray]:
    steps = len(data)
    frame, last = np.arange(steps), np.arange(steps) == steps - 1
    success = last & (data.outcome is Outcome.SUCCESS)
    return {
        columns.STATE: data.states[:-1].astype(np.float32),
        columns.ACTION: data.actions.astype(np.float32),
        columns.REWARD: success.astype(np.float32),
        columns.DONE: last,
        columns.SUCCESS: success,
        columns.BASE: data.bases[:-1].astype(np.float32),
        columns.PHASE: data.phases[:-1].astype(np.float32),
        columns.STAMP: data.stamps_ns[:-1].astype(np.int64),
        columns.TAINTED: data.tainted,
        columns.INTERVENTION: data.interventions,
        columns.MISSING: data.missing,
        "timestamp": (frame / fps).astype(np.float32),
        "frame_index": frame,
        "episode_index": np.full(steps, index),
        "index": first_row + frame,
        "task_index": np.zeros(steps, np.int64),
    }


def video_info(codec: str, pixels: str, feature: dict[str, Any], fps: Fraction) -> dict[str, Any]:
    """What a video feature's "info" tells."""
    height, width, channels = feature["shape"]
    return {
        "video.height": height,
        "video.width": width,
        "video.codec": codec,
        "video.pix_fmt": pixels,
        "video.is_depth_map": False,
        "video.fps": float(fps) if fps.denominator != 1 else int(fps),
        "video.channels": channels,
        "has_audio": False,
    }
