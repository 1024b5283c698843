"""Big buttons that say their key, what they do, and what came of the last press."""

import time
from collections.abc import Callable

from python_qt_binding.QtCore import Qt
from python_qt_binding.QtWidgets import QGridLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from resfit_ros.operating.controls import Control
from resfit_ros.rqt import style
from resfit_ros.rqt.settling import Settling

# Control (or the two that share a place, of which the enabled one shows), columns, height and type [px].
LAYOUT = (
    ((Control.SUCCESS,), 2, 76, 26),
    ((Control.FAILURE,), 1, 66, 20),
    ((Control.DISCARD,), 1, 66, 20),
    ((Control.RESET,), 1, 66, 20),
    ((Control.ENABLE_RESIDUAL, Control.DISABLE_RESIDUAL), 1, 66, 17),
    ((Control.ARM,), 1, 66, 20),
    ((Control.HOLD, Control.RESUME), 1, 66, 20),
    ((Control.DISARM,), 1, 52, 14),
    ((Control.RELEASE_ESTOP,), 1, 52, 14),
    ((Control.ESTOP,), 2, 110, 38),
)
MIN_WIDTH = 330  # px


class ControlButton(QPushButton):
    """One place for one control, or for two opposite ones."""

    def __init__(
        self,
        controls: tuple[Control, ...],
        height: int,
        size: int,
        press: Callable[[Control], object],
        clock: Callable[[], float],
    ) -> None:
        """press: on the way down, for a stop must not wait for the finger to lift; clock: steady [s]."""
        super().__init__()
        self._press, self._settling = press, Settling(controls[0], clock)
        self._controls, self._shown, self._size = controls, controls[0], size
        self._look = ""
        self.setMinimumHeight(height)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)
        self.setFocusPolicy(Qt.NoFocus)  # no key but its own may press it
        self._label, self._words = QLabel(), QLabel()
        self._label.setObjectName("label")
        self._words.setObjectName("small")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 3, 6, 3)
        layout.setSpacing(0)
        for label in (self._label, self._words):
            label.setAlignment(Qt.AlignCenter)
            label.setWordWrap(True)
            label.setAttribute(Qt.WA_TransparentForMouseEvents)
            layout.addWidget(label)
        self.pressed.connect(self._pressed)

    def _pressed(self) -> None:
        if self.takes_press():
            self._press(self._shown)

    def takes_press(self, by_key: bool = False) -> bool:
        """Whether it has meant the same for long enough; if not, it says so."""
        why = self._settling.refuse(by_key)
        if why:
            self._words.setText(f"<b>{why}</b>")
        return not why

    @property
    def control(self) -> Control:
        """What a press does now."""
        return self._shown

    def words(self) -> str:
        """Everything it says, for tests and screen readers."""
        return f"{self._label.text()}\n{self._words.text()}"

    def update_from(self, controls: dict) -> None:
        """controls: of the snapshot."""
        enabled = [c for c in self._controls if controls[c.value]["enabled"]]
        self._shown = (enabled or self._controls)[0]
        info = controls[self._shown.value]
        self._settling.show(self._shown, info["enabled"])
        answers = (controls[c.value]["answer"] for c in self._controls)
        answer = next((a for a in answers if a), None)
        key = f" <span style='font-weight:400'>[{info['key']}]</span>" if info["key"] else ""
        self._label.setText(f"<b>{info['label']}</b>{key}")
        refused = self._settling.refused
        said = refused or (answer["text"] if answer else info["why"] or info["tip"])
        self._words.setText(f"<b>{said}</b>" if refused or (answer and not answer["ok"]) else said)
        self.setAccessibleName(info["label"])
        self.setToolTip(info["tip"])
        look = style.button(info["tone"], info["enabled"], self._size)
        if look != self._look:  # a style sheet is costly to set
            self._look = look
            self.setStyleSheet(look)


class ButtonPanel(QWidget):
    """Every button of the operator, the e-stop the largest."""

    def __init__(
        self, press: Callable[[Control], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """press: called with the Control; clock: steady [s]."""
        super().__init__()
        self.buttons: dict[Control, ControlButton] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        row = column = 0
        for controls, columns, height, size in LAYOUT:
            made = ControlButton(controls, height, size, press, clock)
            self.buttons |= dict.fromkeys(controls, made)
            grid.addWidget(made, row, column, 1, columns)
            grid.setRowStretch(row, height)
            column = (column + columns) % 2
            row += column == 0
        self.setMinimumWidth(MIN_WIDTH)
        grid.setColumnStretch(0, 1)
        grid.setColumnStretch(1, 1)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        for made in self.buttons.values():
            made.update_from(snapshot["controls"])
