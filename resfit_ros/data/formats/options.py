"""What an import and an export can be told, and what a format is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.schema import param, validate
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData

OnNote = Callable[[str], None]  # takes each sentence on what was left out or changed, and why
LOSSLESS = ("libx264rgb", "ffv1")
CODECS = ("", "libsvtav1", "libx264", *LOSSLESS)


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """How the columns of a dataset become states, actions, images and outcomes.

    Raises ConfigError where an option is out of range.
    """

    action_key: str = param(
        "", doc="Column of the executed actions; empty: `action`, in robomimic `actions`."
    )
    state_keys: tuple[str, ...] = param(
        (),
        doc="Columns that make the state, in order; empty: `observation.state`, in robomimic `state`.",
    )
    camera_keys: tuple[str, ...] = param(
        (), doc="Columns of pictures, in the order of the cameras; empty: all."
    )
    camera_names: tuple[str, ...] = param(
        (), doc="Names of those cameras; empty: their columns', without `observation.images.`."
    )
    images: bool = param(True, doc="Whether pictures are taken over at all.")
    image_size: tuple[int, ...] = param(
        (), doc="Width and height that pictures are brought to; empty: as they are.", unit="px", ge=1
    )
    joint_names: tuple[str, ...] = param(
        (), doc="Joints of the robot, in the order of its actions; empty: the dataset's own."
    )
    joint_map: tuple[str, ...] = param(
        (), doc="Names of the dataset's joints on this robot, each `THEIRS=OURS`; others keep their names."
    )
    state: tuple[str, ...] = param(
        (), doc="Blocks of the state, as in the robot's configuration, where the dataset does not say."
    )
    control_hz: float = param(
        0.0,
        doc="Steps per second; a dataset of another rate is refused. 0: the dataset's own.",
        unit="Hz",
        ge=0.0,
    )
    outcome: str = param(
        "auto",
        doc="How its episodes ended: `auto` reads it from the columns; anything else holds for all of them.",
        choices=("auto", "success", "failure", "timeout"),
    )
    episodes: tuple[int, ...] = param((), doc="Numbers of the episodes to take; empty: all.", ge=0)
    mask: str = param("", doc="robomimic: the filter key whose episodes to take; empty: all.")

    def __post_init__(self) -> None:
        validate(self)
        if len(self.image_size) not in (0, 2):
            raise ConfigError(f"image_size must be width and height, got {len(self.image_size)} numbers")
        if self.camera_names and self.camera_keys and len(self.camera_names) != len(self.camera_keys):
            raise ConfigError(
                f"camera_names: {len(self.camera_names)} names for {len(self.camera_keys)} camera_keys; "
                "give one each"
            )
        _ = self.renamed  # raises where an entry is not THEIRS=OURS

    @property
    def renamed(self) -> Mapping[str, str]:
        """Their joint names to ours."""
        pairs = {}
        for entry in self.joint_map:
            theirs, equals, ours = entry.partition("=")
            if not (theirs and equals and ours):
                raise ConfigError(f"joint_map: '{entry}' is not THEIRS=OURS")
            pairs[theirs] = ours
        return pairs


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How episodes are written. Raises ConfigError where an option is out of range."""

    video: str = param(
        "",
        doc="LeRobot: pictures as video of this codec; `libx264rgb` and `ffv1` lose nothing. Empty: as PNG.",
        choices=CODECS,
    )
    crf: int = param(23, doc="Quality of a lossy video, the lower the better.", ge=0, le=63)
    task: str = param("", doc="What the episodes show, in words; empty: `unknown`.")
    robot_type: str = param("", doc="LeRobot: name of the robot; empty: none.")
    control_hz: float = param(
        0.0, doc="Steps per second where the bags do not say; 0: as they do.", unit="Hz", ge=0.0
    )
    file_mb: float = param(
        100.0, doc="LeRobot v3: size at which the next data or video file is begun.", unit="MB", gt=0.0
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class Format:
    """A kind of dataset. summary: the files it consists of.

    detect(path): whether a path holds one; never raises. read(source, options, on_note): its episodes in
    order; raises DataError when none is usable, MismatchError when it is of another robot or rate.
    write(bags, out, options, on_note): number of episodes written to `out`, which must not exist and comes
    into being when it is whole; raises DataError when no bag is usable.
    """

    name: str
    summary: str
    detect: Callable[[Path], bool]
    read: Callable[[Path, ImportOptions, OnNote], Iterator[tuple[EpisodeData, BagAbout]]]
    write: Callable[[Sequence[Path], Path, ExportOptions, OnNote], int]
