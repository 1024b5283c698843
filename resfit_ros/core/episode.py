"""The episode state machine: reset, run, label, hold back while the learner is behind."""

import enum
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Outcome

STAMPS_KEPT = 64
EVALUATOR = "evaluator"  # the node that decides when episodes start, where it is part of the graph


class EpisodeState(enum.Enum):
    """What the episode manager is doing."""

    IDLE = "idle"
    RESETTING = "resetting"
    RUNNING = "running"


@dataclass(frozen=True)
class Refusal:
    """A request that cannot be carried out now, and why."""

    reason: str


def starts_after_reset(auto_start: bool, wait_for_nodes: Collection[str]) -> bool:
    """Whether a reset starts the next episode; an evaluator does that itself, with the scene it needs."""
    return auto_start or EVALUATOR not in wait_for_nodes


class EpisodeMachine:
    """Decides when episodes start and end; reads no clock and sends nothing.

    Success counts for the step whose observation was sampled at or after the label's stamp, so a
    label that overtakes or trails its observation gives the same episode.
    """

    def __init__(self, max_steps: int, first_episode_id: int = 1) -> None:
        self.max_steps = max_steps
        self.state = EpisodeState.IDLE
        self.episode_id = first_episode_id - 1
        self.scene_seed = -1
        self.steps = 0
        self._stamps: OrderedDict[int, int] = OrderedDict()  # step -> stamp
        self._label: tuple[Outcome, int, str] | None = None

    @property
    def newest_stamp_ns(self) -> int:
        """Stamp of the newest observation of the episode; 0 before the first."""
        return next(reversed(self._stamps.values()), 0)

    def request_start(self, scene_seed: int) -> Refusal | None:
        """IDLE to RESETTING; refused while an episode runs or a reset is under way."""
        if self.state is EpisodeState.RESETTING:
            return Refusal("a reset is already under way; wait for it to finish")
        if self.state is EpisodeState.RUNNING:
            return Refusal(f"episode {self.episode_id} is running; label or reset it first")
        self.state, self.scene_seed = EpisodeState.RESETTING, scene_seed
        return None

    def reset_failed(self) -> None:
        """RESETTING to IDLE."""
        self.state = EpisodeState.IDLE

    def reset_done(self, stamp_ns: int) -> EpisodeStarted:
        """RESETTING to RUNNING; observations from `stamp_ns` on belong to the new episode."""
        self.state = EpisodeState.RUNNING
        self.episode_id += 1
        self.steps = 0
        self._stamps.clear()
        self._label = None
        return EpisodeStarted(stamp_ns, self.episode_id, self.scene_seed)

    def on_observation(self, episode_id: int, step: int, stamp_ns: int) -> EpisodeEnded | None:
        """Counts steps; ends the episode at a pending label or at `max_steps`."""
        if self.state is not EpisodeState.RUNNING or episode_id != self.episode_id:
            return None
        self.steps = max(self.steps, step)
        self._stamps[step] = stamp_ns
        while len(self._stamps) > STAMPS_KEPT:
            self._stamps.popitem(last=False)
        if self._label is not None and stamp_ns >= self._label[1]:
            return self._end_labelled()
        if step >= self.max_steps:
            return self._end(Outcome.TIMEOUT, step, "step limit")
        return None

    def on_label(
        self, outcome: Outcome, stamp_ns: int, by: str, episode_id: int = 0
    ) -> EpisodeEnded | Refusal | None:
        """Ends the running episode, or keeps the label until its observation has arrived.

        episode_id: the episode it is meant for; 0: whichever is running.
        """
        if self.state is not EpisodeState.RUNNING:
            return Refusal("no episode is running; a label has nothing to apply to")
        if episode_id not in (0, self.episode_id):
            return Refusal(f"the label is meant for episode {episode_id}; episode {self.episode_id} is running")
        if outcome not in (Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED):
            return Refusal(f"outcome {int(outcome)} cannot be given by a label")
        if self._label is not None:
            return Refusal(f"episode {self.episode_id} is labelled already")
        self._label = (outcome, stamp_ns, by)
        if self._stamps and self.newest_stamp_ns >= stamp_ns:
            return self._end_labelled()
        return None

    def abort(self, by: str) -> EpisodeEnded | None:
        """Ends the running episode as ABORTED."""
        if self.state is not EpisodeState.RUNNING:
            return None
        return self._end(Outcome.ABORTED, self.steps, by)

    def _end_labelled(self) -> EpisodeEnded:
        outcome, stamp_ns, by = self._label
        step = next(k for k, stamp in self._stamps.items() if stamp >= stamp_ns)
        # Nothing was done in it: there is no step to reward, and nothing that failed.
        if step == 0:
            outcome = Outcome.ABORTED
        return self._end(outcome, step, by)

    def _end(self, outcome: Outcome, step: int, by: str) -> EpisodeEnded:
        self.state = EpisodeState.IDLE
        stamp = self._stamps.get(step, 0)
        return EpisodeEnded(stamp, self.episode_id, outcome, step, self.scene_seed, by)
