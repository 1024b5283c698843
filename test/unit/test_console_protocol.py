"""What a browser may say to the web console."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.console.protocol import (
    LARGEST_MESSAGE,
    Hello,
    Press,
    Shown,
    Watch,
    answer,
    as_text,
    read_message,
)
from resfit_ros.core.errors import DataError
from resfit_ros.operating.controls import Control


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "hello", "token": "abc"}', Hello("abc")),
        ('{"type": "hello"}', Hello("")),
        ('{"type": "press", "id": 3, "control": "estop"}', Press(3, Control.ESTOP)),
        ('{"type": "press", "id": 3, "control": "arm", "seen": 7.5}', Press(3, Control.ARM, 7.5)),
        ('{"type": "press", "id": 3, "control": "arm", "seen": null}', Press(3, Control.ARM)),
        ('{"type": "watch", "camera": "wrist"}', Watch("wrist")),
        ('{"type": "watch", "camera": null}', Watch(None)),
        ('{"type": "shown", "frame": 12}', Shown(12)),
    ],
)
def test_when_a_message_is_right_expect_what_it_says(text, message):
    assert read_message(text) == message


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[" * 1000, "JSON"),
        ("[]", "object"),
        ('"press"', "object"),
        ("{}", "'type' is one of"),
        ('{"type": "arm"}', "'type' is one of"),
        ('{"type": ["press"]}', "'type' is one of"),
        ('{"type": "press", "id": 1}', "'control'"),
        ('{"type": "press", "id": 1, "control": "arms"}', "did you mean 'arm'"),
        ('{"type": "press", "id": 1, "control": {"a": 1}}', "'control'"),
        ('{"type": "press", "id": -1, "control": "arm"}', "'id'"),
        ('{"type": "press", "id": true, "control": "arm"}', "'id'"),
        ('{"type": "press", "id": 1.5, "control": "arm"}', "'id'"),
        ('{"type": "press", "id": 1e99, "control": "arm"}', "'id'"),
        ('{"type": "press", "id": 1, "control": "arm", "seen": "now"}', "'seen'"),
        ('{"type": "press", "id": 1, "control": "arm", "seen": NaN}', "'seen'"),
        ('{"type": "press", "id": 1, "control": "arm", "seen": 1' + "0" * 400 + "}", "'seen'"),
        ('{"type": "shown", "frame": "1"}', "'frame'"),
        ('{"type": "watch", "camera": 1}', "'camera'"),
        ('{"type": "press", "id": 1, "control": "\\ud800"}', "no control"),
        ('{"type": "hello", "token": 1}', "'token'"),
        ('{"type": "hello", "token": "' + "a" * LARGEST_MESSAGE + '"}', f"{LARGEST_MESSAGE} characters"),
    ],
)
def test_when_a_message_is_wrong_expect_what_is_wrong_with_it(text, why):
    with pytest.raises(DataError, match=why):
        read_message(text)


@given(st.text())
def test_when_anything_is_sent_expect_a_message_or_a_refusal(text):
    try:
        read_message(text)
    except DataError:
        pass


def test_when_a_press_is_answered_expect_its_number():
    assert json.loads(answer(Press(7, Control.ARM), taken=False)) == {
        "type": "answer",
        "id": 7,
        "control": "arm",
        "taken": False,
        "why": "",
    }


MOVING = sorted(set(Control) - {Control.ESTOP, Control.HOLD}, key=lambda c: c.value)


@pytest.mark.parametrize("control", MOVING)
@pytest.mark.parametrize(
    ("seen_s", "why"),
    [(8.5, ""), (8.4, "state was 1.6 s old"), (10.1, "load it again"), (None, "load it again")],
)
def test_when_a_press_comes_late_expect_it_refused_in_words(control, seen_s, why):
    said = Press(1, control, seen_s).too_late(10.0)
    assert why in said and bool(said) == bool(why), said


@pytest.mark.parametrize("control", [Control.ESTOP, Control.HOLD])
@pytest.mark.parametrize("seen_s", [None, 0.0, 99.0])
def test_when_a_stop_comes_late_expect_it_taken(control, seen_s):
    assert Press(1, control, seen_s).too_late(10.0) == ""


def test_when_a_figure_is_not_finite_expect_null():
    text = as_text(
        {"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": (-float("inf"), "x", True, None)}}
    )
    assert json.loads(text) == {"a": None, "b": [1.0, None], "c": {"d": [None, "x", True, None]}}
