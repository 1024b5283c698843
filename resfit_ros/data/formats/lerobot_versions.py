"""LeRobot datasets as formats: the versions differ in where an episode lies and in how it is laid down."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from resfit_ros.data.formats.lerobot_export import Dataset, Layout, export
from resfit_ros.data.formats.lerobot_import import import_
from resfit_ros.data.formats.lerobot_source import Entry, Source, version_of
from resfit_ros.data.formats.lerobot_v2 import V2Layout
from resfit_ros.data.formats.lerobot_v2 import entries as v2_entries
from resfit_ros.data.formats.lerobot_v3 import V3Layout
from resfit_ros.data.formats.lerobot_v3 import entries as v3_entries
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.options import Format


def _format(
    name: str,
    version: str,
    entries: Callable[[Source, Notes], Iterator[Entry]],
    layout: Callable[[Dataset], Layout],
) -> Format:
    """version: what codebase_version in info.json begins with."""

    def detect(path: Path) -> bool:
        return version_of(path).startswith(version)

    files = f"a directory with meta/info.json of codebase_version {version}x"
    return Format(name, files, detect, partial(import_, entries=entries), partial(export, layout_of=layout))


LEROBOT_V2 = _format("lerobot-v2.1", "v2.", v2_entries, V2Layout)
LEROBOT_V3 = _format("lerobot-v3", "v3.", v3_entries, V3Layout)
