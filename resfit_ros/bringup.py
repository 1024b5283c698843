"""The graph, described once: which nodes, with which parameters and remappings.

`launch/*.launch.py` turns a description into launch_ros actions; `resfit up|demo|...` turns the same
description into supervised processes where no `launch` is installed.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.core.parameter_groups import BASE_COMMAND, TELEOP_COMMAND, TOPIC, ObservingParameters
from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.core.schema import REQUIRED, from_mapping, hints, to_mapping


NAMESPACE = "/resfit"
CONSOLE_ENCLAVE = f"{NAMESPACE}/console"  # of the command line, where ROS 2 security is on
BC_SECTION = "train_bc"  # settings of `resfit train-bc`
INCLUDE = "include"  # a file that this one goes on from, relative to it
ROBOT_SECTION = "robot"  # values every node that has such a parameter gets
CONTROL_NODES = ("aggregator", "base_policy", "residual", "safety_filter", "episode_manager")
RESPAWNED = ("safety_filter", "recorder")
# Robot-side names are relative in the nodes and mapped to where robots publish them.
ROBOT_TOPICS = ("joint_states", "joint_command")


@dataclass(frozen=True)
class NodeSpec:
    """One node: executable and node name are the same."""

    name: str
    parameters: Mapping[str, Any]
    remappings: tuple[tuple[str, str], ...] = ()
    namespace: str = NAMESPACE

    @property
    def enclave(self) -> str:
        """The node's identity where ROS 2 security is on, as in config/security/policy.xml."""
        return f"{self.namespace}/{self.name}"

    @property
    def respawns(self) -> bool:
        """Whether the node is started again when it dies.

        Without a safety filter nothing can be armed; without a recorder what happens is lost.
        """
        return self.name in RESPAWNED

    def parameter_file_text(self) -> str:
        """The parameters as a ROS parameter file."""
        path = f"{self.namespace}/{self.name}"
        return yaml.safe_dump({path: {"ros__parameters": dict(self.parameters)}}, sort_keys=False)


@dataclass(frozen=True)
class RunConfig:
    """A configuration file: the robot section, one section per node, and the base policy's training."""

    path: Path
    sections: Mapping[str, Mapping[str, Any]]

    @property
    def robot(self) -> Mapping[str, Any]:
        return self.sections.get(ROBOT_SECTION, {})

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(self.robot["joint_names"])

    @property
    def state_dim(self) -> int:
        """Length of the state vector."""
        return ObservingParameters(
            joint_names=self.joint_names, **{k: tuple(v) for k, v in self.robot.items() if k == "state"}
        ).layout.size

    @property
    def behaviour_cloning(self) -> BCConfig:
        """Settings of the base policy's training; raises ConfigError naming a wrong key."""
        where = f"{self.path}, section '{BC_SECTION}'"
        return from_mapping(BCConfig, self.section(BC_SECTION), where)

    def section(self, name: str) -> dict[str, Any]:
        """A copy of a section, empty when the file has none."""
        return dict(self.sections.get(name, {}))

    def parameters(self, node: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Validated parameters of `node`: robot section, its own section, then `overrides`."""
        cls = NODE_PARAMETERS[node]
        known = hints(cls)
        values = {k: v for k, v in self.robot.items() if k in known}
        values |= self.section(node)
        values |= overrides or {}
        config = from_mapping(cls, values, f"{self.path}, section '{node}'")
        # An empty list has no type in a parameter file; it is always a default.
        return {k: v for k, v in to_mapping(config).items() if v != []}


def node_parameters(config: RunConfig, node: str, overrides: Mapping[str, Any] | None = None) -> Any:
    """The parameters that `node` would be started with, as its own dataclass."""
    where = f"{config.path}, section '{node}'"
    return from_mapping(NODE_PARAMETERS[node], config.parameters(node, overrides), where)


def load_config(path: Path) -> RunConfig:
    """Reads and checks a configuration file, on top of the one it includes.

    Raises ConfigError naming the file, the section and the key that is wrong.
    """
    sections = _read_sections(path)
    if "joint_names" not in sections.get(ROBOT_SECTION, {}):
        raise ConfigError(f"{path}, section '{ROBOT_SECTION}': missing key 'joint_names'; add it")
    config = RunConfig(path, sections)
    _check_values(config)
    return config


def _read_sections(path: Path, including: tuple[Path, ...] = ()) -> dict[str, dict[str, Any]]:
    """The sections of a file; what it says comes before what the included file says, key by key."""
    try:
        sections = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    included = sections.pop(INCLUDE, None) if isinstance(sections, dict) else None
    if not isinstance(sections, dict) or not all(isinstance(s, dict) for s in sections.values()):
        raise ConfigError(f"{path}: expected sections ('robot:', 'learner:', ...) with keys below them")
    _check_names(path, sections)
    if included is None:
        return sections
    if not isinstance(included, str):
        raise ConfigError(f"{path}: {INCLUDE}: expected one file name, got {included!r}")
    including = (*including, path.resolve())
    target = path.parent / included
    if target.resolve() in including:
        raise ConfigError(f"{path}: {INCLUDE}: {included} includes this file in turn; remove one of the two")
    base = _read_sections(target, including)
    return {name: base.get(name, {}) | sections.get(name, {}) for name in {**base, **sections}}


def _check_values(config: RunConfig) -> None:
    """Raises ConfigError on a value out of range now, not after an hour of recording."""
    config.behaviour_cloning  # noqa: B018
    for name in config.sections:
        cls = NODE_PARAMETERS.get(name)
        if cls is not None:
            config.parameters(name, {path: "given later" for path in paths_of(cls)})


def paths_of(cls: type) -> list[str]:
    """Required text parameters: files and folders, which each run fills in."""
    kinds = hints(cls)
    return [f.name for f in dataclasses.fields(cls) if f.default is REQUIRED and kinds[f.name] is str]


def _check_names(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ConfigError on a section or key nobody reads, naming the nearest known one."""
    known = (ROBOT_SECTION, BC_SECTION, *NODE_PARAMETERS)
    for name in sections:
        if name not in known:
            raise ConfigError(f"{path}: unknown section '{name}'; {nearest(str(name), known)}")
    allowed = {name: set(hints(cls)) for name, cls in NODE_PARAMETERS.items()}
    allowed[ROBOT_SECTION] = set().union(*allowed.values())
    for name, keys in allowed.items():
        for key in sections.get(name, {}):
            if key not in keys:
                raise ConfigError(f"{path}, section '{name}': unknown key '{key}'; {nearest(str(key), keys)}")


def remappings(node: str, config: RunConfig) -> tuple[tuple[str, str], ...]:
    """Robot-side topics to their absolute names."""
    names = [*ROBOT_TOPICS]
    sensed = node_parameters(config, "aggregator")
    names += [*sensed.layout.topics.values(), *sensed.camera_topics.values()]
    if node == "sim_robot" and "camera/image_raw" not in names:
        names.append("camera/image_raw")
    if node not in ("aggregator", "safety_filter", "sim_robot"):
        names = []
    if node in ("residual", "safety_filter") and config.robot.get("base_source") == TOPIC:
        names.append(BASE_COMMAND)
    if node in ("residual", "safety_filter") and (dict(config.robot) | config.section(node)).get("teleop"):
        names.append(TELEOP_COMMAND)
    if node == "operator":
        names.append("joy")
    if node == "safety_filter":
        names.append("wrench")
    return tuple((name, f"/{name}") for name in names)


def describe(
    config: RunConfig,
    nodes: Iterable[str],
    overrides: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[NodeSpec, ...]:
    """The nodes asked for, each with validated parameters.

    overrides: node name to parameters that take precedence over the file's.
    """
    overrides = overrides or {}
    specs = []
    for node in nodes:
        values = config.parameters(node, overrides.get(node))
        if config.robot.get("timing") == "realtime" and "sim_robot" in nodes:
            values["use_sim_time"] = True  # in lockstep nobody asks for the time
        specs.append(NodeSpec(node, values, remappings(node, config)))
    return tuple(specs)


def config_sha256(config: RunConfig) -> str:
    """Identity of what a configuration says, whatever its comments and order."""
    return hashlib.sha256(json.dumps(config.sections, sort_keys=True).encode()).hexdigest()


def with_timing(config: RunConfig, timing: str) -> RunConfig:
    """The same configuration run in realtime or lockstep."""
    robot = {**config.robot, "timing": timing}
    return dataclasses.replace(config, sections={**config.sections, ROBOT_SECTION: robot})
