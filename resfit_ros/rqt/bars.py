"""|residual| per joint against its bound, as bars."""

from python_qt_binding.QtCore import QRectF, Qt
from python_qt_binding.QtGui import QColor, QPainter
from python_qt_binding.QtWidgets import QSizePolicy, QWidget

TWO_COLUMNS_FROM = 17  # joints
ROW, NAME_SHARE, VALUE_WIDTH = 16, 0.36, 94  # px, of the column, px
VALUES_FROM = 250  # px, of the column: narrower, the bar needs the room
NEARLY = 0.95  # of the bound: saturated
BAR, FULL, TROUGH, PEAK = QColor("#2f6fb2"), QColor("#a85800"), QColor("#e4e7ea"), QColor("#1c1f22")


class ResidualBars(QWidget):
    """A bar per joint: the newest value, a line at the highest of the last second."""

    def __init__(self) -> None:
        super().__init__()
        self._joints: list[dict] = []
        self.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Fixed)
        self.setMinimumWidth(300)

    @property
    def columns(self) -> int:
        return 2 if len(self._joints) >= TWO_COLUMNS_FROM else 1

    @property
    def rows(self) -> int:
        return -(-len(self._joints) // self.columns)

    def show_joints(self, joints: list[dict]) -> None:
        """joints: of the snapshot's residual."""
        self._joints = joints
        height = max(2, self.rows) * ROW + 4
        if height != self.height():
            self.setFixedHeight(height)
        self.update()

    def paintEvent(self, _event) -> None:
        """Qt's name for it."""
        painter = QPainter(self)
        font = painter.font()
        font.setPixelSize(12)
        painter.setFont(font)
        if not self._joints:
            painter.drawText(self.rect(), Qt.AlignCenter, "no action comes")
            return
        width = self.width() / self.columns
        for i, joint in enumerate(self._joints):
            column, row = divmod(i, self.rows)
            self._bar(painter, joint, QRectF(column * width, 2 + row * ROW, width - 8, ROW))

    def _bar(self, painter: QPainter, joint: dict, area: QRectF) -> None:
        name = QRectF(area.left(), area.top(), area.width() * NAME_SHARE - 6, ROW)
        room = VALUE_WIDTH if area.width() >= VALUES_FROM else 0
        value = QRectF(area.right() - room, area.top(), room, ROW)
        left, right = area.left() + area.width() * NAME_SHARE, value.left() - 6
        trough = QRectF(left, area.top() + 3, max(10.0, right - left), ROW - 6)
        saturated = joint["bound"] is not None and joint["share"] >= NEARLY
        painter.setPen(self.palette().windowText().color())
        words = painter.fontMetrics().elidedText(joint["name"], Qt.ElideMiddle, int(name.width()))
        painter.drawText(name, Qt.AlignRight | Qt.AlignVCenter, words)
        if room:
            painter.drawText(value, Qt.AlignLeft | Qt.AlignVCenter, self._words(joint, saturated))
        painter.fillRect(trough, TROUGH)
        filled = QRectF(trough)
        filled.setWidth(trough.width() * joint["share"])
        painter.fillRect(filled, FULL if saturated else BAR)
        painter.setPen(PEAK)
        x = int(trough.left() + trough.width() * joint["peak_share"])
        painter.drawLine(x, int(trough.top()), x, int(trough.bottom()))

    @staticmethod
    def _words(joint: dict, saturated: bool) -> str:
        size = "NaN" if joint["value"] is None else f"{abs(joint['value']):.3f}"
        bound = "" if joint["bound"] is None else f" / {joint['bound']:.3f}"
        return f"{size}{bound}{' !' if saturated else ''}"
