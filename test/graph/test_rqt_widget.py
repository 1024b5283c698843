"""The operator's window, offscreen, on a link that the test holds; the real link is in test_ros_link.py."""

import os

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip(
    "python_qt_binding",
    reason="python_qt_binding is not installed (Debian package ros-jazzy-python-qt-binding)",
)
QtWidgets = pytest.importorskip(
    "python_qt_binding.QtWidgets",
    reason="Qt is not installed (Debian package python3-pyqt5)",
    exc_type=ImportError,
)
from python_qt_binding.QtCore import Qt  # noqa: E402
from python_qt_binding.QtTest import QTest  # noqa: E402

from resfit_ros.core.types import Action, EpisodeStarted, Mode, Reason, SafetyState  # noqa: E402
from resfit_ros.operating.controls import ABOUT, Control  # noqa: E402
from resfit_ros.operating.view_model import OperatorView  # noqa: E402
from resfit_ros.rqt.widget import OperatorWidget  # noqa: E402

JOINTS = 29


class Picture:
    """As operating.ros_link.Picture."""

    stamp_ns = 1
    pixels = np.full((30, 40, 3), 200, np.uint8)


class Clock:
    """Steady, by hand [s]."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class HeldLink:
    """A link whose view the test fills; keeps what was pressed."""

    def __init__(self) -> None:
        self.view, self.pressed, self.keys = OperatorView(), [], []
        self.view.on_services(dict.fromkeys((a.service for a in ABOUT.values()), True))

    def snapshot(self) -> dict:
        return self.view.snapshot(0)

    def press(self, control) -> bool:
        self.pressed.append(control)
        return True

    def shortcut(self, key: str) -> bool:
        self.keys.append(key)
        return True

    def picture(self, camera: str) -> Picture:
        return Picture()


@pytest.fixture(scope="session")
def application():
    return QtWidgets.QApplication.instance() or QtWidgets.QApplication([])


@pytest.fixture
def link() -> HeldLink:
    return HeldLink()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def window(application, link, clock):
    made = OperatorWidget(link, clock)
    made.resize(1100, 900)
    made.show()
    made.activateWindow()
    application.processEvents()
    yield made
    made.stop()
    made.close()


def safety(link, state: SafetyState, reasons: Reason = Reason.NONE) -> None:
    link.view.on_safety({"state": int(state), "reasons": int(reasons)}, 0)


def test_when_the_robot_holds_expect_its_state_and_reasons_in_words(window, link):
    safety(link, SafetyState.HOLD, Reason.STALE_STATE)
    window.refresh()
    assert "HOLD" in window.safety.words()
    assert "no fresh joint state came in time" in window.safety.words()


@pytest.mark.parametrize("control", list(Control))
def test_when_a_button_goes_down_expect_its_control_pressed(window, link, control):
    button = window.buttons.buttons[control]
    QTest.mousePress(button, Qt.LeftButton)
    assert link.pressed == [button.control]
    assert ABOUT[button.control].label in button.words()


@pytest.mark.parametrize("key", ["S", "F", "D", "R", "E", "H"])
def test_when_a_letter_is_pressed_expect_its_shortcut_once(window, link, key):
    QTest.keyClick(window, getattr(Qt, f"Key_{key}"))
    assert link.keys == [key]


def test_when_arm_has_just_been_offered_expect_its_key_to_wait_until_it_has_been_seen(window, link, clock):
    QTest.keyClick(window, Qt.Key_A)
    safety(link, SafetyState.DISARMED)
    window.refresh()
    QTest.keyClick(window, Qt.Key_A)
    assert link.keys == []
    assert "0.7 s" in window.buttons.buttons[Control.ARM].words()
    clock.now_s += 0.8
    QTest.keyClick(window, Qt.Key_A)
    assert link.keys == ["A"]


def test_when_hold_becomes_resume_expect_a_double_click_to_hold_alone(window, link, clock):
    safety(link, SafetyState.ARMED)
    window.refresh()
    button = window.buttons.buttons[Control.HOLD]
    QTest.mouseClick(button, Qt.LeftButton)
    safety(link, SafetyState.HOLD, Reason.OPERATOR)
    window.refresh()
    QTest.mouseClick(button, Qt.LeftButton)
    assert link.pressed == [Control.HOLD]
    assert "just changed" in button.words()
    clock.now_s += 0.8
    QTest.mouseClick(button, Qt.LeftButton)
    assert link.pressed == [Control.HOLD, Control.RESUME]


def test_when_the_residual_has_just_been_switched_expect_its_key_not_to_switch_back(window, link):
    link.view.on_diagnostics("residual", 0, "acting", {"residual enabled": "True"}, 0)
    QTest.keyClick(window, Qt.Key_E)
    assert link.keys == []


def test_when_two_windows_are_open_expect_the_space_bar_to_stop_both_robots(window, link, clock):
    other = HeldLink()
    second = OperatorWidget(other, clock)
    second.show()
    try:
        QTest.keyClick(second, Qt.Key_Space)
        assert (link.keys, other.keys) == (["Space"], ["Space"])
    finally:
        second.stop()
        second.close()
    QTest.keyClick(window, Qt.Key_Space)
    assert (link.keys, other.keys) == (["Space"] * 2, ["Space"])


def test_when_the_space_bar_is_pressed_in_a_text_field_expect_the_estop_and_no_space(window, link):
    field = QtWidgets.QLineEdit(window)
    field.show()
    field.setFocus()
    QTest.keyClick(field, Qt.Key_Space)
    assert (link.keys, field.text()) == (["Space"], "")
    QTest.keyClick(field, Qt.Key_S)
    assert (link.keys, field.text()) == (["Space"], "s")


def test_when_the_space_bar_is_pressed_in_another_window_expect_the_estop(window, link):
    other = QtWidgets.QPushButton("of another plugin")
    clicked = []
    other.clicked.connect(clicked.append)
    other.show()
    QTest.keyClick(other, Qt.Key_Space)
    other.close()
    assert (link.keys, clicked) == (["Space"], [])


def test_when_the_window_has_stopped_expect_the_keys_free_again(window, link):
    window.stop()
    QTest.keyClick(window, Qt.Key_Space)
    assert link.keys == []


def test_when_arm_is_refused_expect_why_on_its_button(window, link):
    safety(link, SafetyState.DISARMED)
    link.view.answer(Control.ARM, False, "refused: no joint state has arrived yet", 0)
    window.refresh()
    assert "no joint state has arrived yet" in window.buttons.buttons[Control.ARM].words()


def test_when_the_residual_is_enabled_expect_the_button_to_offer_the_opposite(window, link):
    link.view.on_diagnostics("residual", 0, "acting", {"residual enabled": "True"}, 0)
    window.refresh()
    assert window.buttons.buttons[Control.ENABLE_RESIDUAL].control is Control.DISABLE_RESIDUAL


def test_when_29_joints_act_expect_two_columns_of_bars_and_all_painted(window, link):
    residual = np.linspace(0, 0.1, JOINTS, dtype=np.float32)
    link.view.on_action(Action(1, 1, 0, residual * 0, residual, residual, 0.0, 3, Mode.RESIDUAL), 0)
    link.view.on_episode(EpisodeStarted(1, 1), 0)
    window.refresh()
    assert (window.bars.columns, window.bars.rows) == (2, 15), window.bars.width()
    assert not window.grab().isNull()


def test_when_a_camera_is_chosen_expect_its_picture_and_the_choice_kept(window, link):
    link.view.cameras = ("scene", "wrist")
    window.camera.wanted = "wrist"
    window.refresh()
    assert window.camera.names.currentText() == "wrist"
    assert (window.camera.canvas.image.width(), window.camera.canvas.image.height()) == (40, 30)
    assert window.camera.canvas.image.pixelColor(0, 0).red() == 200


def test_when_a_camera_stops_expect_that_said_over_its_last_picture(window, link, clock):
    link.view.cameras = ("scene",)
    window.refresh()
    clock.now_s += 2.5
    window.refresh()
    assert window.camera.canvas.words == "no new picture for 2 s"
    assert window.camera.canvas.image is not None
    assert not window.grab().isNull()
