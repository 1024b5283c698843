"""What the policy sees: one camera of the observations, chosen by name."""

import time
from collections.abc import Callable

from python_qt_binding.QtCore import QRect, Qt
from python_qt_binding.QtGui import QColor, QImage, QPainter
from python_qt_binding.QtWidgets import QComboBox, QSizePolicy, QVBoxLayout, QWidget

NO_PICTURE = "no picture of {} yet"
OLD_PICTURE = "no new picture for {:.0f} s"
SILENT_S = 2.0


class _Canvas(QWidget):
    """A picture as large as fits, its sides in proportion."""

    def __init__(self) -> None:
        super().__init__()
        self.image: QImage | None = None
        self.words = ""  # over the picture, or in its place
        self.setMinimumSize(160, 120)
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)

    def paintEvent(self, _event) -> None:
        """Qt's name for it."""
        painter = QPainter(self)
        if self.image is None:
            painter.drawText(self.rect(), Qt.AlignCenter | Qt.TextWordWrap, self.words)
            return
        size = self.image.size().scaled(self.size(), Qt.KeepAspectRatio)
        place = QRect((self.width() - size.width()) // 2, 0, size.width(), size.height())
        painter.setRenderHint(QPainter.SmoothPixmapTransform)
        painter.drawImage(place, self.image)
        if self.words:
            painter.fillRect(place, QColor(0, 0, 0, 150))
            painter.setPen(Qt.white)
            painter.drawText(place, Qt.AlignCenter | Qt.TextWordWrap, self.words)


class CameraView(QWidget):
    """Picture and name of one camera; hidden where the observations hold none."""

    def __init__(self, picture: Callable, clock: Callable[[], float] = time.monotonic) -> None:
        """picture: camera name to its newest Picture or None; clock: steady [s]."""
        super().__init__()
        self._picture, self._clock, self._new_s = picture, clock, 0.0
        self._stamp_ns = -1
        self.wanted = ""  # chosen before, perhaps not there yet
        self.names, self.canvas = QComboBox(), _Canvas()
        self.names.setFocusPolicy(Qt.NoFocus)  # letters choose buttons, not cameras
        self.names.setVisible(False)
        self.names.activated.connect(lambda _index: setattr(self, "wanted", self.names.currentText()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.names)
        layout.addWidget(self.canvas, 1)

    def show_cameras(self, cameras: list[str]) -> None:
        """cameras: of the snapshot."""
        if [self.names.itemText(i) for i in range(self.names.count())] != cameras:
            self.names.clear()
            self.names.addItems(cameras)
            self.names.setVisible(bool(cameras))
        self.setVisible(bool(cameras))
        if self.wanted in cameras:
            self.names.setCurrentText(self.wanted)
        name = self.names.currentText()
        picture = self._picture(name) if name else None
        if picture is None:
            self.canvas.image, self._stamp_ns = None, -1
            self.canvas.words = NO_PICTURE.format(name)
        elif (name, picture.stamp_ns) != self._stamp_ns:
            self._stamp_ns, self._new_s = (name, picture.stamp_ns), self._clock()
            height, width, _ = picture.pixels.shape
            # copy(): the picture's memory is not Qt's to keep.
            self.canvas.image = QImage(
                picture.pixels.tobytes(), width, height, 3 * width, QImage.Format_RGB888
            ).copy()
        if picture is not None:
            silent_s = self._clock() - self._new_s
            self.canvas.words = OLD_PICTURE.format(silent_s) if silent_s > SILENT_S else ""
        self.canvas.update()
