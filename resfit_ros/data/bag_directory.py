"""What a directory of episode bags holds, from names and metadata alone."""

import re
from pathlib import Path

BAG_NAME = re.compile(r"episode_(\d+)(?:-\d+)?")  # with a number behind it: left by a killed recorder


def bag_ids(directory: Path) -> list[int]:
    """Episode ids of the bags in a directory, finished or not, each once."""
    names = [p.name for p in (*directory.glob("episode_*"), *directory.glob(".partial/episode_*"))]
    return sorted({int(m[1]) for m in map(BAG_NAME.fullmatch, names) if m})


def bag_paths_by_id(directory: Path) -> dict[int, Path]:
    """Finished bags of a directory, which need not exist."""
    found = {path: BAG_NAME.fullmatch(path.name) for path in directory.glob("episode_*")}
    return {int(name[1]): path for path, name in found.items() if name and (path / "metadata.yaml").is_file()}


def next_episode_id(directory: Path) -> int:
    """The id an episode recorded into `directory` gets, so that no bag is overwritten."""
    return max(bag_ids(directory), default=0) + 1


def successful_bags(directory: Path) -> list[Path]:
    """Finished bags whose metadata says success, in order of their episodes."""
    metadata = sorted(directory.glob("episode_*/metadata.yaml"))
    return [path.parent for path in metadata if "outcome: success" in path.read_text(errors="replace")]


def count_successes(directory: Path) -> int:
    """How many finished bags are of successful episodes."""
    return len(successful_bags(directory))
