"""A press counts for what the operator has seen on the button."""

import pytest

from resfit_ros.operating.controls import Control
from resfit_ros.rqt.settling import CHANGED, NOT_OFFERED, Settling


class Clock:
    """Steady, by hand [s]."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("by_key", [False, True])
def test_when_a_button_has_just_changed_expect_no_press_for_700_ms(clock, by_key):
    button = Settling(Control.ENABLE_RESIDUAL, clock)
    button.show(Control.DISABLE_RESIDUAL, True)
    clock.now_s += 0.69
    assert button.refuse(by_key) == CHANGED == button.refused
    clock.now_s += 0.02
    assert button.refuse(by_key) == "" == button.refused


def test_when_hold_becomes_resume_expect_a_double_click_not_to_resume(clock):
    button = Settling(Control.HOLD, clock)
    button.show(Control.HOLD, True)
    assert button.refuse(by_key=False) == ""
    button.show(Control.RESUME, True)
    assert button.refuse(by_key=False) == CHANGED


@pytest.mark.parametrize("stop", [Control.HOLD, Control.ESTOP])
def test_when_a_button_has_just_become_a_stop_expect_it_taken(clock, stop):
    button = Settling(Control.RESUME, clock)
    button.show(stop, True)
    assert button.refuse(by_key=False) == button.refuse(by_key=True) == ""


def test_when_arm_has_just_been_offered_expect_its_key_to_count_only_after_700_ms(clock):
    button = Settling(Control.ARM, clock)
    assert button.refuse(by_key=True) == NOT_OFFERED
    button.show(Control.ARM, True)
    assert button.refuse(by_key=True) == NOT_OFFERED
    clock.now_s += 0.71
    button.show(Control.ARM, True)
    assert button.refuse(by_key=True) == ""
    button.show(Control.ARM, False)
    assert button.refuse(by_key=True) == NOT_OFFERED
    assert button.refuse(by_key=False) == ""  # the mouse: the link says why not
