"""LeRobot datasets of codebase version 2.1 (and 2.0): a parquet file and a video per episode."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from resfit_ros.core.errors import DataError
from resfit_ros.data.formats.lerobot_export import CHUNK, Dataset, Episode, video_info
from resfit_ros.data.formats.lerobot_source import Entry, Source
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.parquet import write_table
from resfit_ros.data.formats.video import VideoFile

DATA = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"


class V2Layout:
    """Writes version 2.1."""

    def __init__(self, dataset: Dataset) -> None:
        self._to, self._frames = dataset, 0
        self._episodes: list[dict[str, Any]] = []
        self._stats: list[dict[str, Any]] = []

    def add(self, episode: Episode) -> None:
        """Writes an episode."""
        place = {"episode_chunk": episode.index // CHUNK, "episode_index": episode.index}
        write_table(episode.table, self._to.root / DATA.format(**place))
        for key, pictures in episode.videos.items():
            size = pictures.shape[2], pictures.shape[1]
            options = self._to.options
            file = VideoFile(
                self._to.root / VIDEO.format(video_key=key, **place),
                options.video,
                self._to.fps,
                size,
                options.crf,
            )
            try:
                file.add(pictures)
            finally:
                file.close()
            self._to.features[key]["info"] = video_info(*file.coding, self._to.features[key], self._to.fps)
        self._episodes.append(
            {"episode_index": episode.index, "tasks": [self._to.task], "length": len(episode)}
        )
        self._stats.append({"episode_index": episode.index, "stats": episode.stats})
        self._frames += len(episode)

    def finish(self) -> None:
        """Writes what describes them all."""
        self._lines("episodes", self._episodes)
        self._lines("episodes_stats", self._stats)
        self._lines("tasks", [{"task_index": 0, "task": self._to.task}])
        count, videos = len(self._episodes), sum(f["dtype"] == "video" for f in self._to.features.values())
        info = self._to.info(
            "v2.1",
            count,
            self._frames,
            total_videos=videos * count,
            total_chunks=-(-count // CHUNK),
            data_path=DATA,
            video_path=VIDEO if videos else None,
        )
        self._to.save_json("meta/info.json", info)

    def close(self) -> None:
        """Nothing stays open."""

    def _lines(self, name: str, rows: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (self._to.root / "meta" / f"{name}.jsonl").write_text(text)


def entries(source: Source, notes: Notes) -> Iterator[Entry]:
    """Where each episode lies, by meta/episodes.jsonl, or by info.json where that is missing or damaged.

    Raises DataError where info.json does not tell where.
    """
    lengths = _lengths(source, notes)
    try:
        count, chunk = int(source.info.get("total_episodes", 0)), int(source.info.get("chunks_size") or CHUNK)
        found = [_entry(source, index, chunk, lengths) for index in sorted({*lengths, *range(count)})]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{source.root / 'meta' / 'info.json'}: total_episodes, chunks_size, data_path or video_path "
            f"cannot be used ({type(error).__name__}: {error}); fetch the dataset again"
        ) from None
    yield from found


def _entry(source: Source, index: int, chunk: int, lengths: Mapping[int, int]) -> Entry:
    data, video = source.info.get("data_path") or DATA, source.info.get("video_path") or VIDEO
    place = {"episode_chunk": index // chunk, "episode_index": index}
    videos = {k: (source.root / video.format(video_key=k, **place), 0.0) for k in source.video_keys}
    return Entry(index, source.root / data.format(**place), lengths.get(index), videos)


def _lengths(source: Source, notes: Notes) -> dict[int, int]:
    path = source.root / "meta" / "episodes.jsonl"
    found = {}
    try:
        for line in path.read_text().splitlines():
            row = json.loads(line)
            found[int(row["episode_index"])] = int(row["length"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        notes(
            f"{path} cannot be read to its end ({error}); lengths of {len(found)} episodes are known from it"
        )
    return found
