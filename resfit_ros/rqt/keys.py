"""The keyboard: one key per button, and an e-stop that no focus can swallow."""

from collections.abc import Callable
from typing import ClassVar

from python_qt_binding.QtCore import QEvent, QObject, Qt
from python_qt_binding.QtGui import QKeySequence
from python_qt_binding.QtWidgets import QApplication, QShortcut, QWidget

from resfit_ros.operating.controls import SHORTCUTS

ESTOP_KEY = "Space"


class Keys(QObject):
    """Letters work wherever no text field takes them; the space bar in every window of the application.

    Where several operator's windows are open in one application, the space bar stops every robot.
    """

    _live: ClassVar[list["Keys"]] = []

    def __init__(self, parent: QWidget, shortcut: Callable[[str], object]) -> None:
        """shortcut: called with the key's name as in controls.SHORTCUTS."""
        super().__init__(parent)
        self._shortcut = shortcut
        for key in SHORTCUTS:
            if key != ESTOP_KEY:
                made = QShortcut(QKeySequence(key), parent)
                made.setContext(Qt.ApplicationShortcut)
                made.setAutoRepeat(False)
                made.activated.connect(lambda k=key: shortcut(k))
        Keys._live.append(self)
        # A shortcut would leave the space bar to a text field, a list or a button that has the focus.
        QApplication.instance().installEventFilter(self)

    def stop(self) -> None:
        """Hears no key any more."""
        if self in Keys._live:
            Keys._live.remove(self)
        QApplication.instance().removeEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Qt's name for it. Takes the bare space bar from everybody."""
        if event.type() not in (QEvent.KeyPress, QEvent.ShortcutOverride, QEvent.KeyRelease):
            return False
        if event.key() != Qt.Key_Space or event.modifiers() & ~Qt.KeyboardModifiers(Qt.ShiftModifier):
            return False
        if event.type() == QEvent.KeyPress and not event.isAutoRepeat():
            self._stop_all()
        event.accept()
        return True  # the filters of other windows do not see it any more

    @staticmethod
    def _stop_all() -> None:
        failed = []
        for keys in list(Keys._live):
            try:
                keys._shortcut(ESTOP_KEY)
            except Exception as error:  # whatever it is: the other robots have to stop, too
                failed.append(error)
        if failed:
            raise failed[0]
