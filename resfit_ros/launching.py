"""What the launch files share: their arguments, and a described graph as launch_ros actions.

`launch` and `launch_ros` are imported where they are used: everything else runs without them.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resfit_ros import graphs
from resfit_ros.core import run_layout
from resfit_ros.bringup import NodeSpec, RunConfig, load_config, with_timing
from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.parameter_groups import LOCKSTEP, REALTIME
from resfit_ros.paths import find_config
from resfit_ros.supervise import (
    REFUSED,
    RESPAWN_DELAY_S,
    STOP_TIMEOUT_S,
    NodeFailed,
    added_environment,
)

if TYPE_CHECKING:
    from launch import LaunchContext, LaunchDescription
    from launch_ros.actions import Node

AUTO, NONE = "auto", "none"
RUNS, LATEST = Path("runs"), Path("runs/latest")
# Launch configurations that `launch` itself understands.
OF_LAUNCH = ("launch-prefix", "launch-prefix-filter", "sigterm_timeout", "sigkill_timeout", "emulate_tty")


@dataclass(frozen=True)
class Argument:
    """One launch argument; `ros2 launch --show-args` prints all of it."""

    name: str
    default: str
    doc: str
    choices: tuple[str, ...] = ()


CONFIG = Argument("config", "bimanual_lift", "Configuration: a YAML file, or the name of a shipped one.")
TIMING = Argument(
    "timing",
    AUTO,
    "lockstep: a simulation that waits for each command; realtime: by the clock; "
    "auto: as the configuration says, and realtime with robot:=true.",
    (AUTO, LOCKSTEP, REALTIME),
)
ROBOT = Argument("robot", "false", "true: use a real robot, do not start the simulated one.")
SEED = Argument("seed", "0", "Seed of scenes, weights and noise.")
POLICY = Argument(
    "policy",
    AUTO,
    "Base policy: a directory from 'resfit train-bc', lerobot:DIR, a file, ws://HOST:PORT, python:MODULE:CLASS; "
    f"auto: the configuration's, else {LATEST / run_layout.POLICY}, where 'resfit demo' leaves it.",
)


@dataclass(frozen=True)
class Plan:
    """The nodes to start, and when the launch is over."""

    specs: Sequence[NodeSpec]
    directory: Path  # takes config/VERB/NODE.yaml, the parameters
    ends_with: str = ""  # node whose orderly exit ends the launch; any other exit is an error
    words: str = ""  # what is used and written, for the user


class Values:
    """The values of launch arguments in their own types; errors name the argument."""

    def __init__(self, verb: str, texts: Mapping[str, str]) -> None:
        self._verb, self._texts = verb, texts

    def text(self, name: str) -> str:
        """The value as it was given."""
        return self._texts[name]

    def flag(self, name: str) -> bool:
        """true or false, in the spellings of YAML."""
        known = {"true": True, "false": False, "1": True, "0": False}
        value = self.text(name).lower()
        if value not in known:
            raise ConfigError(f"{name}:={self.text(name)}: use true or false")
        return known[value]

    def number(self, name: str, least: int) -> int:
        """A whole number of at least `least`."""
        try:
            value = int(self.text(name))
        except ValueError:
            value = least - 1
        if value < least:
            raise ConfigError(f"{name}:={self.text(name)}: use a whole number of at least {least}")
        return value

    def config(self) -> RunConfig:
        """The configuration with the timing asked for."""
        config = load_config(find_config(self.text("config")))
        timing = self.text("timing")
        if timing == AUTO:
            timing = REALTIME if "robot" in self._texts and self.flag("robot") else ""
        return with_timing(config, timing) if timing else config

    def policy(self, config: RunConfig) -> str:
        """The base policy, as parameter `policy` takes it; empty where a controller is the base policy."""
        given = self.text("policy")
        latest = LATEST / run_layout.POLICY
        if given != AUTO:
            return graphs.base_policy_of(config, given)
        try:
            return graphs.base_policy_of(config)
        except ConfigError as error:
            if latest.is_dir():
                return str(latest.resolve())
            raise ConfigError(
                f"policy:= is missing: there is no directory {latest}; give the base policy as policy:=DIR (made "
                "by 'resfit train-bc', or by 'resfit demo' with all before and after it), or any other that "
                f"docs/base-policies.md lists ({error})"
            ) from None

    def beside_policy(self, name: str, place: str, policy: str) -> Path | None:
        """A directory of the run that the policy belongs to when `name` is auto; None: without.

        A controller (policy empty) belongs to no run: Path("") would be the current directory.
        """
        given = self.text(name)
        if given == NONE:
            return None
        if given == AUTO:
            found = Path(policy).parent / place
            return found if policy and Path(policy).is_dir() and found.is_dir() else None
        exported = place == run_layout.CHECKPOINTS and Path(given).is_file()  # by `resfit export`
        if not Path(given).is_dir() and not exported:
            raise ConfigError(f"{name}:={given}: no such directory; give another, or {name}:={NONE}")
        return Path(given).resolve()

    def run_directory(self, name: str) -> Path:
        """A directory to write to; auto: a new one. It is made when the nodes are started."""
        given = self.text(name)
        path = RUNS / f"{time.strftime('%Y%m%d-%H%M%S')}-{self._verb}" if given == AUTO else Path(given)
        return path.resolve()


def description(
    verb: str, arguments: Sequence[Argument], make_plan: Callable[[Values], Plan]
) -> "LaunchDescription":
    """The launch description of `VERB.launch.py`."""
    from launch import LaunchDescription
    from launch.actions import DeclareLaunchArgument, OpaqueFunction

    def start(context: "LaunchContext") -> list:
        _refuse_unknown(verb, context.argv, [a.name for a in arguments])
        values = Values(verb, {a.name: context.launch_configurations[a.name] for a in arguments})
        return _actions(verb, make_plan(values))

    declared = [
        DeclareLaunchArgument(
            a.name, default_value=a.default, description=a.doc, choices=list(a.choices) or None
        )
        for a in arguments
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def _refuse_unknown(verb: str, given: Sequence[str], known: Sequence[str]) -> None:
    # `ros2 launch` passes over arguments nobody declares, which hides a mistyped name. Where another
    # launch file includes this one, what is unknown here may be meant for that one.
    if not any(word.endswith(f"{verb}.launch.py") for word in sys.argv):
        return
    for name in (word.split(":=")[0] for word in given):
        if name not in (*known, *OF_LAUNCH):
            raise ConfigError(f"unknown argument '{name}'; {nearest(name, known)}")


def _actions(verb: str, plan: Plan) -> list:
    from launch.actions import LogInfo

    from resfit_ros.ros.monitor import GraphMonitor

    with GraphMonitor() as monitor:
        monitor.refuse_running_graph()
    config_dir = plan.directory / "config" / verb
    try:
        config_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{config_dir}: cannot be made ({error.strerror}); choose another") from None
    words = LogInfo(msg=f"{verb}: {plan.words}; parameters in {config_dir}")
    return [words, *(_node(spec, config_dir, plan.ends_with) for spec in plan.specs)]


def _node(spec: NodeSpec, config_dir: Path, ends_with: str) -> "Node":
    from launch.actions import LogInfo, Shutdown
    from launch_ros.actions import Node

    # A file, not a dictionary: launch_ros would read a text like "1" as a number.
    parameter_file = config_dir / f"{spec.name}.yaml"
    parameter_file.write_text(spec.parameter_file_text())

    def on_exit(event, context: "LaunchContext") -> list:
        if context.is_shutdown:
            return []
        if event.returncode == 0 and spec.name == ends_with:
            return [Shutdown(reason=f"{spec.name} has finished")]
        if spec.respawns and event.returncode != REFUSED:
            again = "started again, disarmed" if spec.name == "safety_filter" else "started again"
            return [LogInfo(msg=f"{spec.name} ended with status {event.returncode}; it is {again}")]
        raise NodeFailed(f"node '{spec.name}' ended with status {event.returncode}; see its lines above")

    return Node(
        package="resfit_ros",
        executable=spec.name,
        name=spec.name,
        namespace=spec.namespace,
        parameters=[str(parameter_file)],
        ros_arguments=["--enclave", spec.enclave],
        remappings=list(spec.remappings),
        output="screen",
        additional_env=added_environment(),
        sigkill_timeout=str(STOP_TIMEOUT_S),
        respawn=spec.respawns,
        respawn_delay=RESPAWN_DELAY_S,
        on_exit=on_exit,
    )
