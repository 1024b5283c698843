"""What the operator is shown, and what can be pressed, as plain values."""

import ast
import json
from pathlib import Path

import numpy as np
import pytest

from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    EpisodeStarted,
    Executed,
    LearnerPhase,
    Mode,
    Outcome,
    Reason,
    SafetyState,
)
from resfit_ros.operating.controls import ABOUT, SHORTCUTS, Control
from resfit_ros.operating.episode_view import EpisodeView
from resfit_ros.operating.success import RollingSuccess
from resfit_ros.operating.view_model import OperatorView
from resfit_ros.operating.words import PHASES, REASONS, STATES

S = 1_000_000_000
SERVICES = dict.fromkeys((a.service for a in ABOUT.values()), True)


def view(state: SafetyState = SafetyState.ARMED, reasons: Reason = Reason.NONE) -> OperatorView:
    """At second 0: every service there, the safety filter in that state, no episode yet."""
    made = OperatorView(window=4)
    made.on_services(SERVICES)
    made.on_safety({"state": int(state), "reasons": int(reasons)}, 0)
    return made


def manager(made: OperatorView, state: str, episode: int, now_ns: int = 0, sentence: str = "") -> None:
    figures = {"state": state, "episode": str(episode), "success": "3"}
    made.on_diagnostics("episode_manager", 0, sentence, figures, now_ns)


def action(residual, mode: Mode = Mode.RESIDUAL) -> Action:
    residual = np.array(residual, np.float32)
    return Action(1, 1, 0, residual * 0, residual, residual, 0.0, 7, mode)


def controls(made: OperatorView, now_ns: int = 0) -> dict:
    return made.snapshot(now_ns)["controls"]


# -- the snapshot ----------------------------------------------------------------------------


def test_when_nothing_was_heard_expect_a_snapshot_that_says_so():
    shown = OperatorView().snapshot(0)
    assert shown["safety"]["state"] == "not heard"
    assert shown["episode"]["state"] == "not heard"
    assert shown["learner"]["phase_words"] == "no learner is heard"
    assert "not heard" in shown["headline"]["text"]


def test_when_figures_are_not_finite_expect_a_snapshot_that_json_takes():
    made = view()
    made.on_learner({"phase": 3, "residual_scale": float("nan"), "q_mean": float("inf")}, 0)
    made.on_safety({"state": 1, "reasons": 0, "action_age_s": float("nan"), "speed_scale": np.float32(1)}, 0)
    made.on_action(action([float("nan"), 0.1]), 0)
    again = json.loads(json.dumps(made.snapshot(0), allow_nan=False))
    assert again["learner"]["figures"]["q_mean"] is None
    assert again["safety"]["figures"]["speed_scale"] == 1.0


def test_when_an_enumeration_grows_expect_words_for_every_member():
    assert set(STATES) == set(SafetyState)
    assert set(REASONS) == set(Reason)
    assert set(PHASES) == set(LearnerPhase)


# -- the episode -----------------------------------------------------------------------------


def test_when_an_episode_runs_expect_its_time_on_the_robots_clock():
    made = view()
    made.on_episode(EpisodeStarted(100 * S, 5), 0)
    made.on_observation(5, 30, 101 * S + S // 2, 9 * S)
    shown = made.snapshot(9 * S)["episode"]
    assert (shown["id"], shown["state"], shown["step"]) == (5, "running", 30)
    assert shown["time_s"] == pytest.approx(1.5)
    assert shown["state_for_s"] == pytest.approx(9.0)


def test_when_the_start_was_missed_expect_the_time_from_the_steps():
    made = view()
    made.episode.control_hz = 20.0
    made.on_observation(5, 30, 101 * S, 0)
    shown = made.snapshot(0)["episode"]
    assert (shown["id"], shown["state"], shown["time_s"]) == (5, "running", 1.5)


def test_when_an_older_word_of_the_manager_comes_late_expect_it_passed_over():
    made = view()
    made.on_episode(EpisodeStarted(S, 5), 0)
    manager(made, "resetting", 4)
    assert made.snapshot(0)["episode"]["state"] == "running"
    made.on_episode(EpisodeEnded(2 * S, 5, Outcome.SUCCESS, 20), 0)
    manager(made, "running", 5)
    assert made.snapshot(0)["episode"]["state"] == "idle"


def test_when_the_end_was_missed_expect_the_managers_word():
    made = view()
    made.on_episode(EpisodeStarted(S, 5), 0)
    manager(made, "resetting", 5, sentence="resetting the scene")
    shown = made.snapshot(0)["episode"]
    assert (shown["state"], shown["sentence"]) == ("resetting", "resetting the scene")
    assert shown["totals"] == {"success": 3}


def test_when_another_run_begins_with_episode_1_expect_it_followed():
    made = view()
    made.on_episode(EpisodeStarted(S, 5), 0)
    made.on_episode(EpisodeStarted(2 * S, 1), S)
    assert made.snapshot(S)["episode"]["id"] == 1


def test_when_a_fault_touches_steps_expect_them_counted_per_episode():
    made = view()
    made.on_episode(EpisodeStarted(S, 5), 0)
    for step in range(3):
        made.on_executed(Executed(S, 5, step, np.zeros(2, np.float32), tainted=step > 0), 0)
    assert made.snapshot(0)["episode"]["tainted_steps"] == 2
    made.on_episode(EpisodeStarted(3 * S, 6), 0)
    assert made.snapshot(0)["episode"]["tainted_steps"] == 0


# -- success ---------------------------------------------------------------------------------


def test_when_more_episodes_end_than_the_window_holds_expect_the_newest_of_them():
    rolling = RollingSuccess(window=4)
    later = (Outcome.FAILURE, Outcome.ABORTED, Outcome.TIMEOUT, Outcome.SUCCESS)
    for outcome in (Outcome.SUCCESS,) * 3 + later:
        rolling.add(outcome)
    shown = rolling.snapshot()
    assert shown["outcomes"] == ["success", "failure", "timeout", "success"]
    assert (shown["rate"], shown["episodes"]) == (0.5, 4)


# -- the residual ----------------------------------------------------------------------------


def test_when_the_bound_is_known_expect_shares_of_it():
    made = view()
    made.residual.joint_names = ("elbow", "wrist")
    made.residual.half_range, made.residual.scale = np.array([0.5, 0.1], np.float32), 0.2
    made.on_action(action([-0.05, 0.02]), 0)
    shown = made.snapshot(0)["residual"]
    assert [j["name"] for j in shown["joints"]] == ["elbow", "wrist"]
    assert [j["share"] for j in shown["joints"]] == pytest.approx([0.5, 1.0])
    assert (shown["bound_from"], shown["mode"]) == ("learner", "base + residual")


def test_when_the_safety_filter_is_tighter_expect_its_bound():
    made = view()
    made.residual.half_range, made.residual.scale = np.array([0.5, 0.1], np.float32), 0.2
    made.residual.max_residual = np.array([0.05], np.float32)
    made.on_action(action([0.025, 0.01]), 0)
    joints = made.snapshot(0)["residual"]["joints"]
    assert [j["bound"] for j in joints] == pytest.approx([0.05, 0.02])


def test_when_nobody_says_the_bound_expect_shares_of_the_largest_value_so_far():
    made = view()
    made.on_action(action([0.2, 0.0]), 0)
    made.on_action(action([0.1, 0.0]), 0)
    joint = made.snapshot(0)["residual"]["joints"][0]
    assert joint["bound"] is None
    assert (joint["share"], joint["peak_share"]) == (pytest.approx(0.5), pytest.approx(1.0))


# -- safety ----------------------------------------------------------------------------------


def test_when_the_robot_holds_expect_state_and_reasons_in_words():
    shown = view(SafetyState.HOLD, Reason.STALE_ACTION | Reason.OPERATOR).snapshot(0)["safety"]
    assert (shown["title"], shown["colour"]) == ("HOLD", "amber")
    assert shown["reasons"] == ["no fresh action came in time", "the operator asked to hold"]


def test_when_the_filter_falls_silent_expect_red_after_a_second():
    made = view()
    assert made.snapshot(S)["safety"]["colour"] == "green"
    shown = made.snapshot(S + 1)["safety"]
    assert (shown["state"], shown["colour"]) == ("not heard", "red")


def test_when_the_estop_is_not_confirmed_expect_it_said():
    made = view()
    made.estop.press()
    assert made.snapshot(0)["safety"]["title"] == "E-STOP ASKED FOR"
    made.estop.on_answer()
    made.on_safety({"state": int(SafetyState.FAULT), "reasons": int(Reason.ESTOP)}, 0)
    assert made.snapshot(0)["safety"]["title"] == "E-STOP"


# -- the learner -----------------------------------------------------------------------------


def test_when_the_learner_lags_expect_by_how_much_and_its_warnings():
    made = view()
    fields = {"phase": 3, "owed_updates": 120, "updates_per_s": 40.0, "warnings": ["the critics ..."]}
    made.on_learner(fields, 0)
    shown = made.snapshot(0)["learner"]
    assert (shown["phase"], shown["lag_words"]) == ("training", "120 updates behind, 3.0 s")
    assert (shown["warnings"], shown["colour"]) == (["the critics ..."], "amber")


def test_when_the_learner_falls_silent_expect_it_said_but_not_once_it_is_done():
    made = view()
    made.on_learner({"phase": int(LearnerPhase.TRAINING)}, 0)
    assert made.snapshot(9 * S)["learner"]["phase_words"] == "the learner has been silent for 9 s"
    made.on_learner({"phase": int(LearnerPhase.DONE)}, 0)
    assert made.snapshot(9 * S)["learner"]["heard"]


# -- nodes and messages ----------------------------------------------------------------------


def test_when_nodes_report_expect_the_worst_first_and_silent_ones_stale():
    made = view()
    made.on_diagnostics("aggregator", 0, "sampling", {}, 9 * S)
    made.on_diagnostics("residual", 1, "base action alone", {}, 9 * S)
    made.on_diagnostics("recorder", 0, "recording", {}, 0)
    nodes = made.snapshot(10 * S)["nodes"]
    assert [(n["name"], n["level"]) for n in nodes] == [("recorder", 3), ("residual", 1), ("aggregator", 0)]


def test_when_the_same_is_told_again_expect_it_once_with_its_newest_time():
    made = view()
    made.tell("warn", "no answer", 0)
    made.tell("warn", "no answer", 2 * S)
    told = [(m["level"], m["text"], m["age_s"]) for m in made.snapshot(3 * S)["messages"]]
    assert told == [("warn", "no answer", pytest.approx(1.0))]


# -- what can be pressed ---------------------------------------------------------------------


def test_when_an_episode_runs_expect_labels_enabled_and_off_after_its_end():
    made = view()
    assert controls(made)["success"]["why"] == "no episode was heard yet"
    made.on_episode(EpisodeStarted(S, 5), 0)
    assert all(controls(made)[name]["enabled"] for name in ("success", "failure", "discard"))
    made.on_episode(EpisodeEnded(2 * S, 5, Outcome.FAILURE, 20), 0)
    assert controls(made)["success"]["why"] == "episode 5 has ended already (failure)"


@pytest.mark.parametrize(
    ("state", "reasons", "why"),
    [
        (SafetyState.DISARMED, Reason.NONE, ""),
        (SafetyState.FAULT, Reason.TRACKING, ""),
        (SafetyState.ARMED, Reason.NONE, "armed already"),
        (SafetyState.HOLD, Reason.OVERLOAD, "armed already, and holding: the computer is too busy"),
    ],
)
def test_when_the_filter_is_in_a_state_expect_arm_to_say_why_it_is_off(state, reasons, why):
    assert controls(view(state, reasons))["arm"]["why"] == why


def test_when_the_estop_was_pressed_here_expect_arm_to_ask_for_its_release():
    made = view(SafetyState.FAULT, Reason.ESTOP)
    made.estop.press()
    assert controls(made)["arm"]["why"] == "the e-stop is pressed; release it first"
    assert controls(made)["release_estop"]["enabled"]


@pytest.mark.parametrize(
    ("estopped", "arm", "title"),
    [(True, "the e-stop is pressed; release it first", "E-STOP"), (False, "", "E-STOP RELEASED")],
)
def test_when_anybody_presses_or_releases_the_estop_expect_arm_and_title_to_follow(estopped, arm, title):
    made = view()
    made.on_safety(
        {"state": int(SafetyState.FAULT), "reasons": int(Reason.ESTOP), "estopped": estopped}, 0
    )
    assert controls(made)["arm"]["why"] == arm
    assert controls(made)["release_estop"]["enabled"] is estopped
    assert made.snapshot(0)["safety"]["title"] == title


def test_when_an_evaluation_is_blind_expect_nothing_shown_that_tells_who_acts():
    made = view(SafetyState.ARMED, Reason.RESIDUAL_LIMIT | Reason.RAMP | Reason.VELOCITY_LIMIT)
    made.on_action(action(residual=[0.1, 0.2]), 0)
    made.on_diagnostics("safety_filter", 0, "residual_limit", {}, 0)
    made.on_diagnostics("residual", 0, "acting", {"blind": "True"}, 0)
    shown = made.snapshot(0)
    assert (shown["residual"]["joints"], shown["residual"]["actor_version"]) == ([], 0)
    assert shown["residual"]["mode"] == "blind evaluation: who acts is hidden"
    assert len(shown["safety"]["reasons"]) == 1 and shown["safety"]["detail"] == ""
    assert controls(made)["enable_residual"]["why"] == "a blind evaluation chooses who acts"


def test_when_a_graph_is_started_anew_expect_its_lower_episodes_after_three_reports():
    made = EpisodeView()
    made.on_event(EpisodeStarted(S, 40), 0)
    for report in range(3):
        assert made.episode_id == 40, report
        made.on_manager("waiting", {"state": "idle", "episode": "0"}, 0)
    assert (made.episode_id, made.state) == (0, "idle")


def test_when_nothing_is_there_expect_the_estop_enabled_and_nothing_else():
    shown = controls(OperatorView())
    assert [name for name, c in shown.items() if c["enabled"]] == ["estop"]
    assert "node episode_manager is not there" in shown["reset"]["why"]


def test_when_the_residual_is_enabled_expect_only_its_opposite_enabled():
    made = view()
    made.on_diagnostics("residual", 0, "acting", {"residual enabled": "True"}, 0)
    shown = controls(made)
    assert not shown["enable_residual"]["enabled"]
    assert shown["disable_residual"]["enabled"]


def test_when_a_hold_was_asked_for_expect_resume_enabled():
    made = view(SafetyState.HOLD, Reason.OPERATOR)
    assert controls(made)["resume"]["enabled"]
    assert controls(made)["hold"]["why"] == "holding already"


def test_when_a_press_was_refused_expect_the_answer_on_its_button_for_8_s():
    made = view(SafetyState.DISARMED)
    made.answer(Control.ARM, False, "refused: no joint state has arrived yet", 0)
    answer = {"ok": False, "text": "refused: no joint state has arrived yet"}
    assert controls(made, 8 * S)["arm"]["answer"] == answer
    assert controls(made, 9 * S)["arm"]["answer"] is None
    assert made.snapshot(0)["messages"][0]["level"] == "warn"


def test_when_keys_are_listed_expect_each_control_once_and_none_that_releases_the_robot():
    pressed = [control for several in SHORTCUTS.values() for control in several]
    assert len(pressed) == len(set(pressed))
    assert SHORTCUTS["Space"] == (Control.ESTOP,)
    assert set(Control) - set(pressed) == {Control.DISARM, Control.RELEASE_ESTOP, Control.RESUME}


def test_when_the_view_is_imported_expect_core_alone_beside_itself():
    """Only the files named ros_* may touch ROS."""
    folder = Path(__file__).resolve().parents[2] / "resfit_ros" / "operating"
    for path in folder.glob("*.py"):
        if path.name.startswith("ros_"):
            continue
        names = {n.module for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)}
        ours = {name.split(".")[1] for name in names if name.startswith("resfit_ros.")}
        assert ours <= {"core", "operating"}, path.name
        assert not names & {"rclpy", "rclpy.node", "std_msgs.msg"}, path.name
