"""The Foxglove layout names only topics, fields and services that there are."""

import json
import re
from pathlib import Path

import pytest

from resfit_ros.core.types import LearnerPhase, Mode, Outcome, SafetyState

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = json.loads((ROOT / "config" / "foxglove" / "resfit.json").read_text())
PANELS = LAYOUT["configById"]
OURS = {
    "/resfit/learner_status": "LearnerStatus",
    "/resfit/safety_status": "SafetyStatus",
    "/resfit/action": "Action",
    "/resfit/executed_action": "ExecutedAction",
    "/resfit/episode": "Episode",
}
THEIRS = {"/joint_states": {"position", "velocity", "effort", "name"}}
SERVICES = {"label": "Label", "reset": "", "arm": "", "hold": "", "estop": ""}  # "": one of std_srvs
# Panels of Foxglove itself: others would need an extension.
KNOWN = {
    "Indicator", "Image", "StateTransitions", "CallService", "Plot", "DiagnosticSummary", "DiagnosticStatusPanel",
    "RawMessages", "Tab",
}  # fmt: skip


def fields(definition: Path) -> dict[str, str]:
    """Field name to type of a .msg, or of the request of a .srv."""
    lines = definition.read_text().split("---")[0].splitlines()
    found = (re.match(r"^(\S+)\s+(\w+)\s*(#.*)?$", line) for line in lines)
    return {m[2]: m[1] for m in found if m}


def message_paths() -> list[tuple[str, str]]:
    """(panel, path) of everything that is plotted, shown or judged."""
    found = []
    for name, panel in PANELS.items():
        found += [(name, p["value"]) for p in panel.get("paths", ())]
        found += [(name, panel[key]) for key in ("path", "topicPath") if panel.get(key)]
    return found


def placed(node) -> list[str]:
    """Panels of a layout, tabs and all."""
    if isinstance(node, dict):
        return placed(node["first"]) + placed(node["second"])
    return [node] + [n for tab in PANELS[node].get("tabs", ()) for n in placed(tab["layout"])]


@pytest.mark.parametrize(("panel", "path"), message_paths())
def test_when_a_panel_shows_a_field_expect_the_message_to_have_it(panel: str, path: str):
    topic, _, field = path.partition(".")
    name = field.removesuffix("[:]")
    if topic in THEIRS:
        assert name in THEIRS[topic]
        return
    kinds = fields(ROOT / "msg" / f"{OURS[topic]}.msg")
    assert name in kinds
    assert kinds[name].endswith("[]") == (field.endswith("[:]") or name == "warnings")


def test_when_the_learner_is_plotted_expect_every_figure_of_its_health():
    shown = {path.rpartition(".")[2] for _, path in message_paths() if "learner_status" in path}
    scalars = {n for n, kind in fields(ROOT / "msg" / "LearnerStatus.msg").items() if kind == "float32"}
    assert scalars - shown == set()


@pytest.mark.parametrize("name", [n for n in PANELS if n.startswith("CallService!")])
def test_when_a_button_calls_a_service_expect_its_request_to_be_understood(name: str):
    service, payload = PANELS[name]["serviceName"].removeprefix("/resfit/"), json.loads(PANELS[name]["requestPayload"])
    assert service in SERVICES
    if SERVICES[service]:
        # A button of a layout cannot know the episode; left out, it is 0: whichever runs.
        assert set(payload) == set(fields(ROOT / "srv" / f"{SERVICES[service]}.srv")) - {"episode_id"}
    else:
        assert payload in ({}, {"data": True})


@pytest.mark.parametrize(
    ("path", "meanings"),
    [
        ("/resfit/safety_status.state", SafetyState),
        ("/resfit/learner_status.phase", LearnerPhase),
        ("/resfit/action.mode", Mode),
        ("/resfit/episode.outcome", Outcome),
    ],
)
def test_when_a_number_has_a_meaning_expect_its_name_shown(path: str, meanings):
    shown = {p["value"]: p["customStates"]["states"] for p in PANELS["StateTransitions!states"]["paths"]}[path]
    assert {(s["value"], s["label"]) for s in shown} == {(str(int(m)), m.name) for m in meanings}


def test_when_the_layout_is_opened_expect_each_panel_in_its_place_once():
    assert sorted(placed(LAYOUT["layout"])) == sorted(PANELS)
    assert {name.partition("!")[0] for name in PANELS} == KNOWN


def test_when_nodes_are_shown_expect_the_topic_they_report_on():
    assert PANELS["DiagnosticSummary!nodes"]["topicToRender"] == "/diagnostics"
    assert PANELS["DiagnosticStatusPanel!node"]["topicToRender"] == "/diagnostics"
