"""A LeRobot dataset and which of its columns are taken, before any episode is read."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError, nearest
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.formats import lerobot_features as columns
from resfit_ros.data.formats.joints import Columns, joint_columns, named, state_order
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.options import ImportOptions
from resfit_ros.data.formats.rate import checked_rate

ALWAYS = ("timestamp", "frame_index", "episode_index")


@dataclass(frozen=True)
class Entry:
    """Where an episode lies. length: rows it should have; videos: column to file and start in it [s]."""

    index: int
    data: Path
    length: int | None
    videos: Mapping[str, tuple[Path, float]]


@dataclass(frozen=True, eq=False)
class Source:
    """A dataset and which of its columns are taken."""

    root: Path
    info: Mapping[str, Any]
    options: ImportOptions
    control_hz: float
    action_key: str
    state_keys: tuple[str, ...]
    camera_keys: tuple[str, ...]
    joints: Columns
    state_index: tuple[tuple[int, ...] | None, ...]  # per state key: its columns in the order of the joints

    @property
    def video_keys(self) -> list[str]:
        """Cameras that are stored as video."""
        return [key for key in self.camera_keys if self.info["features"][key]["dtype"] == "video"]

    @property
    def columns(self) -> frozenset[str]:
        """All that is read of the data files: everything but pictures of other cameras."""
        left_out = {*self.all_cameras} - {*self.camera_keys}
        return frozenset((*self.info["features"], *ALWAYS)) - left_out

    def about(self) -> BagAbout:
        """What a bag of this dataset says of itself."""
        names = self.options.camera_names or tuple(k.removeprefix(columns.IMAGES) for k in self.camera_keys)
        if len(names) != len(self.camera_keys):
            raise ConfigError(
                f"camera_names: {len(names)} names for the cameras {', '.join(self.camera_keys)}"
            )
        return BagAbout(
            joint_names=self.joints.names,
            state=self.options.state,
            camera_names=names,
            control_hz=self.control_hz,
            source=f"LeRobot {self.info['codebase_version']} {self.root}",
        )

    def about_of_bag(self, about: BagAbout) -> BagAbout:
        """What a bag that was exported said of itself, with the names that options give its columns."""
        mine, kept = self.about(), {}
        if self.options.joint_names or self.options.joint_map:
            kept["joint_names"] = mine.joint_names
        if not about.state:
            kept["state"] = mine.state
        if self.options.camera_names or not self.takes_all_cameras:
            kept["camera_names"] = mine.camera_names
        # Bags are written with pictures as they are, however those of the first bag were kept.
        return dataclasses.replace(
            about, control_hz=self.control_hz, image_encoding="rgb8", jpeg_quality=0, **kept
        )

    @property
    def all_cameras(self) -> list[str]:
        """Every column of pictures."""
        return [key for key, of in self.info["features"].items() if of["dtype"] in columns.PICTURES]

    @property
    def takes_all_cameras(self) -> bool:
        """Whether all are taken, in their order."""
        return list(self.camera_keys) == self.all_cameras


def version_of(path: Path) -> str:
    """The codebase version of a dataset, "" where there is none."""
    try:
        return str(json.loads((path / "meta" / "info.json").read_text()).get("codebase_version", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def source_of(root: Path, options: ImportOptions, notes: Notes) -> Source:
    """What options take of a dataset.

    Raises DataError naming a file that cannot be read or a column that is not there, MismatchError where the
    joints or the rate are others than the options'.
    """
    path = root / "meta" / "info.json"
    try:
        info = json.loads(path.read_text())
        features, fps = info["features"], float(info["fps"])
        kinds = {key: feature["dtype"] for key, feature in features.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); fetch the dataset again") from None
    action, states = options.action_key or columns.ACTION, options.state_keys or (columns.STATE,)
    cameras = options.camera_keys or tuple(key for key, kind in kinds.items() if kind in columns.PICTURES)
    cameras = cameras if options.images else ()
    for option, key in [("action_key", action), *(("state_keys", k) for k in states)]:
        _check(root, option, key, [k for k, kind in kinds.items() if kind not in columns.PICTURES])
    for key in cameras:
        _check(root, "camera_keys", key, [k for k, kind in kinds.items() if kind in columns.PICTURES])
    size = int(np.prod(features[action]["shape"]))
    joints = joint_columns(named(features[action].get("names"), size), size, options, str(root), notes)
    index = tuple(_state_index(root, key, features[key], joints, options, notes) for key in states)
    hz = checked_rate(fps, options, str(root))
    return Source(root, info, options, hz, action, states, cameras, joints, index)


def _state_index(
    root: Path, key: str, feature: Mapping[str, Any], joints: Columns, options: ImportOptions, notes: Notes
) -> tuple[int, ...] | None:
    """The columns of a state in the order of the joints; None: as they are."""
    width = int(np.prod(feature["shape"]))
    names = named(feature.get("names"), width)
    order = state_order(names, joints.names, options)
    if order is None and (joints.index is not None or (names and joints.names)):
        notes.once(f"{root}: the columns of {key} are not named as the joints; they keep their order")
    if order is None or order == tuple(range(width)):
        return None
    notes.once(f"{root}: the columns of {key} are brought into the order of the actions' joints")
    return order


def _check(root: Path, option: str, key: str, known: list[str]) -> None:
    if key not in known:
        raise DataError(f"{root}: there is no column '{key}' ({option}); {nearest(key, known)}")
