"""Presses of a gamepad: mapping files, edges, long presses, e-stop requests, dead-man."""

import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.joy_mapping import PadAction, PressDetector, mapping_from
from resfit_ros.core.operator_requests import RETRY_NS, EstopRequest, HoldWish
from resfit_ros.core.types import Reason, SafetyState

SHIPPED = sorted((Path(__file__).resolve().parents[2] / "config" / "joy").glob("*.yaml"))
MS = 1_000_000
SUCCESS, ESTOP, ARM = PadAction.SUCCESS, PadAction.ESTOP, PadAction.ARM


def mapping(**actions):
    return mapping_from({"actions": actions}, "pad.yaml")


def detector(**actions) -> PressDetector:
    return PressDetector(mapping(**actions), 500 * MS)


def pressed_over(pad: PressDetector, buttons: list[list[int]], period_ms: int = 10) -> list[PadAction]:
    found = []
    for i, message in enumerate(buttons):
        found += pad.read(message, [], i * period_ms * MS).pressed
    return found


# -- mapping files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_when_a_mapping_is_shipped_expect_labels_reset_and_estop_in_it(path):
    actions = {i.action for i in mapping_from(yaml.safe_load(path.read_text()), str(path)).inputs}
    assert {SUCCESS, PadAction.FAILURE, PadAction.DISCARD, PadAction.RESET, ESTOP, ARM} <= actions


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"sucess": {"button": 0}}, "unknown action 'sucess'; did you mean 'success'"),
        ({"success": {"button": 3}, "failure": {"button": 3}}, "button 3 is given to both 'success' and 'failure'"),
        ({"success": {"axis": 1}, "failure": {"axis": 1, "threshold": 0.9}}, "axis 1 above 0.9 is given to both"),
        ({"success": {"button": -1}}, "action 'success': button must be a whole number of at least 0, got -1"),
        ({"success": {"axis": -2}}, "axis must be a whole number"),
        ({"success": {"button": 1.5}}, "button must be a whole number of at least 0, got 1.5"),
        ({"success": {"button": True}}, "button must be a whole number"),
        ({"success": {"buton": 1}}, "unknown key 'buton'; did you mean 'button'"),
        ({"success": {}}, "give either button or axis"),
        ({"success": {"button": 1, "axis": 1}}, "give either button or axis"),
        ({"success": {"button": 1, "threshold": 0.5}}, "threshold is for an axis"),
        ({"success": {"axis": 1, "threshold": 0}}, "threshold must be in"),
        ({"success": {"axis": 1, "threshold": math.nan}}, "threshold must be a number"),
        ({"arm": {"button": 1, "hold_s": -1}}, "hold_s must be between 0 and 10 s, got -1"),
        ({"estop": {"button": 1, "hold_s": 1}}, "action 'estop': it must act at once"),
        ({"success": "A"}, "expected {button: N}"),
        ({}, "no action is mapped"),
    ],
)
def test_when_a_mapping_makes_no_sense_expect_what_is_wrong_named(actions, message):
    with pytest.raises(ConfigError, match=message):
        mapping(**actions)


@pytest.mark.parametrize("content", [None, [], {}, {"action": {}}, {"actions": []}, {"actions": {}, "more": 1}])
def test_when_a_file_holds_no_mapping_expect_what_belongs_there(content):
    with pytest.raises(ConfigError, match=r"pad.yaml: (expected one section 'actions:'|no action)"):
        mapping_from(content, "pad.yaml")


def test_when_both_ends_of_an_axis_are_mapped_expect_two_actions():
    pad = detector(success={"axis": 0}, failure={"axis": 0, "threshold": -0.5})
    pad.read([], [0.0], 0)
    assert pad.read([], [0.5], MS).pressed == (SUCCESS,)
    assert pad.read([], [-1.0], 2 * MS).pressed == (PadAction.FAILURE,)


# -- presses ----------------------------------------------------------------------------------------


@given(st.integers(1, 198))
def test_when_one_of_200_messages_shows_a_press_expect_it_found_once(at):
    messages = [[int(i == at)] for i in range(200)]
    assert pressed_over(detector(success=0), messages) == [SUCCESS]


@given(st.lists(st.booleans(), max_size=300))
def test_when_a_button_goes_up_and_down_expect_one_press_per_rising_edge(states):
    rises = sum(b and not a for a, b in zip([False, *states], states, strict=False))
    assert len(pressed_over(detector(success=0), [[0]] + [[int(s)] for s in states])) == rises


def test_when_a_button_is_down_from_the_start_expect_no_press():
    assert pressed_over(detector(success=0), [[1], [1], [0]]) == []


def test_when_the_estop_is_down_from_the_start_expect_a_press():
    assert pressed_over(detector(estop=0), [[1], [1]]) == [ESTOP]


def test_when_two_are_pressed_at_once_expect_both():
    assert set(pressed_over(detector(success=0, estop=1), [[0, 0], [1, 1]])) == {SUCCESS, ESTOP}


LONG = {"button": 0, "hold_s": 1.0}


@pytest.mark.parametrize(("held", "expected"), [(100, []), (101, [ARM]), (300, [ARM])])
def test_when_a_long_press_is_held_expect_it_once_after_its_time(held, expected):
    assert pressed_over(detector(arm=LONG), [[0]] + [[1]] * held + [[0]]) == expected


def test_when_the_pad_falls_silent_in_a_long_press_expect_its_time_to_start_anew():
    pad = detector(arm=LONG)
    pad.read([0], [], 0)
    assert not pad.read([1], [], 10 * MS).pressed
    assert not pad.read([1], [], 1500 * MS).pressed
    assert not pad.read([1], [], 2000 * MS).pressed
    assert pad.read([1], [], 2500 * MS).pressed == (ARM,)


def test_when_a_button_is_missing_expect_its_number_and_the_others_to_work():
    pad = detector(success=0, arm={"button": 9})
    reading = pad.read([0, 0], [0.0], 0)
    assert "2 buttons and 1 axes, but the mapping names button 9 (arm)" in reading.problem
    assert pad.read([1, 0], [0.0], MS).pressed == (SUCCESS,)


def test_when_an_axis_is_not_a_number_expect_no_press():
    pad = detector(success={"axis": 0}, failure={"axis": 0, "threshold": -0.5})
    pad.read([], [0.0], 0)
    assert pad.read([], [math.nan], MS).pressed == ()


def test_when_the_dead_man_is_held_expect_its_state_and_no_press():
    pad = detector(dead_man=0)
    assert [pad.read([b], [], i * MS).dead_man for i, b in enumerate([0, 1, 0])] == [False, True, False]


# -- e-stop -----------------------------------------------------------------------------------------


def test_when_the_estop_is_pressed_expect_it_asked_at_once_and_again_until_shown():
    estop = EstopRequest()
    estop.press()
    asked = [ns for ns in range(0, 10 * RETRY_NS, RETRY_NS // 4) if estop.due(ns)]
    assert asked == list(range(0, 10 * RETRY_NS, RETRY_NS))
    estop.on_answer()
    assert estop.due(10 * RETRY_NS)  # answered, but not seen in the status
    estop.on_status(SafetyState.FAULT, Reason.ESTOP)
    assert not estop.due(20 * RETRY_NS)


def test_when_the_status_is_of_before_the_answer_expect_it_not_to_count():
    estop = EstopRequest()
    estop.press()
    estop.on_status(SafetyState.FAULT, Reason.ESTOP)  # of the press before this one
    assert estop.due(0)


def shown() -> EstopRequest:
    estop = EstopRequest()
    estop.press()
    estop.on_answer()
    estop.on_status(SafetyState.FAULT, Reason.ESTOP)
    return estop


def test_when_the_filter_restarts_expect_the_estop_asked_again():
    estop = shown()
    estop.on_status(SafetyState.DISARMED, Reason.NONE)
    assert estop.due(0)


def test_when_somebody_releases_and_arms_expect_the_estop_over():
    estop = shown()
    estop.on_status(SafetyState.ARMED, Reason.NONE)
    assert not estop.pressed


def test_when_it_is_released_here_expect_nothing_asked():
    estop = EstopRequest()
    estop.press()
    estop.release()
    assert not estop.due(0)


# -- hold -------------------------------------------------------------------------------------------


def test_when_there_is_no_dead_man_expect_silence_to_be_allowed():
    assert HoldWish(False, 500 * MS).why(10**12) == ""


def test_when_there_is_a_dead_man_expect_a_hold_until_it_is_held():
    wish = HoldWish(True, 500 * MS)
    assert "silent" in wish.why(0)
    wish.on_message(False, MS)
    assert "dead-man" in wish.why(MS)
    wish.on_message(True, 2 * MS)
    assert wish.why(2 * MS) == ""


@pytest.mark.parametrize(("silent_ms", "holds"), [(500, False), (501, True)])
def test_when_the_pad_falls_silent_with_the_dead_man_held_expect_a_hold(silent_ms, holds):
    wish = HoldWish(True, 500 * MS)
    wish.on_message(True, 0)
    assert bool(wish.why(silent_ms * MS)) is holds


def test_when_a_hold_is_asked_for_expect_it_until_resumed():
    wish = HoldWish(False, 500 * MS)
    wish.ask(True)
    assert "asked to hold" in wish.why(0)
    wish.ask(False)
    assert wish.why(0) == ""
