"""LeRobot datasets of other tools, written with pyarrow and PyAV in the layout that LeRobot writes."""

import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from resfit_ros.data.formats import ImportOptions, detected

pa = pytest.importorskip("pyarrow", reason="LeRobot datasets need pyarrow: pip install pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="LeRobot datasets need pyarrow: pip install pyarrow")
av = pytest.importorskip("av", reason="videos need PyAV: pip install av")
Image = pytest.importorskip("PIL.Image", reason="pictures need Pillow: pip install pillow")

FPS, SIZE, CAMERA = 10, (32, 48), "observation.images.front"
V2, V3 = "lerobot-v2.1", "lerobot-v3"
both = pytest.mark.parametrize("version", [V2, V3])


def pictures(frames, seed=0):
    """A ramp that gets brighter by 6 with each frame."""
    ramp = np.linspace(0, 120, SIZE[0] * SIZE[1]).reshape(1, *SIZE, 1)
    bright = 6 * np.arange(frames).reshape(-1, 1, 1, 1) + seed
    return np.repeat((ramp + bright).astype(np.uint8), 3, axis=-1)


def columns(index, frames, first=0):
    rng = np.random.default_rng(index)
    return {
        "observation.state": rng.normal(size=(frames, 3)).astype(np.float32),
        "action": rng.normal(size=(frames, 2)).astype(np.float32),
        "next.success": np.arange(frames) == frames - 1,
        "timestamp": (np.arange(frames) / FPS).astype(np.float32),
        "frame_index": np.arange(frames),
        "episode_index": np.full(frames, index),
        "index": first + np.arange(frames),
        "task_index": np.zeros(frames, np.int64),
    }


def info(version, episodes, video, **changes):
    vector = {"dtype": "float32", "names": {"motors": ["shoulder.pos", "elbow.pos"]}}
    chunk = "chunk-{episode_chunk:03d}" if version == V2 else "chunk-{chunk_index:03d}"
    file = "episode_{episode_index:06d}" if version == V2 else "file-{file_index:03d}"
    clip = (
        f"videos/{chunk}/{{video_key}}/{file}.mp4"
        if version == V2
        else f"videos/{{video_key}}/{chunk}/{file}.mp4"
    )
    features = {
        "observation.state": {"dtype": "float32", "shape": [3], "names": None},
        "action": {**vector, "shape": [2]},
        "next.success": {"dtype": "bool", "shape": [1], "names": None},
        CAMERA: {
            "dtype": "video" if video else "image",
            "shape": [*SIZE, 3],
            "names": ["height", "width", "channels"],
        },
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    }
    return {
        "codebase_version": "v2.1" if version == V2 else "v3.0",
        "total_episodes": episodes,
        "chunks_size": 1000,
        "fps": FPS,
        "data_path": f"data/{chunk}/{file}.parquet",
        "video_path": clip if video else None,
        "features": features,
        **changes,
    }


def table(values, images=None):
    fields = {
        key: pa.array(list(v), pa.list_(pa.float32())) if v.ndim == 2 else pa.array(v)
        for key, v in values.items()
    }
    if images is not None:
        files = []
        for picture in images:
            buffer = io.BytesIO()
            Image.fromarray(picture).save(buffer, "PNG")
            files.append({"bytes": buffer.getvalue(), "path": None})
        fields[CAMERA] = pa.array(files)
    return pa.table(fields)


def write_video(path, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FPS))
        stream.height, stream.width, stream.pix_fmt = *images.shape[1:3], "yuv420p"
        stream.options = {"crf": "10"}
        for picture in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def dataset(
    root: Path, version, lengths=(6, 8), video=False, change=lambda values, index: values, **changes
) -> Path:
    """A dataset of len(lengths) episodes; `change` makes something of an episode's columns."""
    meta = root / "meta"
    meta.mkdir(parents=True)
    (meta / "info.json").write_text(json.dumps(info(version, len(lengths), video, **changes)))
    tables, films, first = [], [], 0
    for index, frames in enumerate(lengths):
        films.append(pictures(frames, 40 * index))
        values = change(columns(index, frames, first), index)
        tables.append(table(values, None if video else films[-1][: len(values["action"])]))
        first += frames
    (write_v2 if version == V2 else write_v3)(root, lengths, tables, films if video else [])
    return root


def write_v2(root, lengths, tables, films):
    lines = [json.dumps({"episode_index": i, "tasks": ["t"], "length": n}) for i, n in enumerate(lengths)]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    (root / "data/chunk-000").mkdir(parents=True)
    for index, rows in enumerate(tables):
        pq.write_table(rows, root / f"data/chunk-000/episode_{index:06d}.parquet")
    for index, film in enumerate(films):
        write_video(root / f"videos/chunk-000/{CAMERA}/episode_{index:06d}.mp4", film)


def write_v3(root, lengths, tables, films):
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables), root / "data/chunk-000/file-000.parquet")
    rows, first = [], 0
    for index, frames in enumerate(lengths):
        row = {"episode_index": index, "length": frames, "data/chunk_index": 0, "data/file_index": 0}
        row |= {f"videos/{CAMERA}/chunk_index": 0, f"videos/{CAMERA}/file_index": 0}
        row |= {
            f"videos/{CAMERA}/from_timestamp": first / FPS,
            f"videos/{CAMERA}/to_timestamp": (first + frames) / FPS,
        }
        rows.append(row)
        first += frames
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    if films:
        write_video(root / f"videos/{CAMERA}/chunk-000/file-000.mp4", np.concatenate(films))


def read(root, said=None, **options):
    notes = [] if said is None else said
    found = list(detected(root).read(root, ImportOptions(**options), notes.append))
    if said is None:
        assert notes == []
    return found
