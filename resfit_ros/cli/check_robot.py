"""`resfit check-robot`: is a robot's file right, and does the running robot agree with it?"""

import json
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from resfit_ros.bringup import NAMESPACE, RunConfig, load_config, node_parameters, remappings
from resfit_ros.cli.console import EXIT_ERROR, console, reporting_errors, working
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import AggregatorParameters, EpisodeParameters
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.paths import find_config
from resfit_ros.robot.check import OK, PROBLEM, WARNING, Finding, RobotReport, check_robot
from resfit_ros.robot.interfaces import FROM_TOPIC, Interface, interfaces_of
from resfit_ros.robot.limits import LIMITS, NOWHERE, URDF, YAML, MergedLimits
from resfit_ros.robot.urdf import Urdf, read_urdf

MARKS = {OK: "[green]ok[/]", PROBLEM: "[bold red]problem[/]", WARNING: "[yellow]warning[/]"}
LIMIT_TITLES = dict(zip(LIMITS, ("lower", "upper", "velocity", "acceleration"), strict=True))
WHERE = {YAML: "the file", URDF: "the URDF", NOWHERE: "nowhere"}
WIDE = 120  # columns


def check_robot_file(
    file: Annotated[str, typer.Argument(help="Robot file: a YAML file or the name of a shipped one.")],
    live: Annotated[bool, typer.Option("--live", help="Join the running ROS graph and look at the robot.")] = False,
    urdf: Annotated[
        Path | None, typer.Option(help="URDF to compare the limits with, instead of the file's own 'urdf'.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.5, max=60.0, help="With --live: how long to listen.")] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Check a robot's file, and with --live the running robot, before anything moves.

    Ends with status 1 when something needed is missing or wrong.
    """
    with reporting_errors():
        try:
            with working("looking at the running robot" if live else "checking", quiet=as_json):
                report = run_check(load_config(find_config(file)), urdf, live, seconds)
        except ConfigError as error:
            if not as_json:
                raise
            _print_json({"file": file, "ok": False, "findings": [vars(Finding(PROBLEM, "file", str(error)))]})
            raise typer.Exit(EXIT_ERROR) from None
        if as_json:
            _print_json(report.as_dict())
        else:
            print_report(report, live)
    if not report.ok:
        raise typer.Exit(EXIT_ERROR)


def run_check(config: RunConfig, urdf_file: Path | None, live: bool, seconds: float = 3.0) -> RobotReport:
    """Reads the URDF where there is one, and looks at the running robot with `live`.

    Raises ConfigError on a file that cannot be read at all, and where ROS is missing with `live`.
    """
    aggregator, safety, episodes = _parameters(config, urdf_file)
    absolute = _absolute_names(config)
    interfaces = interfaces_of(aggregator, safety, episodes, absolute)
    urdf = _urdf(safety.urdf)
    file = str(config.path)
    if not live:
        return check_robot(file, aggregator, safety, interfaces, urdf)
    probe = _probe()
    from resfit_ros.robot.live import judge, live_urdf

    expected = check_robot(file, aggregator, safety, interfaces, urdf).limits
    seen = probe(interfaces, aggregator, expected, seconds)
    if urdf is None and safety.urdf == FROM_TOPIC:
        urdf = live_urdf(seen)
    report = check_robot(file, aggregator, safety, interfaces, urdf)
    report.findings.extend(f for f in judge(interfaces, seen, safety) if f not in report.findings)
    return report


def _parameters(
    config: RunConfig, urdf_file: Path | None
) -> tuple[AggregatorParameters, SafetyParameters, EpisodeParameters]:
    described = {"urdf": str(urdf_file)} if urdf_file else {}
    return (
        node_parameters(config, "aggregator"),
        node_parameters(config, "safety_filter", described),
        node_parameters(config, "episode_manager"),
    )


def _absolute_names(config: RunConfig):
    known = dict(remappings("residual", config))
    for node in ("aggregator", "safety_filter"):
        known |= dict(remappings(node, config))
    return lambda topic: known.get(topic, f"{NAMESPACE}/{topic}")


def _urdf(configured: str) -> Urdf | None:
    if configured in ("", FROM_TOPIC):
        return None
    return read_urdf(Path(configured).expanduser())


def _probe():
    try:
        from resfit_ros.ros.robot_probe import look_at_robot
    except ImportError as error:
        raise ConfigError(
            f"--live needs ROS 2, but '{error.name}' cannot be imported; source it (source /opt/ros/jazzy/setup.bash) "
            "and the workspace, or run 'make setup'"
        ) from None
    return look_at_robot


# -- output ---------------------------------------------------------------------------------------


def print_report(report: RobotReport, live: bool) -> None:
    """Tables for people: joints, state and cameras, interfaces, then what is wrong."""
    joints = len(report.limits.joint_names)
    console.print(f"[bold]{escape(report.file)}[/]: {joints} joints, {report.timing}, {report.control_hz:g} Hz")
    _print_joints(report.limits)
    blocks = " + ".join(f"{name} {size}" for name, size in report.state)
    console.print(f"state: {blocks} = {sum(size for _, size in report.state)} values")
    width, height = report.image_size
    cameras = f"{', '.join(report.cameras)}, each resized to {width} x {height}" if report.cameras else "none"
    console.print(f"cameras: {cameras}")
    _print_interfaces(report.interfaces)
    if live:
        console.print(f"the running robot (ROS domain {os.environ.get('ROS_DOMAIN_ID', '0')}):")
        _print_lines([f for f in report.findings if f.level == OK])
    wrong = [f for f in report.findings if f.level != OK]
    _print_lines(sorted(wrong, key=lambda f: f.level))
    problems = sum(f.level == PROBLEM for f in wrong)
    counts = f"{_count(problems, 'problem')}, {_count(len(wrong) - problems, 'warning')}"
    what = "the file and the running robot" if live else "the file"
    verdict = f"[green]{what} can be used[/]" if report.ok else f"[bold red]{what} cannot be used yet[/]"
    console.print(f"{counts}: {verdict}")


def _print_json(values: dict[str, Any]) -> None:
    typer.echo(json.dumps(values, indent=2))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_lines(findings: list[Finding]) -> None:
    for f in findings:
        advice = f"; {f.advice}" if f.advice else ""
        console.print(f"{MARKS[f.level]} [bold]{escape(f.item)}[/]: {escape(f.found + advice)}", soft_wrap=True)


def _print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Container[int] = ()) -> None:
    """Without lines, and never cut: names are there to be copied."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for i, title in enumerate(titles):
        table.add_column(title, justify="right" if i in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    Console(highlight=False, width=max(console.width, WIDE)).print(table)


def _print_joints(limits: MergedLimits) -> None:
    titles = ("joint", *LIMIT_TITLES.values(), "unit")
    columns = (limits.values[n] for n in LIMITS)
    rows = [
        (name, *("missing" if v is None else f"{v:.4g}" for v in values), unit)
        for name, *values, unit in zip(limits.joint_names, *columns, limits.units, strict=True)
    ]
    _print_table(titles, rows, right=range(1, 5))
    by_source = {source: [t for n, t in LIMIT_TITLES.items() if limits.sources[n] == source] for source in WHERE}
    words = [f"{', '.join(titles)} from {WHERE[source]}" for source, titles in by_source.items() if titles]
    console.print(f"limits: {'; '.join(words)}", soft_wrap=True)


def _print_interfaces(interfaces: Sequence[Interface]) -> None:
    rows = [
        (i.robot if i.needed else f"({i.robot})", i.name, i.type.replace("/msg/", "/").replace("/srv/", "/"), i.title)
        for i in interfaces
    ]
    _print_table(("the robot", "topic or service", "type", "for"), rows)
