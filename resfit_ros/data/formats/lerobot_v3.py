"""LeRobot datasets of codebase version 3.0: several episodes per parquet file and per video."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from resfit_ros.core.errors import DataError
from resfit_ros.data.formats.lerobot_export import CHUNK, Dataset, Episode, video_info
from resfit_ros.data.formats.lerobot_features import combined
from resfit_ros.data.formats.lerobot_source import Entry, Source
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.parquet import column_names, read_table, write_table
from resfit_ros.data.formats.video import VideoFile

FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, VIDEO, EPISODES = (
    f"data/{FILE}.parquet",
    f"videos/{{video_key}}/{FILE}.mp4",
    f"meta/episodes/{FILE}.parquet",
)
MB = 2**20


def _place(number: int) -> dict[str, int]:
    return {"chunk_index": number // CHUNK, "file_index": number % CHUNK}


class V3Layout:
    """Writes version 3.0. Episodes go into one file until it has the size that options allow."""

    def __init__(self, dataset: Dataset) -> None:
        self._to, self._frames = dataset, 0
        self._limit = dataset.options.file_mb * MB
        self._data: Any = None
        self._data_file, self._data_bytes = -1, 0
        self._videos: dict[str, VideoFile] = {}
        self._video_files: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._stats: list[dict[str, Any]] = []

    def add(self, episode: Episode) -> None:
        """Writes an episode."""
        self._add_rows(episode)
        row = {
            "episode_index": episode.index,
            "tasks": [self._to.task],
            "length": len(episode),
            **{f"data/{key}": value for key, value in _place(self._data_file).items()},
            "dataset_from_index": episode.first_row,
            "dataset_to_index": episode.first_row + len(episode),
        }
        for key, pictures in episode.videos.items():
            row |= {f"videos/{key}/{name}": value for name, value in self._add_video(key, pictures).items()}
        row |= {
            f"stats/{key}/{name}": value for key, of in episode.stats.items() for name, value in of.items()
        }
        self._episodes.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self._stats.append(episode.stats)
        self._frames += len(episode)

    def _add_rows(self, episode: Episode) -> None:
        if self._data is None or self._data_bytes + episode.table.nbytes > self._limit:
            if self._data is not None:
                self._data.close()
            self._data_file, self._data_bytes = self._data_file + 1, 0
            path = self._to.root / DATA.format(**_place(self._data_file))
            path.parent.mkdir(parents=True, exist_ok=True)
            self._data = library("pyarrow.parquet").ParquetWriter(
                path, episode.table.schema, write_page_checksum=True
            )
        self._data.write_table(episode.table)
        self._data_bytes += episode.table.nbytes

    def _add_video(self, key: str, pictures: Any) -> dict[str, Any]:
        file, options = self._videos.get(key), self._to.options
        if file is None or file.size_bytes > self._limit:
            if file is not None:
                file.close()
            number = self._video_files[key] = self._video_files.get(key, -1) + 1
            path = self._to.root / VIDEO.format(video_key=key, **_place(number))
            size = pictures.shape[2], pictures.shape[1]
            file = self._videos[key] = VideoFile(path, options.video, self._to.fps, size, options.crf)
            self._to.features[key]["info"] = video_info(*file.coding, self._to.features[key], self._to.fps)
        start_s = file.seconds
        file.add(pictures)
        return _place(self._video_files[key]) | {"from_timestamp": start_s, "to_timestamp": file.seconds}

    def finish(self) -> None:
        """Writes what describes them all."""
        self.close()
        episodes = library("pyarrow").Table.from_pylist(self._episodes)
        write_table(episodes, self._to.root / EPISODES.format(**_place(0)))
        write_table(_tasks([self._to.task]), self._to.root / "meta" / "tasks.parquet")
        self._to.save_json("meta/stats.json", combined(self._stats))
        info = self._to.info(
            "v3.0",
            len(self._episodes),
            self._frames,
            data_files_size_in_mb=int(self._to.options.file_mb),
            video_files_size_in_mb=int(self._to.options.file_mb),
            data_path=DATA,
            video_path=VIDEO if self._videos else None,
        )
        self._to.save_json("meta/info.json", info)

    def close(self) -> None:
        """Closes the data file and the videos."""
        if self._data is not None:
            self._data.close()
        for file in self._videos.values():
            file.close()


def _tasks(tasks: Sequence[str]) -> Any:
    """The tasks as pandas writes a table whose index they are, which is how LeRobot looks them up."""
    arrow, index = library("pyarrow"), "__index_level_0__"
    table = arrow.table({"task_index": list(range(len(tasks))), index: list(tasks)})
    pandas = {
        "index_columns": [index],
        "column_indexes": [_pandas_column(None, None, "unicode", "object")],
        "columns": [
            _pandas_column("task_index", "task_index", "int64", "int64"),
            _pandas_column(None, index, "unicode", "object"),
        ],
        "creator": {"library": "pyarrow", "version": arrow.__version__},
        "pandas_version": "2.2.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _pandas_column(name: str | None, field: str | None, kind: str, numpy_kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": field,
        "pandas_type": kind,
        "numpy_type": numpy_kind,
        "metadata": None,
    }


def entries(source: Source, notes: Notes) -> Iterator[Entry]:
    """Where each episode lies, by meta/episodes. Raises DataError where nothing of that can be read."""
    paths = sorted((source.root / "meta" / "episodes").glob("*/*.parquet"))
    rows: list[dict[str, Any]] = []
    for path in paths:
        try:
            known = [name for name in column_names(path) if not name.startswith("stats/")]
            rows += read_table(path, known).to_pylist()
        except DataError as error:
            notes(f"{error}; its episodes are left out")
    if not rows:
        raise DataError(
            f"{source.root}: no readable table of episodes in meta/episodes; fetch the dataset again"
        )
    data, video = source.info.get("data_path") or DATA, source.info.get("video_path") or VIDEO
    for row in sorted(rows, key=lambda row: row["episode_index"]):
        try:
            videos = {
                key: (
                    source.root / video.format(video_key=key, **_found(row, f"videos/{key}/")),
                    float(row[f"videos/{key}/from_timestamp"]),
                )
                for key in source.video_keys
            }
            path = source.root / data.format(**_found(row, "data/"))
            yield Entry(row["episode_index"], path, row["length"], videos)
        except (LookupError, TypeError, ValueError) as error:
            notes(f"{source.root}: episode {row['episode_index']}: left out, meta/episodes lacks {error}")


def _found(row: dict[str, Any], prefix: str) -> dict[str, int]:
    return {key: row[prefix + key] for key in ("chunk_index", "file_index")}
