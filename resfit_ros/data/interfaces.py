"""Our message definitions for rosbags, which needs no ROS on the machine."""

from functools import cache, lru_cache
from pathlib import Path

from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from resfit_ros.core.errors import DataError

PACKAGE = "resfit_ros"
# Topics of an episode bag, relative to the graph's namespace, and their types.
EPISODE_TOPICS = {
    "observation": "Observation",
    "action_chunk": "ActionChunk",
    "action": "Action",
    "executed_action": "ExecutedAction",
    "episode": "Episode",
}


def _definition_dir() -> Path:
    """Where the .msg files lie: beside the source tree, or installed under share/."""
    source = Path(__file__).resolve().parents[2] / "msg"
    if source.is_dir():
        return source
    for parent in Path(__file__).resolve().parents:
        installed = parent / "share" / PACKAGE / "msg"
        if installed.is_dir():
            return installed
    raise DataError("the package's .msg files were not found; install resfit_ros again")


@cache
def typestore() -> Typestore:
    """ROS 2 Jazzy types plus ours."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for path in sorted(_definition_dir().glob("*.msg")):
        store.register(get_types_from_msg(path.read_text(), f"{PACKAGE}/msg/{path.stem}"))
    return store


@lru_cache(maxsize=8)
def types_of(definitions: tuple[tuple[str, str], ...]) -> Typestore:
    """Message types as they were when a bag was recorded; definitions: (type name, its .msg text)."""
    store, types = get_typestore(Stores.EMPTY), {}
    for name, text in definitions:
        types.update(get_types_from_msg(text, name))
    store.register(types)
    return store


def type_name(message: str) -> str:
    """Full type name of one of our messages."""
    return f"{PACKAGE}/msg/{message}"
