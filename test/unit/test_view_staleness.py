"""What is old, or cannot be read, is not shown as if it were new."""

import numpy as np
import pytest

from resfit_ros.core.types import Action, EpisodeStarted, Mode
from resfit_ros.operating.graph_health import readable
from resfit_ros.operating.view_model import OperatorView

S = 1_000_000_000


def acting(now_ns: int = 0) -> OperatorView:
    """A running episode with an action, a residual that is enabled, and a safety filter that is armed."""
    made = OperatorView()
    residual = np.array([0.1, 0.2], np.float32)
    made.on_episode(EpisodeStarted(S, 5), now_ns)
    made.on_action(Action(1, 5, 0, residual * 0, residual, residual, 0.0, 7, Mode.RESIDUAL), now_ns)
    made.on_diagnostics("residual", 0, "acting", {"residual enabled": "True"}, now_ns)
    made.on_safety({"state": 1, "reasons": 0}, now_ns)
    return made


def test_when_actions_stop_expect_no_joints_after_2_s_and_for_how_long():
    made = acting()
    assert len(made.snapshot(2 * S)["residual"]["joints"]) == 2
    shown = made.snapshot(5 * S)["residual"]
    assert (shown["joints"], shown["mode"], shown["stale"]) == ([], "no action for 5 s", True)
    assert (shown["actor_version"], shown["mean_share"]) == (0, None)


def test_when_actions_stop_expect_the_headline_to_say_so():
    made = acting()
    made.on_safety({"state": 1, "reasons": 0}, 5 * S)
    made.on_diagnostics("episode_manager", 0, "episode 5", {"state": "running", "episode": "5"}, 5 * S)
    assert made.snapshot(5 * S)["headline"]["text"] == "episode 5 is running: no action for 5 s"


def test_when_actions_come_again_expect_the_joints_back():
    made = acting()
    residual = np.zeros(2, np.float32)
    made.on_action(Action(1, 5, 1, residual, residual, residual, 0.0, 7, Mode.BASE), 9 * S)
    shown = made.snapshot(9 * S)["residual"]
    assert (len(shown["joints"]), shown["mode"], shown["stale"]) == (2, "base policy alone", False)


def test_when_the_residual_node_is_silent_expect_nobody_to_know_whether_it_is_enabled():
    made = acting()
    assert made.snapshot(3 * S)["residual"]["enabled"] is True
    assert made.snapshot(3 * S + 1)["residual"]["enabled"] is None


@pytest.mark.parametrize("fields", [{"state": 99, "reasons": 0}, {"state": 1, "reasons": "none"}])
def test_when_a_safety_status_makes_no_sense_expect_it_refused_and_the_last_one_shown(fields):
    made = acting()
    with pytest.raises(ValueError):
        made.on_safety(fields, 0)
    assert made.snapshot(0)["safety"]["state"] == "armed"


def test_when_a_learner_status_makes_no_sense_expect_it_refused_and_the_last_one_shown():
    made = acting()
    made.on_learner({"phase": 3}, 0)
    with pytest.raises(ValueError):
        made.on_learner({"phase": 99}, 0)
    assert made.snapshot(0)["learner"]["phase"] == "training"


@pytest.mark.parametrize(
    ("fields", "known"), [({"state": 1}, True), ({"state": 9}, False), ({"phase": 9}, False)]
)
def test_when_a_status_is_of_another_version_expect_it_not_readable(fields, known):
    assert readable(fields) is known
