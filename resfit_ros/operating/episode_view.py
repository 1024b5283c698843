"""The episode as the operator sees it: which, in which state, for how long."""

from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Executed, Outcome

NOT_HEARD, IDLE, RESETTING, RUNNING = "not heard", "idle", "resetting", "running"
MANAGER_SILENT_S = 3.0
NEW_GRAPH_REPORTS = 3  # so many reports of a lower episode: the graph was started anew


class EpisodeView:
    """From episode events, observations, and what the episode manager says of itself on /diagnostics.

    The three come on topics of their own, in any order: what is older than what is known is passed over.
    """

    def __init__(self) -> None:
        self.state = NOT_HEARD
        self.episode_id = self.step = self.tainted_steps = 0
        self.max_steps: int | None = None
        self.control_hz: float | None = None
        self.outcome = Outcome.NONE  # of the last episode that ended
        self.labelled_by = ""
        self._last_id = 0  # the last episode that ended
        self._sentence = ""
        self._totals: dict[str, int] = {}
        self._lower_reports = 0
        self._start_ns: int | None = None  # ROS clock
        self._stamp_ns: int | None = None
        self._since_ns: int | None = None  # steady clock, of the state
        self._heard_ns: int | None = None

    def on_event(self, event: EpisodeStarted | EpisodeEnded, now_ns: int) -> None:
        """An episode began or ended."""
        if isinstance(event, EpisodeStarted):
            self._begin(event.episode_id, now_ns)
            self._start_ns = self._stamp_ns = event.stamp_ns
            return
        self._start_ns = self._start_ns if event.episode_id == self.episode_id else None
        self.episode_id = self._last_id = event.episode_id
        self.step, self._stamp_ns = event.steps, event.stamp_ns
        self.outcome, self.labelled_by = event.outcome, event.labelled_by
        self._enter(IDLE, now_ns)

    def on_observation(self, episode_id: int, step: int, stamp_ns: int, now_ns: int) -> None:
        """One was sampled; of an episode that was not known, its start was missed."""
        if episode_id > self.episode_id:
            self._begin(episode_id, now_ns)
        if episode_id == self.episode_id and self.state == RUNNING:
            self.step, self._stamp_ns = max(step, self.step), stamp_ns

    def on_executed(self, executed: Executed) -> None:
        """A step was executed; those a fault touched are counted."""
        if executed.episode_id == self.episode_id:
            self.tainted_steps += executed.tainted

    def on_manager(self, sentence: str, figures: dict[str, str], now_ns: int) -> None:
        """The episode manager's own sentence and key figures."""
        self._heard_ns, self._sentence = now_ns, sentence
        names = (o.name.lower() for o in Outcome if o is not Outcome.NONE)
        self._totals = {n: int(figures[n]) for n in names if figures.get(n, "").isdigit()}
        state, number = figures.get("state", ""), figures.get("episode", "")
        if not number.isdigit():
            return
        episode_id = int(number)
        self._lower_reports = self._lower_reports + 1 if episode_id < self.episode_id else 0
        if self._lower_reports >= NEW_GRAPH_REPORTS:
            self.episode_id = self._last_id = self._lower_reports = 0
        if state == RUNNING:
            if episode_id > self.episode_id and episode_id != self._last_id:
                self._begin(episode_id, now_ns)
        elif state in (IDLE, RESETTING) and episode_id >= self.episode_id:
            self.episode_id = episode_id
            self._enter(state, now_ns)

    def _begin(self, episode_id: int, now_ns: int) -> None:
        self.episode_id, self.step, self.tainted_steps = episode_id, 0, 0
        self._start_ns = self._stamp_ns = None
        self._enter(RUNNING, now_ns, again=True)

    def _enter(self, state: str, now_ns: int, again: bool = False) -> None:
        if again or state != self.state:
            self._since_ns = now_ns
        self.state = state

    def heard(self, now_ns: int) -> bool:
        """Whether the episode manager is there."""
        return self._heard_ns is not None and (now_ns - self._heard_ns) * 1e-9 <= MANAGER_SILENT_S

    def why_no_label(self, now_ns: int) -> str:
        """Why no outcome can be given now; empty: it can."""
        if self.state == RUNNING:
            return ""
        if self.state == NOT_HEARD:
            return "no episode was heard yet"
        if self._last_id and self._last_id == self.episode_id:
            return f"episode {self._last_id} has ended already ({self.outcome.name.lower()})"
        return "no episode is running"

    def snapshot(self, now_ns: int) -> dict:
        """id, state, sentence, step, max_steps, time_s (robot's clock), state_for_s, last, totals."""
        heard = self.heard(now_ns)
        silent = "" if heard else "the episode manager is not heard"
        since_s = None if self._since_ns is None else (now_ns - self._since_ns) * 1e-9
        last = {"id": self._last_id, "outcome": self.outcome.name.lower(), "labelled_by": self.labelled_by}
        return {
            "id": self.episode_id,
            "state": self.state,
            "heard": heard,
            "sentence": silent or self._sentence,
            "step": self.step,
            "max_steps": self.max_steps,
            "time_s": self._time_s(),
            "state_for_s": since_s,
            "tainted_steps": self.tainted_steps,
            "last": last if self._last_id else None,
            "totals": self._totals,
        }

    def _time_s(self) -> float | None:
        if self._start_ns is not None and self._stamp_ns is not None:
            return max(0.0, (self._stamp_ns - self._start_ns) * 1e-9)
        return self.step / self.control_hz if self.control_hz else None
