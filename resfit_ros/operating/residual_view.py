"""The correction as the operator sees it: how much of its bound each joint uses."""

from collections import deque
from collections.abc import Mapping

import numpy as np

from resfit_ros.core.types import Action, Float32, Mode
from resfit_ros.operating.nodes_view import NODE_SILENT_S

PEAK_OF = 20  # actions
ACTION_SILENT_S = 2.0
MODES = {
    Mode.BASE: "base policy alone",
    Mode.RESIDUAL: "base + residual",
    Mode.EXPLORE: "base + residual, exploring",
    Mode.INTERVENTION: "a human drives",
}


class ResidualView:
    """Newest residual per joint against its bound, in joint units; `now_ns` is the steady clock."""

    def __init__(self) -> None:
        self.joint_names: tuple[str, ...] = ()
        self.blind = False  # an evaluation hides who acts
        self.sentence = ""  # what the residual node says of itself
        self.half_range: Float32 | None = None  # (A,), joint units per normalised unit
        self.scale: float | None = None  # bound in the normalised action space
        self.max_residual: Float32 | None = None  # (A,) or (1,), the safety filter's bound
        self._action: Action | None = None
        self._action_ns = self._switch_ns = 0
        self._switch: bool | None = None
        self._recent: deque[Float32] = deque(maxlen=PEAK_OF)
        self._largest = 0.0

    def on_report(self, sentence: str, figures: Mapping[str, str], now_ns: int) -> None:
        """The residual node's own sentence and key figures."""
        self.sentence, self.blind = sentence, figures.get("blind") == "True"
        if "residual enabled" in figures:
            self.on_switch(figures["residual enabled"] == "True", now_ns)

    def on_switch(self, enabled: bool, now_ns: int) -> None:
        """The residual node says that it is enabled, or not."""
        self._switch, self._switch_ns = enabled, now_ns

    def enabled(self, now_ns: int) -> bool | None:
        """None: not known, or the node has not said it lately."""
        return self._switch if (now_ns - self._switch_ns) * 1e-9 <= NODE_SILENT_S else None

    def on_action(self, action: Action, now_ns: int) -> None:
        """The newest action; one with another number of joints starts anew."""
        residual = np.nan_to_num(np.abs(np.asarray(action.residual, np.float32)))
        if self._recent and len(self._recent[-1]) != len(residual):
            self._recent.clear()
        self._action, self._action_ns = action, now_ns
        self._recent.append(residual)
        self._largest = max(self._largest, float(residual.max(initial=0.0)))

    def _silent_s(self, now_ns: int) -> float:
        """Since the newest action; 0 where it is not long ago."""
        silent_s = (now_ns - self._action_ns) * 1e-9
        return silent_s if self._action is not None and silent_s > ACTION_SILENT_S else 0.0

    def mode_words(self, now_ns: int) -> str:
        """How the newest action came about, or for how long none has come; empty before the first."""
        silent_s = self._silent_s(now_ns)
        if silent_s:
            return f"no action for {silent_s:.0f} s"
        if self.blind:
            return "blind evaluation: who acts is hidden"
        return "" if self._action is None else MODES[self._action.mode]

    def bound(self, joints: int) -> tuple[Float32 | None, str]:
        """(bound per joint (A,), who sets it); None where nobody said."""
        bound, source = None, "not known"
        if self.half_range is not None and self.scale is not None and len(self.half_range) == joints:
            bound, source = self.scale * self.half_range, "learner"
        if self.max_residual is not None and len(self.max_residual) in (1, joints):
            limit = np.broadcast_to(self.max_residual, (joints,))
            if bound is None or np.any(limit < bound):
                source = "safety filter" if bound is None else "learner and safety filter"
                bound = limit if bound is None else np.minimum(bound, limit)
        return bound, source

    def snapshot(self, now_ns: int) -> dict:
        """enabled, mode, stale, sentence, actor_version, bound_from, joints: name, value, peak, bound, share.

        share: |value| / bound, in [0, 1]; of the largest value so far where the bound is not known.
        """
        action, stale = self._action, self._silent_s(now_ns) > 0.0
        if action is None or stale or self.blind:
            return {
                "enabled": None if self.blind else self.enabled(now_ns),
                "mode": self.mode_words(now_ns),
                "stale": stale,
                "sentence": self.sentence,
                "actor_version": 0,
                "bound_from": "",
                "mean_share": None,
                "joints": [],
            }
        count = len(self._recent[-1])
        bound, source = self.bound(count)
        full = np.full(count, self._largest) if bound is None else bound
        peak = np.max(self._recent, axis=0)
        used, peaks = (np.clip(v / np.maximum(full, 1e-9), 0.0, 1.0) for v in (self._recent[-1], peak))
        names = self.joint_names if len(self.joint_names) == count else [f"joint {i}" for i in range(count)]
        joints = [
            {
                "name": names[i],
                "value": float(action.residual[i]) if np.isfinite(action.residual[i]) else None,
                "peak": float(peak[i]),
                "bound": None if bound is None else float(bound[i]),
                "share": float(used[i]),
                "peak_share": float(peaks[i]),
            }
            for i in range(count)
        ]
        return {
            "enabled": self.enabled(now_ns),
            "mode": self.mode_words(now_ns),
            "stale": False,
            "sentence": self.sentence,
            "actor_version": int(action.actor_version),
            "bound_from": source,
            "mean_share": None if bound is None or not count else float(used.mean()),
            "joints": joints,
        }
