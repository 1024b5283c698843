"""Libraries that only imports and exports need, imported where they are used."""

import importlib
from types import ModuleType

from resfit_ros.core.errors import ConfigError

USED_FOR = {
    "h5py": "robomimic datasets",
    "pyarrow": "LeRobot datasets",
    "av": "the videos of LeRobot datasets",
    "PIL": "the pictures of LeRobot datasets",
}
PACKAGES = {"PIL": "pillow"}


def library(name: str) -> ModuleType:
    """The module `name`, e.g. "pyarrow.parquet". Raises ConfigError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.split(".")[0]
        if (error.name or "").split(".")[0] != top:
            raise
        package = PACKAGES.get(top, top)
        raise ConfigError(
            f"{USED_FOR[top]} need the Python package '{package}', which is missing: pip install {package}"
        ) from None
