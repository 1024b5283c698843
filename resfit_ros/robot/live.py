"""Judges what was seen of a running robot against what the configuration asks for."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.robot.check import OK, PROBLEM, WARNING, Finding, limit_findings, limits_with
from resfit_ros.robot.interfaces import (
    COMMANDS,
    CONTROLLER,
    DESCRIPTION,
    OFFERS,
    PUBLISHES,
    TAKES,
    TELEOP,
    Interface,
)
from resfit_ros.robot.urdf import Urdf, parse_urdf

SLOW = 0.9  # of control_hz: measured rates scatter

WITHOUT = {
    DESCRIPTION: "start robot_state_publisher: the limits are then compared with the robot's own",
    TELEOP: "start it before somebody has to take the robot over",
}


@dataclass(frozen=True)
class Endpoint:
    """A publisher, subscription or server of somebody else. qos_conflict: why it never connects; empty: it does."""

    node: str
    type: str
    qos_conflict: str = ""


@dataclass(frozen=True)
class Heard:
    """Messages of one topic during the measurement."""

    usable: int = 0
    refused: int = 0
    why_refused: str = ""
    rate_hz: float = 0.0
    longest_gap_s: float = 0.0
    stamp_age_s: float | None = None  # median; None: not measured
    unstamped: bool = False
    note: str = ""  # e.g. size and encoding
    notices: tuple[tuple[str, str], ...] = ()  # (what, what to do) that deserve a warning
    text: str = ""  # of a robot description


@dataclass(frozen=True)
class SeenGraph:
    """The running graph: who is on each interface (by its name), and all names with their types."""

    seconds: float
    nodes: int  # of somebody else
    others: Mapping[str, tuple[Endpoint, ...]]
    heard: Mapping[str, Heard] = field(default_factory=dict)
    published: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)


def judge(interfaces: Sequence[Interface], seen: SeenGraph, safety: SafetyParameters) -> list[Finding]:
    """At least one finding per interface, in their order; the description's limits at its place."""
    if not seen.nodes:
        advice = "start the robot, or set ROS_DOMAIN_ID to its domain"
        return [Finding(PROBLEM, "ROS graph", "no other node is in this ROS domain", advice)]
    findings = []
    for interface in interfaces:
        here = _connected(interface, seen)
        if not here:
            here = _description(seen, safety) if interface.what == DESCRIPTION else _messages(interface, seen)
        findings += here
    return findings


def _connected(interface: Interface, seen: SeenGraph) -> list[Finding]:
    """What keeps the two sides apart; empty: nothing."""
    item, bad = interface.title, PROBLEM if interface.needed else WARNING
    others = seen.others.get(interface.name, ())
    if not others:
        found, advice = _missing(interface, seen)
        return [Finding(bad, item, found, advice)]
    wrong = [e for e in others if e.type != interface.type]
    if len(wrong) == len(others):
        advice = f"{interface.type} is needed; {_how_to_change(interface)}"
        return [Finding(PROBLEM, item, f"{interface.name} of {wrong[0].node} has type {wrong[0].type}", advice)]
    apart = [e for e in others if e.type == interface.type and e.qos_conflict]
    if len(apart) + len(wrong) == len(others):
        advice = "change the quality of service of that node"
        return [Finding(PROBLEM, item, f"{apart[0].node} does not connect: {apart[0].qos_conflict}", advice)]
    return []


def _missing(interface: Interface, seen: SeenGraph) -> tuple[str, str]:
    found = {
        PUBLISHES: f"nothing publishes {interface.name}",
        TAKES: f"nothing subscribes to {interface.name}",
        OFFERS: f"no service {interface.name}",
    }[interface.robot]
    names = {PUBLISHES: seen.published, TAKES: seen.taken, OFFERS: seen.services}[interface.robot]
    if interface.what in WITHOUT:
        return found, WITHOUT[interface.what]
    close = _alternatives(interface, names)
    if not close:
        return found, f"start what {interface.robot} it ({interface.type})"
    listed = ", ".join(f"{name} ({names[name]})" if names[name] != interface.type else name for name in close)
    return found, f"there is {listed}; remap it to {interface.name}, or start what {interface.robot} it"


def _alternatives(interface: Interface, names: Mapping[str, str]) -> list[str]:
    """Names of the right type, the nearest first; else the one name that looks alike."""
    fits = [name for name, kind in names.items() if kind == interface.type]
    if fits:
        likeness = difflib.SequenceMatcher(b=interface.name)

        def ratio(name: str) -> float:
            likeness.set_seq1(name)
            return likeness.ratio()

        return sorted(fits, key=lambda n: (-ratio(n), n))[:3]
    return difflib.get_close_matches(interface.name, list(names), n=1, cutoff=0.6)


def _how_to_change(interface: Interface) -> str:
    if interface.robot == OFFERS:
        return "set seeded_reset (true: resfit_ros/srv/ResetScene, false: std_srvs/srv/Trigger), or remap another one"
    if interface.what in (COMMANDS, CONTROLLER, TELEOP):
        return "set command_type or base_command_type to what the node uses, or remap another topic"
    return "remap another topic to this name"


def _messages(interface: Interface, seen: SeenGraph) -> list[Finding]:
    """What was heard on a connected interface."""
    item, name = interface.title, interface.name
    others = ", ".join(sorted({e.node for e in seen.others[name] if e.type == interface.type and not e.qos_conflict}))
    heard = seen.heard.get(name)
    if heard is None or interface.robot != PUBLISHES:
        return [Finding(OK, item, f"{name}, {others}")]
    if not heard.usable and not heard.refused:
        level = PROBLEM if interface.control_hz else WARNING  # a controller may be silent between episodes
        return [Finding(level, item, f"{name} of {others} was silent for {seen.seconds:g} s", "start its publishing")]
    if not heard.usable:
        return [Finding(PROBLEM, item, f"no message on {name} can be used: {heard.why_refused}", _why_unusable(item))]
    findings = _timing(interface, heard) + [Finding(WARNING, item, *notice) for notice in heard.notices]
    if heard.refused:
        words = f"{heard.refused} of {heard.refused + heard.usable} messages cannot be used: {heard.why_refused}"
        findings.append(Finding(WARNING, item, words, f"only one node should publish {name}"))
    timed = [f"{heard.rate_hz:.0f} Hz", f"longest gap {heard.longest_gap_s * 1e3:.0f} ms"] if heard.rate_hz else []
    parts = [name, *timed, heard.note, others]
    return [Finding(OK, item, ", ".join(p for p in parts if p)), *findings]


def _why_unusable(item: str) -> str:
    return f"correct what publishes the {item}, or the configuration"


def _timing(interface: Interface, heard: Heard) -> list[Finding]:
    item, findings = interface.title, []
    if interface.max_gap_s and heard.longest_gap_s > interface.max_gap_s:
        findings.append(
            Finding(
                PROBLEM, item,
                f"silent for {heard.longest_gap_s * 1e3:.0f} ms, {interface.limit} allows "
                f"{interface.max_gap_s * 1e3:.0f}",
                f"publish faster and more evenly, or raise {interface.limit} knowing what it protects",
            )  # fmt: skip
        )
    if interface.control_hz and heard.rate_hz < SLOW * interface.control_hz:
        findings.append(
            Finding(
                WARNING, item, f"{heard.rate_hz:.1f} Hz is slower than control_hz {interface.control_hz:g}",
                "observations repeat old values: publish faster, or lower control_hz",
            )  # fmt: skip
        )
    if not interface.control_hz:
        return findings
    if heard.unstamped:
        advice = "let the driver stamp its messages; observations tell old from new by the stamp"
        findings.append(Finding(PROBLEM, item, "messages carry no stamp (header.stamp is 0)", advice))
    elif (age := heard.stamp_age_s) is not None and _out_of_bounds(age, interface):
        way = "old" if age > 0 else "in the future"
        findings.append(
            Finding(
                PROBLEM, item, f"stamps are {abs(age):.2f} s {way}",
                "synchronise the clocks of the computers (chrony), or correct the driver's stamps",
            )  # fmt: skip
        )
    return findings


def _out_of_bounds(age_s: float, interface: Interface) -> bool:
    return age_s > interface.max_gap_s > 0 or -age_s > interface.max_future_s > 0


def _description(seen: SeenGraph, safety: SafetyParameters) -> list[Finding]:
    """Whether /robot_description can be read and allows the configured limits."""
    name = "/robot_description"
    text = seen.heard.get(name, Heard()).text
    if not text:
        return [Finding(WARNING, DESCRIPTION, f"nothing came on {name}", "start robot_state_publisher again")]
    try:
        urdf = parse_urdf(text)
    except ConfigError as error:
        return [Finding(PROBLEM, DESCRIPTION, str(error))]
    problems = limit_findings(limits_with(safety, urdf))
    if problems:
        return problems
    return [Finding(OK, DESCRIPTION, f"{name} of robot '{urdf.robot}' agrees with the limits")]


def live_urdf(seen: SeenGraph) -> Urdf | None:
    """The running robot's description; None where there is none that can be read."""
    text = seen.heard.get("/robot_description", Heard()).text
    try:
        return parse_urdf(text) if text else None
    except ConfigError:
        return None
