"""How many steps per second an episode has."""

import numpy as np

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.options import ExportOptions, ImportOptions, OnNote


def rate_of(data: EpisodeData, about: BagAbout, options: ExportOptions, on_note: OnNote) -> float:
    """Control steps per second of a bag: as it says, as the options say, or as its stamps tell. [Hz]

    Raises DataError where none of them does.
    """
    if about.control_hz or options.control_hz:
        return about.control_hz or options.control_hz
    step_s = float(np.median(np.diff(data.stamps_ns))) * 1e-9
    if not step_s > 0:
        raise DataError("the bags do not tell how many steps they have per second; give control_hz")
    hz = 1 / step_s
    hz = float(round(hz)) if abs(hz - round(hz)) < 0.02 * hz and round(hz) else round(hz, 3)
    on_note(f"the bags do not say how many steps they have per second; by their stamps it is {hz:g}")
    return hz


def checked_rate(found: float, options: ImportOptions, where: str) -> float:
    """The rate of a dataset, 0 where it does not tell, against the one that options ask for. [Hz]

    Raises MismatchError naming both, DataError where neither is known.
    """
    if found and options.control_hz and abs(found - options.control_hz) > 1e-6 * found:
        raise MismatchError(
            f"{where}: has {found:g} steps per second, the robot {options.control_hz:g} (control_hz); record "
            "at one rate, or set the robot to the dataset's"
        )
    if not (found or options.control_hz):
        raise DataError(f"{where}: does not tell how many steps it has per second; give control_hz")
    return found or options.control_hz
