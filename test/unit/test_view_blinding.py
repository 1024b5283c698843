"""A blind evaluation: nothing that an operator reads tells who acts."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.types import Action, Mode, Reason, SafetyState
from resfit_ros.operating.blinding import RESIDUAL_REASONS, masked, without_residual
from resfit_ros.operating.graph_health import Heard, Word, judge
from resfit_ros.operating.view_model import OperatorView

BLIND = {"blind": "True"}


def sentence(state: SafetyState, reasons: Reason, asked: str = "") -> str:
    """As the safety filter says it."""
    return state.name.lower() + (f": {reasons.words}" if reasons else "") + asked


def shown(reasons: Reason, figures: dict[str, str]) -> str:
    """All that a front end gets, where a residual is clamped or not."""
    made = OperatorView()
    residual = np.array([0.1, 0.2], np.float32)
    made.on_action(Action(1, 1, 0, residual * 0, residual, residual, 0.0, 7, Mode.RESIDUAL), 0)
    status = {"state": 1, "reasons": int(reasons), "actions_clamped": int(reasons), "estopped": False}
    made.on_safety(status, 0)
    made.on_diagnostics("residual", 0, "acting", figures, 0)
    made.on_diagnostics("safety_filter", 0, sentence(SafetyState.ARMED, reasons), {}, 0)
    return json.dumps(made.snapshot(0))


@given(
    st.sampled_from(SafetyState),
    st.integers(0, max(Reason) * 2 - 1),
    st.sampled_from(["", " (recorder: disk)"]),
)
def test_when_a_sentence_names_what_a_residual_causes_expect_it_as_of_a_base_policy(state, bits, asked):
    reasons = Reason(bits)
    assert masked(sentence(state, reasons, asked)) == sentence(state, without_residual(reasons), asked)


@pytest.mark.parametrize("others", [Reason.NONE, Reason.VELOCITY_LIMIT, Reason.TRACKING | Reason.OPERATOR])
def test_when_an_evaluation_is_blind_expect_the_same_snapshot_whoever_acts(others):
    assert shown(others | RESIDUAL_REASONS, BLIND) == shown(others, BLIND)
    assert shown(others | RESIDUAL_REASONS, {}) != shown(others, {})


def report(reasons: Reason, figures: dict[str, str]) -> dict:
    """As `resfit status --json` prints it."""
    said = sentence(SafetyState.ARMED, reasons)
    words = {"residual": Word(0, "acting", figures), "safety_filter": Word(1, said)}
    status = {"state": 1, "reasons": int(reasons)}
    return judge(Heard("/resfit", nodes=words, expected=("residual",), safety=status))


def test_when_an_evaluation_is_blind_expect_the_same_status_whoever_acts():
    clamped = Reason.VELOCITY_LIMIT | Reason.RAMP
    assert report(clamped, BLIND) == report(Reason.VELOCITY_LIMIT, BLIND)
    assert report(clamped, {}) != report(Reason.VELOCITY_LIMIT, {})
