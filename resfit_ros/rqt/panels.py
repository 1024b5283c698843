"""What is only looked at: safety, episode, success, learner, nodes, answers."""

from python_qt_binding.QtCore import QRectF, Qt
from python_qt_binding.QtGui import QColor, QPainter
from python_qt_binding.QtWidgets import QFrame, QGroupBox, QLabel, QProgressBar, QVBoxLayout, QWidget

from resfit_ros.rqt import style

MESSAGES_SHOWN = 4
TWO_LINES = 32  # px of small type: what stands below must not jump as words come and go
NODES_SHOWN = 3
WARNINGS_SHOWN = 3


def label(name: str, wrap: bool = True) -> QLabel:
    """An empty label of one of the sheet's sizes."""
    made = QLabel()
    made.setObjectName(name)
    made.setWordWrap(wrap)
    made.setTextFormat(Qt.PlainText)
    return made


def seconds(value: float | None) -> str:
    """A duration for people: "3.4 s", "2:05 min"."""
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 60 else f"{int(value) // 60}:{int(value) % 60:02d} min"


class SafetyBanner(QFrame):
    """The state of the safety filter across the whole width, reasons below, and what goes on."""

    def __init__(self) -> None:
        super().__init__()
        self._title, self._reasons, self._headline = label("title"), label("strong"), label("strong")
        self._colour = ""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 6, 12, 6)
        layout.setSpacing(2)
        for made in (self._title, self._reasons, self._headline):
            layout.addWidget(made)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        safety, headline = snapshot["safety"], snapshot["headline"]
        self._title.setText(f"{safety['title']}: {safety['meaning']}")
        prefix = "Note" if safety["state"] == "armed" else "Why"
        known = "" if safety["state"] == "not heard" else "Nothing to object to"
        self._reasons.setText(f"{prefix}: {', '.join(safety['reasons'])}" if safety["reasons"] else known)
        self._headline.setText(headline["text"])
        colour = style.COLOURS[safety["colour"]]
        if colour != self._colour:
            self._colour = colour
            self.setStyleSheet(style.banner(colour))

    def words(self) -> str:
        """Everything it says."""
        return "\n".join(made.text() for made in (self._title, self._reasons, self._headline))


class EpisodePanel(QGroupBox):
    """Which episode, in which state, for how long."""

    def __init__(self) -> None:
        super().__init__("Episode")
        self._time, self._state, self._words = label("big", wrap=False), label("strong"), label("small")
        self._words.setMinimumHeight(TWO_LINES)
        self._words.setAlignment(Qt.AlignTop)
        self._steps = QProgressBar()
        self._steps.setTextVisible(True)
        layout = QVBoxLayout(self)
        layout.setSpacing(2)
        for made in (self._time, self._state, self._steps, self._words):
            layout.addWidget(made)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        e = snapshot["episode"]
        running = e["state"] == "running"
        self._time.setText(seconds(e["time_s"] if running else e["state_for_s"]))
        which = f"Episode {e['id']}" if e["id"] else "No episode yet"
        self._state.setText(f"{which}: {e['state']}")
        self._steps.setRange(0, e["max_steps"] or max(1, e["step"]))
        self._steps.setValue(min(e["step"], self._steps.maximum()))
        self._steps.setFormat(f"step {e['step']}" + (f" of {e['max_steps']}" if e["max_steps"] else ""))
        last = e["last"]
        ended = f"Last: {last['id']} {last['outcome']}, by {last['labelled_by'] or '?'}. " if last else ""
        tainted = f"{e['tainted_steps']} steps touched by a fault. " if e["tainted_steps"] else ""
        self._words.setText(f"{tainted}{ended}" + ("" if running else e["sentence"]))

    def words(self) -> str:
        """Everything it says."""
        return "\n".join(made.text() for made in (self._time, self._state, self._words))


class _Strip(QWidget):
    """The rate as a bar with its interval, and the last outcomes, the newest on the right."""

    def __init__(self) -> None:
        super().__init__()
        self._success: dict = {"outcomes": [], "rate": None, "low": 0.0, "high": 1.0, "window": 1}
        self.setFixedHeight(40)

    def show_success(self, success: dict) -> None:
        self._success = success
        self.update()

    def paintEvent(self, _event) -> None:
        """Qt's name for it."""
        painter, s = QPainter(self), self._success
        width = self.width()
        painter.fillRect(QRectF(0, 2, width, 12), QColor("#e4e7ea"))
        if s["rate"] is not None:
            interval = QRectF(width * s["low"], 2, width * (s["high"] - s["low"]), 12)
            painter.fillRect(interval, QColor("#a9d3b6"))
            painter.fillRect(QRectF(width * s["rate"] - 2, 0, 4, 16), QColor(style.OUTCOMES["success"]))
        each = width / s["window"]
        for i, outcome in enumerate(s["outcomes"]):
            box = QRectF(i * each, 22, max(2.0, each - 2), 16)
            painter.fillRect(box, QColor(style.OUTCOMES.get(outcome, "#8a8d91")))
            painter.setPen(Qt.white)
            painter.drawText(box, Qt.AlignCenter, outcome[0].upper())


class SuccessPanel(QGroupBox):
    """The rolling success rate, and how sure one can be of it."""

    def __init__(self) -> None:
        super().__init__("Success")
        self._rate, self._words, self._strip = label("big", wrap=False), label("small"), _Strip()
        layout = QVBoxLayout(self)
        layout.setSpacing(2)
        for made in (self._rate, self._words, self._strip):
            layout.addWidget(made)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        s = snapshot["success"]
        self._rate.setText("no episode yet" if s["rate"] is None else f"{s['rate']:.0%}")
        interval = f"95 % interval {s['low']:.0%} to {s['high']:.0%}: "
        over = f"{s['successes']} of the last {s['episodes']} (S success, F failure, T time-out)"
        self._words.setText((interval if s["episodes"] else "") + over)
        self._strip.show_success(s)

    def words(self) -> str:
        """Everything it says."""
        return f"{self._rate.text()}\n{self._words.text()}"


class LearnerPanel(QGroupBox):
    """Phase, speed, lag, and what the learner warns of."""

    def __init__(self) -> None:
        super().__init__("Learner")
        self._phase, self._figures, self._warnings = label("strong"), label("small"), label("small")
        layout = QVBoxLayout(self)
        layout.setSpacing(2)
        for made in (self._phase, self._figures, self._warnings):
            layout.addWidget(made)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        learner = snapshot["learner"]
        f = learner["figures"]
        self._phase.setText(learner["phase_words"])
        self._phase.setStyleSheet(f"color: {style.COLOURS[learner['colour']]};")
        self._figures.setVisible(bool(f))
        rate = f.get("success_rate")
        success = "" if rate is None else f", success {rate:.0%}"
        self._figures.setText(
            f"{f.get('env_steps', 0)} steps, {f.get('episodes', 0)} episodes{success}. "
            f"{f.get('updates_per_s') or 0:.0f} updates/s, {learner['lag_words']}"
        )
        shown = learner["warnings"][:WARNINGS_SHOWN]
        more = len(learner["warnings"]) - len(shown)
        lines = [f"Warning: {w}" for w in shown] + ([f"and {more} more"] if more else [])
        self._warnings.setText("\n".join(lines) if f else "")
        self._warnings.setVisible(bool(lines))
        self._warnings.setStyleSheet(f"color: {style.COLOURS['amber']};")

    def words(self) -> str:
        """Everything it says."""
        return "\n".join(made.text() for made in (self._phase, self._figures, self._warnings))


class ReportPanel(QGroupBox):
    """Answers to what was pressed, newest first, and the nodes that are not well."""

    def __init__(self) -> None:
        super().__init__("Answers and nodes")
        self._text = QLabel()
        self._text.setWordWrap(True)
        self._text.setTextFormat(Qt.RichText)
        self._text.setAlignment(Qt.AlignTop)
        self._text.setMinimumHeight(80)
        QVBoxLayout(self).addWidget(self._text)

    def update_from(self, snapshot: dict) -> None:
        """Ten times a second."""
        lines = [
            _coloured(style.LEVELS[m["level"]], f"{seconds(m['age_s'])} ago: {m['text']}")
            for m in snapshot["messages"][:MESSAGES_SHOWN]
        ]
        # A learner that warns has a panel of its own.
        unwell = [n for n in snapshot["nodes"] if n["level"] and (n["name"], n["level"]) != ("learner", 1)]
        for n in unwell[:NODES_SHOWN]:
            colour = style.COLOURS[style.NODE_COLOURS[n["level"]]]
            lines.append(_coloured(colour, f"{n['name']} ({style.NODE_WORDS[n['level']]}): {n['message']}"))
        if len(unwell) > NODES_SHOWN:
            lines.append(f"and {len(unwell) - NODES_SHOWN} more nodes")
        if not unwell:
            lines.append(f"{len(snapshot['nodes'])} nodes report, none in trouble")
        self._text.setText("<br>".join(lines))

    def words(self) -> str:
        """Everything it says."""
        return self._text.text()


def _coloured(colour: str, text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f"<span style='color:{colour}'>{escaped}</span>"
