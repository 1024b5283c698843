"""How a running graph is, at one glance: what was heard of it goes in, a verdict with reasons comes out.

    report = judge(Heard(namespace="/resfit", nodes={...}, present={...}))
    report["verdict"]    # "healthy", "warnings", "problem" or "no graph"

Plain Python; `ros_status.StatusListener` does the listening, `resfit status` prints the report. Every value
of a report is plain, as JSON has it:

    namespace, verdict, problems [sentence], warnings [sentence], to_start [sentence]: what an episode waits for
    nodes      [{"name", "alive", "level" (0 ok, 1 warn, 2 error, 3 not heard), "sentence", "waits_for"}]
    control    {"rate_hz" or None, "wanted_hz" or None, "timing"}
    episode    {"id", "state", "step", "max_steps" or None, "outcomes" {outcome: count}} or None
    success    {"rate", "low", "high", "successes", "episodes"} of all episodes so far, or None
    safety     {"state", "meaning", "reasons" [phrase]} or None
    learner    {"phase", "words", "env_steps", "gradient_updates", "owed_updates", "success_rate" or None} or None
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resfit_ros.core.intervals import wilson_interval
from resfit_ros.core.types import LearnerPhase, Outcome, Reason, SafetyState
from resfit_ros.operating import words
from resfit_ros.operating.blinding import masked, without_residual
from resfit_ros.operating.plain import plain, waits_for

HEALTHY, WARNINGS, PROBLEM, NO_GRAPH = "healthy", "warnings", "problem", "no graph"
OK, WARN, ERROR, NOT_HEARD = 0, 1, 2, 3  # as in diagnostic_msgs/DiagnosticStatus
MANAGER, FILTER = "episode_manager", "safety_filter"
CONTROLLING = ("aggregator", "base_policy", "residual", FILTER)  # useless without the episode manager
REALTIME = "realtime"
SLOW = 0.9  # share of control_hz below which the rate is worth a warning
RATE_STEPS = 10  # fewest actions that a rate is told from
FIRST_STEPS = 2  # of an episode, which wait for the first chunk
TOTALS = tuple(o.name.lower() for o in Outcome if o is not Outcome.NONE)


@dataclass(frozen=True)
class Word:
    """What one node says of itself on /diagnostics."""

    level: int
    sentence: str
    figures: Mapping[str, str] = field(default_factory=dict)

    @property
    def waits_for(self) -> str:
        """What it needs before an episode can start; empty: nothing."""
        return waits_for(self.figures)


@dataclass(frozen=True)
class Heard:
    """All that was heard of a graph within the last seconds.

    nodes: by name, on /diagnostics; present: names in the ROS graph; expected: those the episode manager
    waits for, None where it did not say; safety, learner: fields of the newest status message; steps:
    (arrival [ns], episode, step) of actions, in order of arrival.
    """

    namespace: str
    nodes: Mapping[str, Word] = field(default_factory=dict)
    present: frozenset[str] = frozenset()
    expected: tuple[str, ...] | None = None
    safety: Mapping[str, Any] | None = None
    learner: Mapping[str, Any] | None = None
    steps: Sequence[tuple[int, int, int]] = ()
    control_hz: float | None = None
    timing: str = ""
    max_steps: int | None = None

    @property
    def blind(self) -> bool:
        """Whether an evaluation hides who acts."""
        return any(word.figures.get("blind") == "True" for word in self.nodes.values())


def readable(fields: Mapping[str, Any]) -> bool:
    """Whether a status message's state or phase is one that this version knows."""
    try:
        SafetyState(fields.get("state", SafetyState.DISARMED))
        LearnerPhase(fields.get("phase", LearnerPhase.WAITING))
    except ValueError:
        return False
    return True


def judge(heard: Heard) -> dict[str, Any]:
    """The report; see the module's docstring."""
    if not heard.nodes and not heard.present:
        return {"namespace": heard.namespace, "verdict": NO_GRAPH}
    nodes = [_node(name, heard) for name in sorted(expected_nodes(heard))]
    episode, rate = _episode(heard), control_rate(heard.steps)
    problems, warnings = _problems(heard, nodes), _warnings(heard, nodes, rate)
    return {
        "namespace": heard.namespace,
        "verdict": PROBLEM if problems else WARNINGS if warnings else HEALTHY,
        "problems": problems,
        "warnings": warnings,
        "to_start": [] if episode and episode["state"] == "running" else _to_start(heard, nodes),
        "nodes": sorted(nodes, key=lambda n: (-n["level"], n["name"])),
        "control": {"rate_hz": rate, "wanted_hz": heard.control_hz, "timing": heard.timing},
        "episode": episode,
        "success": _success(episode),
        "safety": _safety(heard.safety, heard.blind),
        "learner": _learner(heard.learner),
    }


def expected_nodes(heard: Heard) -> set[str]:
    """Names of the nodes that should be there: those that are, and those that these need."""
    here = set(heard.nodes) | heard.present
    if heard.expected is not None:
        return here | set(heard.expected) | {MANAGER}
    return here | ({MANAGER} if here & set(CONTROLLING) else set())


def control_rate(steps: Sequence[tuple[int, int, int]]) -> float | None:
    """Steps per second of the newest episode among them, [1/s]; lost messages do not lower it."""
    ours = [s for s in steps if s[1] == steps[-1][1] and s[2] >= FIRST_STEPS]
    if not ours:
        return None
    (began_ns, _, first), (ended_ns, _, last) = ours[0], ours[-1]
    return (last - first) * 1e9 / (ended_ns - began_ns) if last - first >= RATE_STEPS else None


def _node(name: str, heard: Heard) -> dict[str, Any]:
    word = heard.nodes.get(name)
    if word is None:
        here = name in heard.present
        sentence = "is there, but says nothing on /diagnostics" if here else "is not there"
        return {"name": name, "alive": False, "level": NOT_HEARD, "sentence": sentence, "waits_for": ""}
    return {
        "name": name,
        "alive": True,
        "level": word.level,
        "sentence": masked(word.sentence) if heard.blind else word.sentence,
        "waits_for": word.waits_for,
    }


def _problems(heard: Heard, nodes: Sequence[dict[str, Any]]) -> list[str]:
    found = []
    for node in nodes:
        if node["level"] >= ERROR:
            found.append(f"{node['name']}: {node['sentence']}")
        if node["waits_for"]:
            found.append(f"{node['name']} waits for {node['waits_for']}")
    if FILTER in heard.nodes and heard.safety is None:
        found.append(f"{FILTER}: nothing heard on {heard.namespace}/safety_status")
    return found


def _warnings(heard: Heard, nodes: Sequence[dict[str, Any]], rate: float | None) -> list[str]:
    advice = list((heard.learner or {}).get("warnings") or ())
    found = [
        f"{n['name']}: {n['sentence']}" for n in nodes if n["level"] == WARN and n["sentence"] not in advice
    ]
    found += [f"learner: {sentence}" for sentence in advice]
    wanted = heard.control_hz
    if rate is not None and wanted and heard.timing == REALTIME and rate < SLOW * wanted:
        found.append(
            f"{rate:.1f} actions per second instead of {wanted:g}: the computer or the base policy is too slow"
        )
    return found


def _to_start(heard: Heard, nodes: Sequence[dict[str, Any]]) -> list[str]:
    """What to do, or what the graph waits for by itself, before the next episode can begin."""
    lacks = [f"start node {n['name']}" for n in nodes if not n["alive"]]
    lacks += [f"{n['name']} waits for {n['waits_for']}" for n in nodes if n["waits_for"]]
    lacks += _to_arm(heard)
    manager = heard.nodes.get(MANAGER)
    if lacks or manager is None:
        return lacks
    _, waits, obstacle = manager.sentence.partition("waiting: ")
    if waits:
        return [obstacle]
    if "evaluator" in heard.nodes or manager.figures.get("state") != "idle":
        return []  # it goes on by itself
    return [f"reset: ros2 service call {heard.namespace}/reset std_srvs/srv/Trigger"]


def _to_arm(heard: Heard) -> list[str]:
    if heard.safety is None:
        return []
    state, reasons = SafetyState(heard.safety["state"]), Reason(heard.safety["reasons"])
    call = f"ros2 service call {heard.namespace}/{{}} std_srvs/srv/SetBool '{{{{data: {{}}}}}}'"
    todo = []
    if reasons & Reason.ESTOP:
        todo.append("release the e-stop: " + call.format("estop", "false"))
    if state in (SafetyState.DISARMED, SafetyState.FAULT):
        todo.append("arm the robot: " + call.format("arm", "true"))
    return todo


def _episode(heard: Heard) -> dict[str, Any] | None:
    manager = heard.nodes.get(MANAGER)
    if manager is None or "state" not in manager.figures:
        return None
    f = manager.figures
    return {
        "id": _number(f.get("episode")),
        "state": f["state"],
        "step": _number(f.get("step")),
        "max_steps": heard.max_steps,
        "outcomes": {name: _number(f[name]) for name in TOTALS if name in f},
    }


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0


def _success(episode: dict[str, Any] | None) -> dict[str, Any] | None:
    """Over all episodes of this run that count: discarded ones do not."""
    outcomes = (episode or {}).get("outcomes", {})
    count = sum(n for name, n in outcomes.items() if name != Outcome.ABORTED.name.lower())
    if not count:
        return None
    successes = outcomes.get(Outcome.SUCCESS.name.lower(), 0)
    low, high = wilson_interval(successes, count)
    return {"rate": successes / count, "low": low, "high": high, "successes": successes, "episodes": count}


def _safety(fields: Mapping[str, Any] | None, blind: bool) -> dict[str, Any] | None:
    if fields is None:
        return None
    state, reasons = SafetyState(fields["state"]), Reason(fields["reasons"])
    return {
        "state": state.name.lower(),
        "meaning": words.STATES[state][1],
        "reasons": words.reason_words(without_residual(reasons) if blind else reasons),
    }


def _learner(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    phase = LearnerPhase(fields["phase"])
    kept = ("env_steps", "gradient_updates", "owed_updates", "success_rate")
    return {"phase": phase.name.lower(), "words": words.PHASES[phase]} | {k: plain(fields.get(k)) for k in kept}
