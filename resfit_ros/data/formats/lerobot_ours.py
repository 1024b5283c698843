"""What only our own exports hold in a LeRobot dataset: bases, phases, stamps, flags, a last observation."""

import numpy as np

from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.formats import lerobot_features as columns
from resfit_ros.data.formats import lerobot_side_file as side_file
from resfit_ros.data.formats.frames import Ours
from resfit_ros.data.formats.lerobot_source import Source
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.parquet import Table, matrix
from resfit_ros.data.formats.pictures import resized

After = tuple[np.ndarray, tuple[np.ndarray, ...]] | None  # a state and a picture per camera
FLAGS = (columns.INTERVENTION, columns.TAINTED, columns.MISSING)


def ours_of(
    source: Source, table: Table, rest: tuple[int, side_file.Rest] | None, where: str, notes: Notes
) -> tuple[After, Ours, BagAbout | None]:
    """The observation after the last action, what our columns hold, and what the bag said of itself.

    The first and the last are None where meta/resfit.parquet has no row for the episode.
    """
    stamps = matrix(table, columns.STAMP)[:, 0].astype(np.int64)
    bases = source.joints.of(matrix(table, columns.BASE)).astype(np.float32)
    phases = matrix(table, columns.PHASE)[:, 0].astype(np.float32)
    flags = [matrix(table, key)[:, 0].astype(bool) for key in FLAGS]
    found = rest[1] if rest is not None and rest[0] == stamps[0] else None
    if found is None:
        notes(
            f"{where}: {side_file.PATH} has nothing of it; its last observation stands for the one after it"
        )
        base, phase, stamp = bases[-1], phases[-1], int(stamps[-1]) + round(1e9 / source.control_hz)
    else:
        base, phase, stamp = source.joints.of(found.base[None])[0], found.phase, found.stamp_ns
    own = Ours(
        bases=np.concatenate((bases, base[None])),
        phases=np.append(phases, np.float32(phase)),
        stamps_ns=np.append(stamps, np.int64(stamp)),
        interventions=flags[0],
        tainted=flags[1],
        missing=flags[2],
        scene_seed=found.scene_seed if found else -1,
        labelled_by=found.labelled_by if found else "",
    )
    return _after(source, found), own, source.about_of_bag(found.about) if found else None


def _after(source: Source, rest: side_file.Rest | None) -> After:
    if rest is None or source.state_keys != (columns.STATE,):
        return None
    (index,) = source.state_index
    cameras = dict(zip(source.all_cameras, rest.images, strict=True))
    pictures = [resized(cameras[key][None], source.options.image_size)[0] for key in source.camera_keys]
    return rest.state if index is None else rest.state[list(index)], tuple(pictures)
