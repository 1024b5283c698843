"""The learner's health as the operator sees it."""

from collections.abc import Mapping
from typing import Any

from resfit_ros.core.types import LearnerPhase
from resfit_ros.operating.plain import Heard
from resfit_ros.operating.words import PHASES

SILENT_S = 3.0


def learner_snapshot(heard: Heard | None, now_ns: int) -> dict:
    """heard, phase, phase_words, colour, warnings, lag_words, silent_s, figures; heard: a LearnerStatus."""
    if heard is None:
        return {
            "heard": False,
            "phase": "",
            "phase_words": "no learner is heard",
            "colour": "grey",
            "warnings": [],
            "lag_words": "",
            "silent_s": None,
            "figures": {},
        }
    silent_s, fields = heard.silent_s(now_ns), heard.plain()
    phase, warnings = LearnerPhase(fields["phase"]), fields.pop("warnings", None) or []
    alive = silent_s <= SILENT_S or phase is LearnerPhase.DONE
    worried = bool(warnings) or phase is LearnerPhase.PAUSED
    return {
        "heard": alive,
        "phase": phase.name.lower(),
        "phase_words": PHASES[phase] if alive else f"the learner has been silent for {silent_s:.0f} s",
        "colour": "red" if not alive else "amber" if worried else "green",
        "warnings": warnings,
        "lag_words": _lag_words(fields),
        "silent_s": silent_s,
        "figures": fields,
    }


def _lag_words(fields: Mapping[str, Any]) -> str:
    owed, rate = fields.get("owed_updates") or 0, fields.get("updates_per_s")
    if owed <= 0:
        return "keeps up"
    return f"{owed} updates behind" + (f", {owed / rate:.1f} s" if rate else "")
