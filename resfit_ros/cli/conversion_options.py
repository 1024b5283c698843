"""What `resfit data convert` was told, as the options of the formats it goes through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from resfit_ros.bringup import RunConfig, node_parameters
from resfit_ros.core.errors import ConfigError, DataError, nearest
from resfit_ros.core.schema import element_type, from_mapping, hints
from resfit_ros.data.formats import FORMATS, detected
from resfit_ros.data.formats.options import ExportOptions, ImportOptions
from resfit_ros.data.raw_options import RawOptions

AUTO, RAW, BAGS = "auto", "raw", "bags"
RECORDINGS = (".mcap", ".db3", ".bag")
# Options of the command line that only some sources take.
FLAGS = {
    "outcome": "--outcome",
    "labels": "--labels",
    "topics": "--topic",
    "success_topic": "--success-topic",
    "episode_topic": "--episode-topic",
    "ignore_stamps": "--ignore-stamps",
    "joint_map": "--joint-map",
}


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """kind, to: BAGS, RAW or the name of a format. reading: None for bags; writing: None to bags."""

    kind: str
    to: str
    config: RunConfig | None
    reading: ImportOptions | RawOptions | None
    writing: ExportOptions | None


def read_options(
    kind: str,
    to: str,
    source: Path,
    config: RunConfig | None,
    given: Mapping[str, Any],
    settings: Sequence[str],
) -> ConversionOptions:
    """given: values of FLAGS, None where not given; settings: NAME=VALUE each.

    Raises ConfigError on what is unknown, contradicts, or is missing, DataError on a source of no known kind.
    """
    _require_known("--from", kind, (AUTO, RAW, BAGS, *FORMATS))
    _require_known("--to", to, (BAGS, *FORMATS))
    if not source.exists():
        raise DataError(f"{source}: no such file or directory; give a dataset, a bag or a folder of bags")
    kind = kind_of(source) if kind == AUTO else kind
    if kind == RAW and config is None:
        raise ConfigError("--from raw: give the robot with --config FILE: it says what the topics mean")
    reader = {BAGS: None, RAW: RawOptions}.get(kind, ImportOptions)
    writer = None if to == BAGS else ExportOptions
    flags = {name: value for name, value in given.items() if value is not None}
    for name in flags:
        if reader is None or name not in hints(reader):
            raise ConfigError(f"{FLAGS[name]} does not go with --from {kind}; leave it out")
    of_reader, of_writer = _settings(settings, reader, writer)
    if reader is ImportOptions and config is not None:
        of_reader = _of_robot(config, of_reader) | of_reader
    return ConversionOptions(
        kind=kind,
        to=to,
        config=config,
        reading=from_mapping(reader, of_reader | flags, "--set") if reader else None,
        writing=from_mapping(writer, of_writer, "--set") if writer else None,
    )


def kind_of(source: Path) -> str:
    """BAGS, RAW, or the name of the format a source is in; raises DataError when it is none of them."""
    from resfit_ros.data.bag_table import bag_directories, bag_row

    if source.suffix in RECORDINGS:
        return RAW
    if source.is_dir():
        try:
            rows = [bag_row(bag) for bag in bag_directories(source)]
        except DataError:
            if any(f.suffix in RECORDINGS for f in source.iterdir()):
                return RAW
        else:
            return BAGS if any(_is_ours(row) for row in rows) else RAW
    return detected(source).name


def _is_ours(row: Any) -> bool:
    return bool(row.outcome) or any(kind.startswith("resfit_ros/") for kind, _ in row.topics.values())


def _require_known(flag: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ConfigError(f"{flag} {value}: {nearest(value, known)}")


def _settings(
    settings: Sequence[str], reader: type | None, writer: type | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(values for the reader, values for the writer) of NAME=VALUE texts."""
    values: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    known = {name for cls in (reader, writer) if cls for name in hints(cls)}
    for text in settings:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"--set {text}: expected NAME=VALUE, e.g. image_size=84,84")
        if name not in known:
            what = nearest(name, known) if known else "bags to bags has no options"
            raise ConfigError(f"--set {name}: no such option here; {what}")
        for cls, target in zip((reader, writer), values, strict=True):
            if cls and name in hints(cls):
                target[name] = _value(name, value, hints(cls)[name])
    return values


def _value(name: str, text: str, annotation: Any) -> Any:
    """A value as YAML has it; lists also as a,b,c."""
    kind, is_list = element_type(annotation)
    parts = text.strip().removeprefix("[").removesuffix("]").split(",") if is_list else [text]
    parts = [part.strip() for part in parts if part.strip() or not is_list]
    try:
        values = parts if kind is str else [yaml.safe_load(part) for part in parts]
    except yaml.YAMLError:
        raise ConfigError(f"--set {name}={text}: expected {kind.__name__}") from None
    return values if is_list else values[0]


def _of_robot(config: RunConfig, given: Mapping[str, Any]) -> dict[str, Any]:
    """What the configuration says of the episodes it wants."""
    sensed = node_parameters(config, "aggregator")
    values = {"joint_names": config.joint_names, "state": sensed.state, "control_hz": sensed.control_hz}
    if not sensed.camera_names:
        return values | {"images": False}
    values["image_size"] = (sensed.image_width, sensed.image_height)
    if len(given.get("camera_keys", ())) == len(sensed.camera_names):
        values["camera_names"] = sensed.camera_names
    return values


def read_joint_map(path: Path) -> list[str]:
    """Entries THEIRS=OURS of a YAML file of THEIRS: OURS; raises ConfigError naming the file."""
    try:
        names = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file of THEIRS: OURS") from None
    if not isinstance(names, dict) or not all(isinstance(n, str) for pair in names.items() for n in pair):
        raise ConfigError(f"{path}: expected their joint names and ours, THEIRS: OURS in each line")
    return [f"{theirs}={ours}" for theirs, ours in names.items()]
