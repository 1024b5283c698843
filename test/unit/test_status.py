"""The verdict on a graph, from what was heard of it."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rich.console import Console

from resfit_ros import nodes
from resfit_ros.cli.status import render
from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.core.types import LearnerPhase, Reason, SafetyState
from resfit_ros.operating.graph_health import Heard, Word, control_rate, judge

NODES = ("aggregator", "base_policy", "residual", "safety_filter", "episode_manager")
MS = 1_000_000


def heard(nodes=NODES, words=None, reasons=Reason.NONE, state=SafetyState.ARMED, **others) -> Heard:
    """A graph in which all is well, but for what is given."""
    manager = {"state": "running", "episode": "3", "step": "7", "success": "3", "failure": "1", "aborted": "5"}
    said = {name: Word(0, "fine", {"waiting for": "nothing"}) for name in nodes}
    said |= {"episode_manager": Word(0, "episode 3 is running", manager)} if "episode_manager" in nodes else {}
    values = {
        "nodes": said | (words or {}),
        "expected": tuple(n for n in NODES if n != "episode_manager"),
        "safety": {"state": int(state), "reasons": int(reasons)},
        "control_hz": 20.0,
        "timing": "realtime",
    }
    return Heard("/resfit", **values | others)


def at(rate_hz: float, count: int = 30, episode: int = 1):
    return [(round(i * 1e9 / rate_hz), episode, i) for i in range(count)]


def test_when_all_is_well_expect_healthy_and_nothing_to_do():
    report = judge(heard(steps=at(20.0)))
    assert (report["verdict"], report["problems"], report["warnings"], report["to_start"]) == ("healthy", [], [], [])
    assert report["control"]["rate_hz"] == pytest.approx(20.0)


def test_when_nothing_is_heard_expect_no_graph():
    assert judge(Heard("/resfit")) == {"namespace": "/resfit", "verdict": "no graph"}


def test_when_an_expected_node_is_silent_expect_a_problem_that_names_it():
    report = judge(heard(nodes=[n for n in NODES if n != "residual"], words={}))
    assert report["verdict"] == "problem"
    assert report["problems"] == ["residual: is not there"]
    assert report["nodes"][0] == {
        "name": "residual", "alive": False, "level": 3, "sentence": "is not there", "waits_for": "",
    }  # fmt: skip


def test_when_a_process_hangs_expect_it_told_from_one_that_is_gone():
    report = judge(heard(nodes=[n for n in NODES if n != "residual"], present=frozenset({"residual"})))
    assert report["problems"] == ["residual: is there, but says nothing on /diagnostics"]


def test_when_only_a_learner_runs_expect_no_other_node_missed():
    words = {"learner": Word(0, "training", {})}
    report = judge(Heard("/resfit", nodes=words))
    assert report["verdict"] == "healthy"
    assert [n["name"] for n in report["nodes"]] == ["learner"]


def test_when_the_episode_manager_died_expect_it_missed_though_nobody_says_what_is_expected():
    report = judge(heard(nodes=[n for n in NODES if n != "episode_manager"], expected=None))
    assert report["problems"] == ["episode_manager: is not there"]


def test_when_a_node_waits_expect_what_for():
    waits = {"aggregator": Word(0, "waiting", {"waiting for": "a publisher on /joint_states"})}
    report = judge(heard(words=waits | {"episode_manager": Word(0, "waiting: x", {"state": "idle"})}))
    assert report["verdict"] == "problem"
    assert report["to_start"] == ["aggregator waits for a publisher on /joint_states"]


@pytest.mark.parametrize(("level", "verdict"), [(1, "warnings"), (2, "problem")])
def test_when_a_node_reports_expect_its_level_in_the_verdict(level: int, verdict: str):
    report = judge(heard(words={"recorder": Word(level, "the disk is full", {})}))
    assert report["verdict"] == verdict
    assert report["problems" if level == 2 else "warnings"] == ["recorder: the disk is full"]


def test_when_the_learner_warns_expect_each_warning_once():
    learner = {"phase": LearnerPhase.TRAINING, "warnings": ["critics overestimate"], "env_steps": 7,
               "gradient_updates": 8, "owed_updates": 0, "success_rate": float("nan")}  # fmt: skip
    report = judge(heard(words={"learner": Word(1, "critics overestimate", {})}, learner=learner))
    assert report["warnings"] == ["learner: critics overestimate"]
    assert report["learner"]["success_rate"] is None


def test_when_it_is_slow_in_realtime_expect_a_warning_and_in_lockstep_none():
    slow = at(12.0)
    assert "12.0 actions per second instead of 20" in judge(heard(steps=slow))["warnings"][0]
    assert judge(heard(steps=slow, timing="lockstep"))["warnings"] == []


def test_when_the_e_stop_is_pressed_expect_release_then_arm():
    idle = {"episode_manager": Word(0, "idle", {"state": "idle"})}
    report = judge(heard(words=idle, state=SafetyState.FAULT, reasons=Reason.ESTOP))
    assert report["to_start"] == [
        "release the e-stop: ros2 service call /resfit/estop std_srvs/srv/SetBool '{data: false}'",
        "arm the robot: ros2 service call /resfit/arm std_srvs/srv/SetBool '{data: true}'",
    ]
    assert report["safety"]["reasons"] == ["e-stop"]


def test_when_the_graph_is_idle_expect_the_reset_that_starts_an_episode():
    idle = {"episode_manager": Word(0, "idle", {"state": "idle"})}
    assert judge(heard(words=idle))["to_start"] == ["reset: ros2 service call /resfit/reset std_srvs/srv/Trigger"]


def test_when_the_manager_waits_for_the_learner_expect_its_own_words():
    waits = {"episode_manager": Word(0, "waiting: the learner owes 900 updates", {"state": "idle"})}
    assert judge(heard(words=waits))["to_start"] == ["the learner owes 900 updates"]


def test_when_episodes_were_discarded_expect_them_left_out_of_the_success_rate():
    success = judge(heard())["success"]
    assert (success["successes"], success["episodes"], success["rate"]) == (3, 4, 0.75)


def test_when_steps_were_lost_expect_the_same_rate():
    whole = at(20.0)
    assert control_rate(whole[::3]) == pytest.approx(control_rate(whole), rel=0.01)


def test_when_an_episode_has_just_begun_expect_no_rate_of_its_first_steps():
    late = [(0, 1, 0), (500 * MS, 1, 1), (1000 * MS, 1, 2)]
    assert control_rate(late) is None
    assert control_rate(late + [(1000 * MS + 50 * MS * i, 1, 2 + i) for i in range(1, 11)]) == pytest.approx(20.0)


@given(st.floats(1.0, 500.0), st.integers(1, 5))
def test_when_an_episode_begins_expect_the_rate_of_the_newest_alone(rate_hz: float, old: int):
    steps = at(3.0, 10, episode=old) + [(t + 10_000 * MS, e + 5, s) for t, e, s in at(rate_hz, 600)]
    assert control_rate(steps) == pytest.approx(rate_hz, rel=0.01)


@pytest.mark.parametrize("name", NODE_PARAMETERS)
def test_when_a_node_is_written_expect_it_to_report_a_level_a_sentence_and_figures(name: str):
    source = (Path(nodes.__file__).parent / f"{name}.py").read_text()
    assert "self.report(OK" in source or "self.report(LEVELS[" in source
    assert "def figures(self)" in source


def printed(report: dict) -> str:
    """As `resfit status` shows it."""
    out = Console(width=100, record=True, file=io.StringIO())
    out.print(render(report))
    return out.export_text()


def test_when_it_is_shown_expect_what_matters_first():
    learner = {"phase": LearnerPhase.TRAINING, "env_steps": 7, "gradient_updates": 28, "owed_updates": -3}
    first = printed(judge(heard(steps=at(20.0), learner=learner, max_steps=60))).splitlines()[:6]
    assert [line.rstrip() for line in first] == [
        "/resfit  healthy, 5 of 5 nodes are there",
        "control  20.0 actions per second of 20",
        "episode  3, running, step 7 of 60",
        "success  3 of 4 (75%; 95 % interval 30% to 95%)",
        "safety   armed: the robot may move",
        "learner  training; 7 steps, 28 updates, 0 owed",
    ]


def test_when_a_node_says_something_in_brackets_expect_it_word_for_word():
    words = {"recorder": Word(2, "no space left [Errno 28] on [/data]", {"waiting for": "[bold]"})}
    shown = " ".join(printed(judge(heard(words=words))).split())
    assert "problem recorder: no space left [Errno 28] on [/data]" in shown
    assert "recorder waits for [bold]" in shown
