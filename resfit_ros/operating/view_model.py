"""The graph as the operator sees it: what arrives goes in, one JSON-able snapshot comes out.

For every front end (rqt plugin, web console). Plain Python, one thread; `ros_link.RosLink` feeds it and
keeps it behind a lock, so a front end needs three calls of RosLink: `snapshot()`, `press(control)`,
`picture(camera)`.

    view = OperatorView()
    view.on_safety({"state": 1, "reasons": 0}, now_ns)   # now_ns: steady clock
    view.why_not(Control.ARM, now_ns)                    # "" or one sentence: why the button is off
    view.snapshot(now_ns)

The snapshot, every value plain (NaN is None):

    headline   {"text", "colour"}: what is going on, or what to do next
    episode    id, state ("not heard", "idle", "resetting", "running"), heard, sentence, step, max_steps,
               time_s, state_for_s, tainted_steps, last {"id", "outcome", "labelled_by"} or None,
               totals {outcome: count}
    success    rate or None, low, high, successes, episodes, window, outcomes [oldest first]
    residual   enabled (None: not known), mode, stale (no action for 2 s), sentence, actor_version,
               bound_from, mean_share,
               joints [{"name", "value", "peak", "bound" or None, "share", "peak_share"}]
    safety     state ("armed", ..., "not heard"), title, meaning, colour, reasons [phrase], detail, silent_s,
               figures {field of SafetyStatus: number}
    learner    heard, phase, phase_words, colour, warnings [sentence], lag_words, silent_s,
               figures {field of LearnerStatus: number or None}
    nodes      [{"name", "level" (0 ok, 1 warn, 2 error, 3 stale), "message", "silent_s"}], worst first
    cameras    [name]
    controls   {name of Control: {"label", "key", "tip", "tone", "enabled", "why", "answer"}}
               why: one sentence where it is not enabled
               answer: {"ok", "text"} to the last press for 8 s, or None
    messages   [{"level" ("info", "warn", "error"), "text", "age_s"}], newest first
Colours are "green", "amber", "red", "grey"; words always go with them.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from resfit_ros.core.operator_requests import EstopRequest
from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    EpisodeStarted,
    Executed,
    LearnerPhase,
    Reason,
    SafetyState,
)
from resfit_ros.operating import words
from resfit_ros.operating.blinding import CLAMP_FIGURES, without_residual
from resfit_ros.operating.controls import ABOUT, FILTER, KEY_OF, MANAGER, Control
from resfit_ros.operating.episode_view import RESETTING, RUNNING, EpisodeView
from resfit_ros.operating.learner_view import learner_snapshot
from resfit_ros.operating.nodes_view import NodesView
from resfit_ros.operating.plain import Heard, plain
from resfit_ros.operating.residual_view import ResidualView
from resfit_ros.operating.success import RollingSuccess

SAFETY_SILENT_S = 1.0
MESSAGES_KEPT = 20
ANSWER_SHOWN_S = 8.0
NO_GRAPH = "the graph is not heard: is it running, in this ROS domain?"
INFO, WARN, ERROR = "info", "warn", "error"
LABELS = (Control.SUCCESS, Control.FAILURE, Control.DISCARD)


class OperatorView:
    """State of the graph for one operator; `now_ns` is the steady clock everywhere."""

    def __init__(self, window: int = 20) -> None:
        """window: finished episodes that the rolling success rate looks back on."""
        self.episode = EpisodeView()
        self.success = RollingSuccess(window)
        self.residual = ResidualView()
        self.estop = EstopRequest()  # asked for from here
        self.cameras: tuple[str, ...] = ()
        self._safety: Heard | None = None
        self._learner: Heard | None = None
        self.nodes = NodesView()
        self._ready: dict[str, bool] = {}
        self._answers: dict[Control, tuple[int, bool, str]] = {}
        self._messages: deque[tuple[int, str, str]] = deque(maxlen=MESSAGES_KEPT)

    # -- what arrives -----------------------------------------------------------------------

    def on_episode(self, event: EpisodeStarted | EpisodeEnded, now_ns: int) -> None:
        """An episode began or ended."""
        self.episode.on_event(event, now_ns)
        if isinstance(event, EpisodeEnded):
            self.success.add(event.outcome)

    def on_observation(self, episode_id: int, step: int, stamp_ns: int, now_ns: int) -> None:
        """One was sampled; stamp_ns: of the ROS clock."""
        self.episode.on_observation(episode_id, step, stamp_ns, now_ns)

    def on_action(self, action: Action, now_ns: int) -> None:
        """The residual node decided."""
        self.residual.on_action(action, now_ns)

    def on_executed(self, executed: Executed, now_ns: int) -> None:
        """The safety filter finished a step."""
        self.episode.on_executed(executed)

    def on_safety(self, fields: Mapping[str, Any], now_ns: int) -> None:
        """Fields of a SafetyStatus, `state` and `reasons` at least; ValueError: neither is kept."""
        state, reasons = SafetyState(fields["state"]), Reason(fields["reasons"])
        self._safety = Heard(fields, now_ns)
        self.estop.on_status(state, reasons)

    @property
    def estopped(self) -> bool:
        """Whether the e-stop is pressed, whoever pressed it, as the safety filter says."""
        fields = self._safety.fields if self._safety else {}
        return bool(fields.get("estopped", self.reasons & Reason.ESTOP))

    def on_learner(self, fields: Mapping[str, Any], now_ns: int) -> None:
        """Fields of a LearnerStatus, `phase` at least; ValueError: they are not kept."""
        LearnerPhase(fields["phase"])
        self._learner = Heard(fields, now_ns)
        scale = plain(fields.get("residual_scale"))
        if scale is not None:
            self.residual.scale = scale

    def on_diagnostics(
        self, name: str, level: int, message: str, figures: dict[str, str], now_ns: int
    ) -> None:
        """What one node of our graph says of itself; name without its namespace."""
        self.nodes.on_report(name, level, message, figures, now_ns)
        if name == MANAGER:
            self.episode.on_manager(message, figures, now_ns)
        elif name == "residual":
            self.residual.on_report(message, figures, now_ns)

    def on_services(self, ready: Mapping[str, bool]) -> None:
        """Service (as in controls.About) to whether somebody offers it."""
        self._ready = dict(ready)

    def tell(self, level: str, text: str, now_ns: int) -> None:
        """Something the operator should read: an answer, a refusal, a time-out. Repeated, it is kept once."""
        if self._messages and self._messages[0][1:] == (level, text):
            self._messages.popleft()
        self._messages.appendleft((now_ns, level, text))

    def answer(self, control: Control, ok: bool, text: str, now_ns: int) -> None:
        """What came of a press: told, and shown on the button for a while."""
        self._answers[control] = (now_ns, ok, text)
        level = INFO if ok else ERROR if control is Control.ESTOP else WARN
        self.tell(level, f"{ABOUT[control].label}: {text}", now_ns)

    # -- what can be pressed ----------------------------------------------------------------

    def safety_state(self, now_ns: int) -> SafetyState | None:
        """Of the safety filter; None: it is not heard."""
        if self._safety is None or self._safety.silent_s(now_ns) > SAFETY_SILENT_S:
            return None
        return SafetyState(self._safety.fields["state"])

    @property
    def reasons(self) -> Reason:
        """Newest reasons of the safety filter."""
        return Reason(self._safety.fields["reasons"]) if self._safety else Reason.NONE

    @property
    def _shown_reasons(self) -> Reason:
        """Without those that only a residual causes, where an evaluation hides who acts."""
        return without_residual(self.reasons) if self.residual.blind else self.reasons

    def why_not(self, control: Control, now_ns: int) -> str:
        """Why it cannot be pressed now, as one sentence; empty: it can."""
        about = ABOUT[control]
        if control is Control.ESTOP:
            return ""
        if not self._ready.get(about.service, False):
            return f"node {about.node} is not there (no service {about.service})"
        if control in LABELS:
            return self.episode.why_no_label(now_ns)
        if control is Control.RESET:
            return "a reset is under way" if self.episode.state == RESETTING else ""
        if about.service == "enable_residual":
            return self._why_not_switch(about.data, now_ns)
        return self._why_not_safety(control, self.safety_state(now_ns))

    def _why_not_switch(self, on: bool | None, now_ns: int) -> str:
        if self.residual.blind:
            return "a blind evaluation chooses who acts"
        if self.residual.enabled(now_ns) is not on:
            return ""
        return f"the residual is {'enabled' if on else 'disabled'} already"

    def _why_not_safety(self, control: Control, state: SafetyState | None) -> str:
        stopped = self.estop.pressed or self.estopped
        held = bool(self.reasons & Reason.OPERATOR)
        if control is Control.RELEASE_ESTOP:
            return "" if stopped or state is None else "the e-stop is not pressed"
        if state is None:
            return "" if control is Control.HOLD else "the safety filter is not heard"
        if control is Control.ARM:
            if stopped:
                return "the e-stop is pressed; release it first"
            if state is SafetyState.ARMED:
                return "armed already"
            if state is SafetyState.HOLD:
                because = ", ".join(words.reason_words(self._shown_reasons)) or "see the safety filter"
                return f"armed already, and holding: {because}"
            return ""
        if control is Control.DISARM:
            return "disarmed already" if state is SafetyState.DISARMED else ""
        if control is Control.HOLD:
            return "holding already" if held else ""
        return "" if held else "no hold was asked for here"

    # -- what is shown ----------------------------------------------------------------------

    def snapshot(self, now_ns: int) -> dict:
        """Everything a front end shows; see the module's docstring."""
        safety = self._safety_snapshot(now_ns)
        episode = self.episode.snapshot(now_ns)
        return {
            "headline": self._headline(safety, episode, now_ns),
            "episode": episode,
            "success": self.success.snapshot(),
            "residual": self.residual.snapshot(now_ns),
            "safety": safety,
            "learner": learner_snapshot(self._learner, now_ns),
            "nodes": self.nodes.snapshot(now_ns, self.residual.blind),
            "cameras": list(self.cameras),
            "controls": {c.value: self._control_snapshot(c, now_ns) for c in Control},
            "messages": [
                {"level": level, "text": text, "age_s": (now_ns - at_ns) * 1e-9}
                for at_ns, level, text in self._messages
            ],
        }

    def _control_snapshot(self, control: Control, now_ns: int) -> dict:
        about, why = ABOUT[control], self.why_not(control, now_ns)
        return {
            "label": about.label,
            "key": KEY_OF.get(control, ""),
            "tip": about.tip,
            "tone": about.tone,
            "enabled": not why,
            "why": why,
            "answer": self._answer_snapshot(control, now_ns),
        }

    def _answer_snapshot(self, control: Control, now_ns: int) -> dict | None:
        at_ns, ok, text = self._answers.get(control, (0, False, ""))
        shown = text and (now_ns - at_ns) * 1e-9 <= ANSWER_SHOWN_S
        return {"ok": ok, "text": text} if shown else None

    def _headline(self, safety: dict, episode: dict, now_ns: int) -> dict:
        """The safety state has words of its own: this is what the episode does meanwhile."""
        if not episode["heard"]:
            return {"text": NO_GRAPH, "colour": safety["colour"]}
        if self.episode.state == RUNNING:
            stopped = safety["colour"] == "red"
            acts = self.residual.mode_words(now_ns)
            does = "the robot is stopped: label, discard or reset it" if stopped else acts
            text = f"episode {episode['id']} is running: {does or 'no action yet'}"
            return {"text": text, "colour": safety["colour"]}
        return {"text": episode["sentence"], "colour": "red" if safety["colour"] == "red" else "grey"}

    def _safety_snapshot(self, now_ns: int) -> dict:
        state = self.safety_state(now_ns)
        title, meaning, colour = words.NOT_HEARD if state is None else words.STATES[state]
        if self.estop.pressed and not self.estop.shown:
            title, meaning, colour = "E-STOP ASKED FOR", "not confirmed by the safety filter yet", "red"
        elif state is not None and self.estopped:
            title, meaning, colour = "E-STOP", "stopped; release the e-stop, then arm", "red"
        elif state is SafetyState.FAULT and self.reasons & Reason.ESTOP:
            title, meaning, colour = "E-STOP RELEASED", "stopped; arm to go on", "red"
        heard = self._safety
        return {
            "state": "not heard" if state is None else state.name.lower(),
            "title": title,
            "meaning": meaning,
            "colour": colour if heard or self.estop.pressed else "grey",
            "reasons": [] if state is None else words.reason_words(self._shown_reasons),
            "detail": self.nodes.sentence(FILTER, self.residual.blind),
            "silent_s": None if heard is None else heard.silent_s(now_ns),
            "figures": {} if heard is None else self._safety_figures(heard),
        }

    def _safety_figures(self, heard: Heard) -> dict:
        figures = heard.plain() | {"reasons": int(self._shown_reasons)}
        hidden = CLAMP_FIGURES if self.residual.blind else ()
        return {name: value for name, value in figures.items() if name not in hidden}
