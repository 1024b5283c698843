"""The operator's window: everything to watch on the left, everything to press on the right."""

import time
from collections.abc import Callable
from typing import Protocol

from python_qt_binding.QtCore import Qt, QTimer
from python_qt_binding.QtWidgets import (
    QFrame,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from resfit_ros.operating.controls import SHORTCUTS, STOPS, Control
from resfit_ros.rqt import style
from resfit_ros.rqt.bars import ResidualBars
from resfit_ros.rqt.buttons import ButtonPanel
from resfit_ros.rqt.camera import CameraView
from resfit_ros.rqt.keys import Keys
from resfit_ros.rqt.panels import EpisodePanel, LearnerPanel, ReportPanel, SafetyBanner, SuccessPanel

UPDATE_MS = 100


class Link(Protocol):
    """What the window needs of operating.ros_link.RosLink."""

    def snapshot(self) -> dict: ...
    def press(self, control: Control | str) -> bool: ...
    def shortcut(self, key: str) -> bool: ...
    def picture(self, camera: str): ...


class OperatorWidget(QWidget):
    """Shows the link's snapshot ten times a second, and hands presses to it at once."""

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: steady [s]."""
        super().__init__()
        self._link = link
        self.setObjectName("ResfitOperator")
        self.setWindowTitle("Resfit")
        self.setStyleSheet(style.SHEET)
        self.safety, self.episode, self.success = SafetyBanner(), EpisodePanel(), SuccessPanel()
        self.learner, self.report = LearnerPanel(), ReportPanel()
        self.bars, self.camera = ResidualBars(), CameraView(link.picture, clock)
        self.buttons = ButtonPanel(self.press, clock)
        self._mode = QLabel()
        self._mode.setWordWrap(True)
        self._lay_out()
        self.keys = Keys(self, self._shortcut)
        self._timer = QTimer(self)
        self._timer.timeout.connect(self.refresh)
        self._timer.start(UPDATE_MS)
        self.refresh()

    def _lay_out(self) -> None:
        residual = QGroupBox("Residual: size / bound per joint [rad or m]")
        residual.setToolTip("Bar: newest step. Line: largest of the last 20 steps. !: at its bound.")
        inside = QVBoxLayout(residual)
        inside.addWidget(self._mode)
        inside.addWidget(self.bars)
        figures, seen = QVBoxLayout(), QHBoxLayout()
        for made in (self.episode, self.success):
            figures.addWidget(made)
        figures.addStretch()
        seen.addLayout(figures, 1)
        seen.addWidget(self.camera, 1)
        watched = QWidget()
        watch = QVBoxLayout(watched)
        watch.setContentsMargins(0, 0, 4, 0)
        watch.addLayout(seen, 1)
        for made in (residual, self.report, self.learner):
            watch.addWidget(made)
        # On a small screen what is watched scrolls; what is pressed, the e-stop above all, never does.
        scrolled = QScrollArea()
        scrolled.setWidget(watched)
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.NoFrame)
        scrolled.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        scrolled.setFocusPolicy(Qt.NoFocus)
        columns = QHBoxLayout()
        columns.addWidget(scrolled, 5)
        columns.addWidget(self.buttons, 3)
        whole = QVBoxLayout(self)
        whole.addWidget(self.safety)
        whole.addLayout(columns, 1)

    def press(self, control: Control) -> None:
        """A button went down."""
        self._link.press(control)
        self.refresh()

    def _shortcut(self, key: str) -> None:
        controls = SHORTCUTS[key]
        if not set(controls) <= set(STOPS):  # which nothing may hold up
            self.refresh()
            if not self.buttons.buttons[controls[0]].takes_press(by_key=True):
                return
        self._link.shortcut(key)
        self.refresh()

    def refresh(self) -> None:
        """Shows the newest snapshot."""
        snapshot = self._link.snapshot()
        for panel in (self.safety, self.episode, self.success, self.learner, self.report, self.buttons):
            panel.update_from(snapshot)
        residual = snapshot["residual"]
        self._mode.setText(residual_words(residual))
        self.bars.show_joints(residual["joints"])
        self.camera.show_cameras(snapshot["cameras"])

    def stop(self) -> None:
        """Before the window goes away: no timer and no key any more."""
        self._timer.stop()
        self.keys.stop()


def residual_words(residual: dict) -> str:
    """One line above the bars."""
    switch = {True: "enabled", False: "DISABLED", None: "not heard"}[residual["enabled"]]
    words = [f"Residual {switch}", residual["mode"]]
    if residual["actor_version"]:
        words.append(f"actor {residual['actor_version']}")
    if residual["mean_share"] is not None:
        words.append(f"{residual['mean_share']:.0%} of its bound on average")
    if residual["bound_from"] == "not known":
        words.append("bound not known: bars show shares of the largest value so far")
    return ", ".join(w for w in words if w)
