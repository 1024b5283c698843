"""What an episode bag says of itself, in the custom data of its metadata.yaml: plain texts any ROS tool shows."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from resfit_ros.core.errors import DataError

PREFIX = "resfit."
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times faster, where libyaml is there
LISTS = ("joint_names", "state", "camera_names", "image_size")


@dataclass(frozen=True, kw_only=True)
class BagAbout:
    """Which robot, which settings and which base policy an episode is of; empty where it is not known.

    joint_names: order of every action. state: blocks of the state vector, as in the configuration.
    image_size: (width, height) [px]. image_encoding: rgb8, or jpeg with jpeg_quality (1 to 100). source:
    where the data came from, e.g. "robot", "LeRobot v3.0 PATH". versions: package to release.
    """

    joint_names: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    camera_names: tuple[str, ...] = ()
    image_size: tuple[int, ...] = ()
    control_hz: float = 0.0
    image_encoding: str = "rgb8"
    jpeg_quality: int = 0
    base_policy_sha256: str = ""
    config_sha256: str = ""
    source: str = "robot"
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_custom_data(self) -> dict[str, str]:
        """Texts for the metadata of a bag; what is empty is left out."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {PREFIX + name: json.dumps(value) for name, value in values.items() if value}

    @classmethod
    def from_custom_data(cls, custom: Mapping[str, str]) -> "BagAbout":
        """The inverse of `to_custom_data`; keys of later releases are passed over.

        Raises ValueError on a value that cannot be read.
        """
        values = {}
        for known in dataclasses.fields(cls):
            text = custom.get(PREFIX + known.name)
            if text is not None:
                value = json.loads(text)
                values[known.name] = tuple(value) if known.name in LISTS else value
        return cls(**values)

    def difference(self, expected: "BagAbout") -> str:
        """What makes this the data of another robot than `expected`, in words; empty: it is the same.

        What one of them does not know is not compared.
        """
        for what in (*LISTS, "control_hz"):
            found, wanted = getattr(self, what), getattr(expected, what)
            if found and wanted and found != wanted:
                return f"{what}: {_first_difference(found, wanted)}"
        return ""


def _first_difference(found, wanted) -> str:
    if not isinstance(found, tuple):
        return f"{found:g}, expected {wanted:g}"
    for index, (a, b) in enumerate(zip(found, wanted, strict=False)):
        if a != b:
            return f"'{a}' at place {index}, expected '{b}'"
    return f"{len(found)} entries ({', '.join(map(str, found))}), expected {len(wanted)}"


def custom_data(bag: Path) -> dict[str, str]:
    """The custom data of a bag's metadata; raises DataError when there are no readable metadata."""
    path = bag / "metadata.yaml"
    try:
        information = yaml.load(path.read_text(), LOADER)["rosbag2_bagfile_information"]
        custom = information.get("custom_data") or {}
        return {str(key): str(value) for key, value in custom.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); restore the file, or record the episode again"
        ) from None


def read_about(bag: Path) -> BagAbout:
    """What a bag says of itself; raises DataError when its metadata cannot be read."""
    try:
        return BagAbout.from_custom_data(custom_data(bag))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{bag / 'metadata.yaml'}: custom data cannot be read ({error}); restore the file"
        ) from None
