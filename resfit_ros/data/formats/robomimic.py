"""robomimic datasets: one HDF5 file, a group data/demo_N per episode."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.options import ExportOptions, Format, OnNote
from resfit_ros.data.formats.rate import rate_of
from resfit_ros.data.formats.robomimic_import import ARRAYS, MAGIC, OURS, STATE, read
from resfit_ros.data.formats.whole_output import sound_episodes, whole

NAME = "resfit_ros"
NO_SIMULATOR = 2  # robomimic's EnvType.GYM_TYPE: no environment of robosuite is looked for
GZIP = {"compression": "gzip", "compression_opts": 4}
MARGIN = 2**20  # bytes for the structure of the file and the small arrays


def detect(path: Path) -> bool:
    """Whether a path is an HDF5 file."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def write(bags: Sequence[Path], out: Path, options: ExportOptions, on_note: OnNote) -> int:
    """Writes bags as a dataset; see Format."""
    h5py = library("h5py")
    total, successes, count = 0, [], 0
    with whole(out) as partial, h5py.File(partial, "w") as file:
        root = file.create_group("data")
        for data, about in sound_episodes(bags, on_note):
            if not count:
                root.attrs["env_args"] = _environment(rate_of(data, about, options, on_note))
            _require_space(out.parent, data)
            name = f"demo_{count}"
            _write_demo(root.create_group(name), data, about)
            if data.outcome is Outcome.SUCCESS:
                successes.append(name)
            total, count = total + len(data), count + 1
        root.attrs["total"] = total
        file.create_dataset("mask/success", data=np.array(successes, dtype="S"))
    return count


def _environment(control_hz: float) -> str:
    return json.dumps(
        {
            "env_name": NAME,
            "type": NO_SIMULATOR,
            "env_version": "",
            "env_kwargs": {"control_freq": control_hz},
        },
        indent=4,
    )


def _require_space(folder: Path, data: EpisodeData) -> None:
    """HDF5 does not recover from a full disk, and says so at length; so nothing is begun that may not fit."""
    needed = 2 * sum(array.nbytes for array in (data.states, *data.images)) + MARGIN
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {free / 1e6:.1f} MB are free, the next episode may need {needed / 1e6:.1f} MB; "
            "make room, or write elsewhere"
        )


def _write_demo(demo: Any, data: EpisodeData, about: BagAbout) -> None:
    steps = len(data)
    last = np.arange(steps) == steps - 1
    demo.attrs["num_samples"] = steps
    demo.create_dataset("actions", data=data.actions.astype(np.float32))
    demo.create_dataset("rewards", data=(last & (data.outcome is Outcome.SUCCESS)).astype(np.float32))
    terminal = data.outcome in (Outcome.SUCCESS, Outcome.FAILURE)
    demo.create_dataset("dones", data=(last & terminal).astype(np.int64))
    cameras = dict(zip(_camera_keys(about, len(data.images)), data.images, strict=True))
    for group, rows in (("obs", slice(0, steps)), ("next_obs", slice(1, steps + 1))):
        demo.create_dataset(f"{group}/{STATE}", data=data.states[rows].astype(np.float32))
        for key, camera in cameras.items():
            demo.create_dataset(f"{group}/{key}", data=camera[rows], chunks=(1, *camera.shape[1:]), **GZIP)
    _write_ours(demo.create_group(OURS), data, about, list(cameras))


def _write_ours(ours: Any, data: EpisodeData, about: BagAbout, cameras: list[str]) -> None:
    """What robomimic has no place for; it passes over a group it does not know."""
    for name in ARRAYS:
        ours.create_dataset(name, data=getattr(data, name))
    ours.attrs["cameras"] = json.dumps(cameras)  # HDF5 sorts its keys
    ours.attrs["outcome"] = data.outcome.name.lower()
    ours.attrs["scene_seed"] = data.scene_seed
    ours.attrs["labelled_by"] = data.labelled_by
    ours.attrs["about"] = json.dumps(about.to_custom_data())


def _camera_keys(about: BagAbout, cameras: int) -> list[str]:
    """robomimic tells pictures by their key: those of its own datasets end with _image."""
    names = (
        about.camera_names if len(about.camera_names) == cameras else [f"camera_{i}" for i in range(cameras)]
    )
    return [f"{name.replace('/', '_')}_image" for name in names]


ROBOMIMIC = Format("robomimic", "an HDF5 file with groups data/demo_N", detect, read, write)
