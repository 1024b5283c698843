"""What LeRobot has no place for, one row per episode in meta/resfit.parquet.

LeRobot keeps K frames of an episode of K actions; the observation after the last action is here, with how
the episode ended and what the bag said of itself. LeRobot's own tools leave the file behind when they edit
a dataset: a row counts only where it bears the stamp of the episode's first frame.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Float32, Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.parquet import read_table, write_table
from resfit_ros.data.formats.pictures import decoded, png

PATH = Path("meta", "resfit.parquet")


@dataclass(frozen=True, eq=False)
class Rest:
    """The rest of an episode: its last observation (S,), base action (A,) and pictures, and how it ended."""

    state: Float32
    base: Float32
    phase: float
    stamp_ns: int
    images: tuple[NDArray[np.uint8], ...]
    outcome: Outcome
    scene_seed: int
    labelled_by: str
    about: BagAbout


def row_of(index: int, data: EpisodeData, about: BagAbout) -> dict[str, Any]:
    """The row of episode `index`."""
    return {
        "episode_index": index,
        "first_stamp_ns": int(data.stamps_ns[0]),
        "stamp_ns": int(data.stamps_ns[-1]),
        "state": data.states[-1],
        "base": data.bases[-1],
        "phase": float(data.phases[-1]),
        "images": [png(camera[-1]) for camera in data.images],
        "outcome": data.outcome.name.lower(),
        "scene_seed": data.scene_seed,
        "labelled_by": data.labelled_by,
        "about": json.dumps(about.to_custom_data()),
    }


def write(root: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows of all episodes."""
    arrow = library("pyarrow")
    numbers, whole, text = arrow.list_(arrow.float32()), arrow.int64(), arrow.string()
    kinds = {
        "state": numbers,
        "base": numbers,
        "phase": arrow.float32(),
        "images": arrow.list_(arrow.binary()),
    }
    kinds |= dict.fromkeys(("episode_index", "first_stamp_ns", "stamp_ns", "scene_seed"), whole)
    schema = arrow.schema([(key, kinds.get(key, text)) for key in rows[0]])
    write_table(arrow.Table.from_pylist(rows, schema=schema), root / PATH)


def read(root: Path) -> dict[int, tuple[int, Rest]]:
    """Episode to the stamp of its first frame and its rest; empty where there is no such file.

    Raises DataError where it cannot be read.
    """
    path = root / PATH
    if not path.is_file():
        return {}
    try:
        rows = read_table(path).to_pylist()
        return {row["episode_index"]: (row["first_stamp_ns"], _rest(row)) for row in rows}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); fetch the dataset again") from None


def _rest(row: dict[str, Any]) -> Rest:
    return Rest(
        state=np.array(row["state"], np.float32),
        base=np.array(row["base"], np.float32),
        phase=row["phase"],
        stamp_ns=row["stamp_ns"],
        images=tuple(decoded(picture) for picture in row["images"]),
        outcome=Outcome[row["outcome"].upper()],
        scene_seed=row["scene_seed"],
        labelled_by=row["labelled_by"],
        about=BagAbout.from_custom_data(json.loads(row["about"])),
    )
