"""Datasets of other tools, to and from episodes: one `Format` per kind, in `FORMATS`."""

from pathlib import Path

from resfit_ros.core.errors import DataError
from resfit_ros.data.formats.lerobot_versions import LEROBOT_V2, LEROBOT_V3
from resfit_ros.data.formats.options import ExportOptions, Format, ImportOptions
from resfit_ros.data.formats.robomimic import ROBOMIMIC

FORMATS: dict[str, Format] = {f.name: f for f in (LEROBOT_V2, LEROBOT_V3, ROBOMIMIC)}

__all__ = ["FORMATS", "ExportOptions", "Format", "ImportOptions", "detected"]


def detected(path: Path) -> Format:
    """The format that a dataset is in, told by its files. Raises DataError naming what was looked for."""
    if not path.exists():
        raise DataError(f"{path}: no such file or directory; give a dataset")
    for format_ in FORMATS.values():
        if format_.detect(path):
            return format_
    kinds = "; ".join(f"{f.name}: {f.summary}" for f in FORMATS.values())
    raise DataError(f"{path}: not a dataset of a known kind ({kinds})")
