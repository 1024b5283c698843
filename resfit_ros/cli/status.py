"""`resfit status`: how a running graph is, at one glance."""

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from resfit_ros.bringup import NAMESPACE
from resfit_ros.cli.console import EXIT_ERROR, console, errors, reporting_errors, working
from resfit_ros.core.errors import ConfigError
from resfit_ros.operating.graph_health import HEALTHY, NO_GRAPH, PROBLEM, WARNINGS, judge

EXIT_NO_GRAPH = 2
LISTEN_S = 2.5  # at most; it is over as soon as everything has been heard
# More, where a part is heard and another is not: DDS announces itself again every 3 s, and a node that was
# found late must not be reported as missing.
LISTEN_ON_S = 2.0
REFRESH_S = 1.0
COLOURS = {HEALTHY: "green", WARNINGS: "yellow", PROBLEM: "bold red"}
LEVELS = ("[green]ok[/]", "[yellow]warn[/]", "[bold red]error[/]", "[bold red]silent[/]")


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, once a second, until Ctrl-C.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of words; with --watch one line a second.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of the graph.")] = NAMESPACE,
) -> None:
    """Show how the running graph is: nodes, safety, episode, learner, and what a start waits for.

    Status 0: it works, perhaps with warnings; 1: something is wrong or missing; 2: there is no graph.
    """
    with reporting_errors():
        _require_ros()
        from resfit_ros.operating.ros_status import StatusListener

        with StatusListener(namespace) as listener:
            with working("listening to the graph", quiet=as_json):
                listener.spin(LISTEN_S, listener.knows_enough)
                if judge(listener.heard())["verdict"] != NO_GRAPH:
                    listener.spin(LISTEN_ON_S, listener.knows_nodes)
            if watch:
                _watch(listener, as_json)
            report = judge(listener.heard())
        if as_json:
            typer.echo(json.dumps(report, indent=1))
        elif report["verdict"] == NO_GRAPH:
            errors.print(no_graph_words(report["namespace"]), soft_wrap=True)
        else:
            console.print(render(report))
    raise typer.Exit({NO_GRAPH: EXIT_NO_GRAPH, PROBLEM: EXIT_ERROR}.get(report["verdict"], 0))


def _require_ros() -> None:
    try:
        import rclpy  # noqa: F401  (only whether it is there)
    except ImportError:
        raise ConfigError("status needs ROS 2; source /opt/ros/jazzy/setup.bash, or run 'make setup'") from None


def no_graph_words(namespace: str) -> str:
    """What to do where nothing is heard."""
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    return (
        f"no graph is heard under {namespace} in ROS domain {domain}; start one with 'resfit up' or a launch file, or "
        "give its own with --namespace and ROS_DOMAIN_ID"
    )


def _watch(listener: Any, as_json: bool) -> None:
    """Prints the report again and again, until Ctrl-C."""
    if as_json or not console.is_terminal:
        while True:
            report = judge(listener.heard())
            typer.echo(json.dumps(report)) if as_json else console.print(_rendered(report), "")
            listener.spin(REFRESH_S)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_rendered(judge(listener.heard())), refresh=True)
            listener.spin(REFRESH_S)


def _rendered(report: dict[str, Any]) -> Any:
    return no_graph_words(report["namespace"]) if report["verdict"] == NO_GRAPH else render(report)


def render(report: dict[str, Any]) -> Group:
    """The report for people: the verdict, what matters, what is wrong, and a line per node."""
    nodes, verdict = report["nodes"], report["verdict"]
    alive = sum(n["alive"] for n in nodes)
    facts = Table.grid(padding=(0, 2))
    facts.add_row(
        f"[bold]{escape(report['namespace'])}[/]",
        f"[{COLOURS[verdict]}]{verdict}[/], {alive} of {len(nodes)} nodes are there",
    )
    for title, text in _facts(report):
        facts.add_row(title, escape(text))
    parts = [facts, _said("problem", "bold red", report["problems"])]
    parts += [_said("warning", "yellow", report["warnings"]), _said("to start", "cyan", report["to_start"])]
    return Group(*(p for p in parts if p.row_count), "", _node_table(nodes))


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    found = [("control", _control_words(report["control"]))]
    episode, success, safety, learner = (report[k] for k in ("episode", "success", "safety", "learner"))
    if episode:
        most = f" of {episode['max_steps']}" if episode["max_steps"] else ""
        found.append(("episode", f"{episode['id']}, {episode['state']}, step {episode['step']}{most}"))
    if success:
        found.append(
            (
                "success",
                f"{success['successes']} of {success['episodes']} ({success['rate']:.0%}; 95 % interval "
                f"{success['low']:.0%} to {success['high']:.0%})",
            )
        )
    if safety:
        reasons = f" ({', '.join(safety['reasons'])})" if safety["reasons"] else ""
        found.append(("safety", f"{safety['state']}: {safety['meaning']}{reasons}"))
    if learner:
        found.append(
            (
                "learner",
                f"{learner['words']}; {learner['env_steps']} steps, {learner['gradient_updates']} updates, "
                f"{max(learner['owed_updates'], 0)} owed",
            )
        )
    return found


def _control_words(control: dict[str, Any]) -> str:
    rate, wanted, timing = control["rate_hz"], control["wanted_hz"], control["timing"]
    if rate is None:
        return "no actions now"
    if timing == "realtime" and wanted:
        return f"{rate:.1f} actions per second of {wanted:g}"
    return f"{rate:.1f} actions per second{f', {timing}' if timing else ''}"


def _said(title: str, style: str, sentences: list[str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for sentence in sentences:
        table.add_row(f"[{style}]{title}[/]", escape(sentence))
    return table


def _node_table(nodes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("node", "level", "says"):
        table.add_column(title, no_wrap=title != "says", overflow="fold")
    for node in nodes:
        table.add_row(node["name"], LEVELS[node["level"]], escape(node["sentence"]))
    return table
