"""Colours and type sizes. Each colour only ever repeats what words beside it say."""

COLOURS = {"green": "#1b7f3b", "amber": "#a85800", "red": "#b00020", "grey": "#555b61"}
TONES = {"good": "#1b7f3b", "bad": "#8a3b12", "plain": "#34495e", "danger": "#c40018"}
OUTCOMES = {"success": "#1b7f3b", "failure": "#8a3b12", "timeout": "#8a8d91"}
LEVELS = {"info": "#34495e", "warn": "#a85800", "error": "#b00020"}
NODE_WORDS = ("ok", "warning", "error", "silent")
NODE_COLOURS = ("green", "amber", "red", "red")

SHEET = """
QLabel#title { font-size: 22px; font-weight: 700; }
QLabel#big { font-size: 34px; font-weight: 700; }
QLabel#strong { font-size: 16px; font-weight: 600; }
QLabel#small { font-size: 12px; }
QGroupBox { font-weight: 600; border: 1px solid #b8bcc0; border-radius: 6px; }
QGroupBox { margin-top: 10px; padding-top: 4px; }
QGroupBox::title { subcontrol-origin: margin; left: 8px; padding: 0 4px; }
"""


def banner(colour: str) -> str:
    """White words on a colour."""
    return f"QFrame {{ background: {colour}; border-radius: 6px; }} QLabel {{ color: white; }}"


def button(tone: str, enabled: bool, size: int) -> str:
    """A button; one that is off stays readable, for it says why."""
    if not enabled:
        return (
            "QPushButton { background: #dfe2e5; border: 2px dashed #9aa0a6; border-radius: 8px; }"
            f"QLabel {{ color: #4a4f54; background: transparent; }} QLabel#label {{ font-size: {size}px; }}"
        )
    colour = TONES[tone]
    return (
        f"QPushButton {{ background: {colour}; border: 2px solid {colour}; border-radius: 8px; }}"
        "QPushButton:pressed { border-color: black; }"
        f"QLabel {{ color: white; background: transparent; }} QLabel#label {{ font-size: {size}px; }}"
    )
