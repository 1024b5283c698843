"""The columns of a LeRobot dataset that we write, for its info.json, its parquet files and its statistics."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.joints import state_names
from resfit_ros.data.formats.libraries import library

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
BASE, PHASE, STAMP = "resfit.base", "resfit.phase", "resfit.stamp_ns"
TAINTED, INTERVENTION, MISSING = "resfit.tainted", "resfit.intervention", "resfit.missing"
REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
PICTURES = ("image", "video")
SAMPLED = 100  # pictures that the statistics of an episode are made of


def camera_keys(about: BagAbout, cameras: int) -> list[str]:
    """The column of each camera."""
    names = (
        about.camera_names if len(about.camera_names) == cameras else [f"camera_{i}" for i in range(cameras)]
    )
    return [IMAGES + name.replace("/", "_") for name in names]


def features(about: BagAbout, data: EpisodeData, kind: str) -> dict[str, dict[str, Any]]:
    """Every column: dtype, shape and names. kind: of the pictures, "image" or "video"."""
    state, joints = data.states.shape[1], data.actions.shape[1]
    names = list(about.joint_names) if len(about.joint_names) == joints else None
    found = {
        STATE: _feature("float32", state, state_names(about.state, about.joint_names, state)),
        ACTION: _feature("float32", joints, names),
    }
    for key, camera in zip(camera_keys(about, len(data.images)), data.images, strict=True):
        found[key] = {
            "dtype": kind,
            "shape": list(camera.shape[1:]),
            "names": ["height", "width", "channels"],
        }
    found |= {REWARD: _feature("float32"), DONE: _feature("bool"), SUCCESS: _feature("bool")}
    found |= {BASE: _feature("float32", joints, names), PHASE: _feature("float32"), STAMP: _feature("int64")}
    found |= {key: _feature("bool") for key in (TAINTED, INTERVENTION, MISSING)}
    found["timestamp"] = _feature("float32")
    return found | {key: _feature("int64") for key in ("frame_index", "episode_index", "index", "task_index")}


def _feature(dtype: str, size: int = 1, names: list[str] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [size], "names": names}


def schema(all_features: Mapping[str, Mapping[str, Any]]) -> Any:
    """The pyarrow schema of the data files, with what the `datasets` library needs to know of pictures."""
    arrow = library("pyarrow")
    kinds = {"float32": arrow.float32(), "int64": arrow.int64(), "bool": arrow.bool_()}
    picture = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    fields, known = [], {}
    for key, feature in all_features.items():
        dtype, size = feature["dtype"], feature["shape"][0]
        if dtype == "video":
            continue
        if dtype == "image":
            fields.append((key, picture))
            known[key] = {"_type": "Image"}
            continue
        value = {"dtype": dtype, "_type": "Value"}
        fields.append((key, kinds[dtype] if size == 1 else arrow.list_(kinds[dtype], size)))
        known[key] = value if size == 1 else {"feature": value, "length": size, "_type": "Sequence"}
    return arrow.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": known}})})


def statistics(
    columns: Mapping[str, np.ndarray], pictures: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Minimum, maximum, mean, deviation and count of each column (n, width) and each camera's channels.

    Those of pictures are of values in [0, 1] and have shape (3, 1, 1), as LeRobot has them.
    """
    found = {}
    for key, values in columns.items():
        rows = values.reshape(len(values), -1).astype(np.float64)
        found[key] = {name: of.tolist() for name, of in _moments(rows).items()} | {"count": [len(rows)]}
    for key, camera in pictures.items():
        sample = camera[np.unique(np.linspace(0, len(camera) - 1, SAMPLED).astype(int))]
        moments = _moments(sample.reshape(-1, 3) / 255.0)
        found[key] = {n: of.reshape(3, 1, 1).tolist() for n, of in moments.items()} | {"count": [len(sample)]}
    return found


def _moments(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}


def combined(episodes: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """The statistics of all episodes together."""
    found: dict[str, dict[str, Any]] = {}
    for key in episodes[0]:
        parts = {
            n: np.array([e[key][n] for e in episodes], np.float64) for n in ("min", "max", "mean", "std")
        }
        count = np.array([e[key]["count"][0] for e in episodes], np.float64)
        weight = (count / count.sum()).reshape(-1, *[1] * (parts["mean"].ndim - 1))
        mean = (weight * parts["mean"]).sum(0)
        variance = (weight * (parts["std"] ** 2 + (parts["mean"] - mean) ** 2)).sum(0)
        found[key] = {
            "min": parts["min"].min(0).tolist(),
            "max": parts["max"].max(0).tolist(),
            "mean": mean.tolist(),
            "std": np.sqrt(variance).tolist(),
            "count": [int(count.sum())],
        }
    return found
