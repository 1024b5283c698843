"""What a directory of episode bags holds, from names and metadata alone."""

from pathlib import Path


def bag_ids(directory: Path) -> list[int]:
    """Episode ids of the bags in a directory, finished or not."""
    names = [p.name for p in (*directory.glob("episode_*"), *directory.glob(".partial/episode_*"))]
    return sorted(int(name.split("_")[1].split("-")[0]) for name in names)


def next_episode_id(directory: Path) -> int:
    """The id an episode recorded into `directory` gets, so that no bag is overwritten."""
    return max(bag_ids(directory), default=0) + 1


def count_successes(directory: Path) -> int:
    """Finished bags whose metadata says success."""
    return sum("outcome: success" in p.read_text() for p in directory.glob("episode_*/metadata.yaml"))
