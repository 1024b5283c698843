"""What a directory of bags holds, one row per bag: from the metadata alone, unless asked to look deeper."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Action, Observation
from resfit_ros.data.bag_about import PREFIX, BagAbout
from resfit_ros.data.episode_bag import UNFINISHED
from resfit_ros.data.mcap_scan import MAGIC
from resfit_ros.data.read_bags import read_messages

METADATA = "metadata.yaml"
RECORDINGS = (".mcap", ".db3", ".zstd")
# pyyaml's own loader takes 10 ms for the metadata of one bag.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Sizes:
    """What the first messages of a bag show: numbers of joints and states, (width, height) per camera [px]."""

    joints: int = 0
    states: int = 0
    images: tuple[tuple[int, int], ...] = ()

    def difference(self, expected: "Sizes") -> str:
        """What differs, in words; empty: nothing."""
        for what in ("joints", "states", "images"):
            found, wanted = getattr(self, what), getattr(expected, what)
            if found != wanted:
                return f"{what}: {found}, expected {wanted}"
        return ""


@dataclass(frozen=True, kw_only=True)
class BagRow:
    """One bag as its metadata tell it; None: they do not say.

    outcome: as in Outcome, lower case; "" for a bag that is not of this recorder. seconds: of the robot's
    time, of another recorder's bag the length of the recording. sizes: where the messages were looked at.
    damage: what is wrong; "" nothing seen.
    """

    path: Path
    episode_id: int | None = None
    outcome: str = ""
    steps: int | None = None
    seconds: float | None = None
    scene_seed: int | None = None
    about: BagAbout = BagAbout(source="")
    sizes: Sizes = Sizes()
    topics: Mapping[str, tuple[str, int]]  # name to (type, number of messages)
    size_bytes: int = 0
    damage: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        about = self.about.to_custom_data()
        return {
            "bag": str(self.path),
            **{n: getattr(self, n) for n in ("episode_id", "outcome", "steps", "seconds", "scene_seed")},
            "about": {key.removeprefix(PREFIX): yaml.safe_load(text) for key, text in about.items()},
            "sizes": vars(self.sizes),
            "size_bytes": self.size_bytes,
            "damage": self.damage,
        }


def bag_directories(directory: Path) -> list[Path]:
    """Bags in a directory, damaged ones too, in order; `directory` may be a bag itself.

    Raises DataError when there is none.
    """
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory; give a bag or a folder of bags")
    if _is_bag(directory):
        return [directory]
    bags = sorted(p for p in directory.iterdir() if not p.name.startswith(".") and p.is_dir() and _is_bag(p))
    if bags:
        return bags
    deeper = [str(f) for f in bag_folders(directory)]
    advice = f"give one of: {', '.join(deeper)}" if deeper else "record some with 'resfit record'"
    raise DataError(f"{directory}: holds no bags; {advice}")


def bag_folders(directory: Path) -> list[Path]:
    """Folders of bags somewhere below a directory, e.g. those of a run."""
    found = {path.parent.parent for path in directory.glob(f"**/{METADATA}")}
    return sorted(f for f in found if f != directory.parent and f.name != UNFINISHED)


def unfinished_bags(directory: Path) -> list[Path]:
    """Bags whose recorder was stopped before it closed them."""
    return sorted(p for p in directory.glob(f"{UNFINISHED}/*") if p.is_dir())


def _is_bag(path: Path) -> bool:
    return (path / METADATA).is_file() or any(f.suffix in RECORDINGS for f in path.iterdir() if f.is_file())


def bag_row(path: Path) -> BagRow:
    """Reads the metadata of a bag, and whether its files are there and have an end; never raises DataError."""
    size = sum(f.stat().st_size for f in path.iterdir() if f.is_file())
    row = BagRow(path=path, topics={}, size_bytes=size)
    try:
        values = yaml.load((path / METADATA).read_bytes(), LOADER)["rosbag2_bagfile_information"]
        return _from_metadata(path, size, values)
    except FileNotFoundError:
        return _damaged(row, f"{METADATA} is missing: its recorder was stopped")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        return _damaged(row, f"{METADATA} cannot be read ({type(error).__name__})")


def _damaged(row: BagRow, damage: str) -> BagRow:
    return BagRow(path=row.path, topics=row.topics, size_bytes=row.size_bytes, damage=damage)


def _from_metadata(path: Path, size: int, values: Mapping[str, Any]) -> BagRow:
    custom = {str(k): str(v) for k, v in (values.get("custom_data") or {}).items()}
    numbers = {n: int(custom[n]) if n in custom else None for n in ("episode_id", "steps", "scene_seed")}
    about = BagAbout.from_custom_data(custom)
    if PREFIX + "source" not in custom:  # older releases wrote nothing of the robot
        about = dataclasses.replace(about, source="")
    seconds = values["duration"]["nanoseconds"] / 1e9
    if numbers["steps"] is not None:  # in lockstep a recording is shorter than what it shows
        seconds = numbers["steps"] / about.control_hz if about.control_hz else None
    topics = {
        t["topic_metadata"]["name"]: (t["topic_metadata"]["type"], t["message_count"])
        for t in values.get("topics_with_message_count") or ()
    }
    return BagRow(
        path=path,
        outcome=custom.get("outcome", ""),
        seconds=seconds,
        about=about,
        topics=topics,
        size_bytes=size,
        damage=_damage_of_files(path, values.get("relative_file_paths") or ()),
        **numbers,
    )


def _damage_of_files(path: Path, names: Iterable[str]) -> str:
    for name in names:
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.suffix == ".mcap" and not _has_end(file):
            return f"{name} is cut short"
    return ""


def _has_end(file: Path) -> bool:
    """Whether the file ends as an MCAP does."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - len(MAGIC)))
        return opened.read() == MAGIC


def sizes_of(path: Path) -> Sizes:
    """The sizes in a bag's first observation and action; raises DataError when it has neither."""
    joints = states = None
    images: tuple[tuple[int, int], ...] = ()
    for message in read_messages(path):
        if isinstance(message, Action):
            joints = len(message.base)
        elif isinstance(message, Observation):
            states, images = len(message.state), tuple((i.shape[1], i.shape[0]) for i in message.images)
        if joints is not None and states is not None:
            return Sizes(joints, states, images)
    raise DataError(f"{path}: has no observation with an action; nothing of it can be used; leave it out")


@dataclass(frozen=True)
class Totals:
    """Sums over bags; outcomes: number of episodes per outcome, most frequent first."""

    episodes: int
    steps: int
    seconds: float
    size_bytes: int
    damaged: int
    outcomes: Mapping[str, int]

    @property
    def success_share(self) -> float | None:
        """Successes among the episodes that ended as a success, a failure or a timeout."""
        judged = sum(self.outcomes.get(o, 0) for o in ("success", "failure", "timeout"))
        return self.outcomes.get("success", 0) / judged if judged else None


def totals_of(rows: Sequence[BagRow]) -> Totals:
    """Sums over the rows; what a bag does not say counts as nothing."""
    return Totals(
        episodes=len(rows),
        steps=sum(r.steps or 0 for r in rows),
        seconds=sum(r.seconds or 0.0 for r in rows),
        size_bytes=sum(r.size_bytes for r in rows),
        damaged=sum(bool(r.damage) for r in rows),
        outcomes=dict(Counter(r.outcome or "unknown" for r in rows).most_common()),
    )
