"""One assembler turns the message stream into learning data: live, from `ros2 bag play`, or from files.

Step k: observation k, action k (base k + residual k), executed k, observation k + 1. Messages of
different topics may arrive in any order, twice, or not at all.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from resfit_ros.core.step_checks import unfit_steps
from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    Executed,
    Mode,
    Observation,
    Outcome,
    Reason,
    Segment,
)

MAX_OPEN_EPISODES = 4


@dataclass
class _OpenEpisode:
    observations: dict[int, list[Observation]] = field(default_factory=dict)  # a step may be observed again
    actions: dict[int, Action] = field(default_factory=dict)
    executed: dict[int, Executed] = field(default_factory=dict)
    ended: EpisodeEnded | None = None

    def observation(self, k: int) -> Observation:
        """What action k answers: of several observations of a step the one with its stamp."""
        of_step, action = self.observations[k], self.actions.get(k)
        answered = [o for o in of_step if action is not None and o.stamp_ns == action.stamp_ns]
        return (answered or of_step)[0]

    def missing(self) -> int:
        """Messages still owed, once the end is known."""
        steps = self.ended.steps
        there = sum(k <= steps for kind in (self.observations, self.actions) for k in kind)
        return 3 * steps + 2 - there - sum(k < steps for k in self.executed)

    def up_to_end(self) -> tuple[dict[int, Observation], dict[int, Action], dict[int, Executed]]:
        """By step, without the step or two that the chain runs past the end."""
        steps = self.ended.steps
        return (
            {k: self.observation(k) for k in sorted(self.observations) if k <= steps},
            {k: self.actions[k] for k in sorted(self.actions) if k <= steps},
            {k: self.executed[k] for k in sorted(self.executed) if k < steps},
        )


@dataclass(frozen=True)
class AssembledEpisode:
    """A finished episode as segments without gaps.

    steps_lost: steps that are in none of them because a message is missing. left_out: steps that are in none
    of them because of their values (NaN, a gap in time), with the reason in words.
    """

    end: EpisodeEnded
    segments: tuple[Segment, ...]
    steps_lost: int
    left_out: Mapping[int, str] = field(default_factory=dict)


class TransitionAssembler:
    """Collects messages by (episode, step) and gives out whole episodes when they are complete.

    An incomplete episode is given out, cut at its gaps, once `flush` is called or a later episode
    has ended too. An aborted episode is dropped. Steps marked as tainted, and those nobody should learn
    from (`unfit_steps`), are left out like lost ones, but are not counted as lost.
    """

    def __init__(self, action_dim: int) -> None:
        self.action_dim = action_dim
        self.duplicates = 0
        self.late = 0  # messages of episodes already given out
        self.rejected = 0  # messages with another number of joints, states or cameras
        self._open: OrderedDict[int, _OpenEpisode] = OrderedDict()
        self._closed_up_to = 0

    def add(self, message: Observation | Action | Executed | EpisodeEnded) -> list[AssembledEpisode]:
        """Takes one message; returns the episodes it completed, oldest first."""
        if message.episode_id <= self._closed_up_to:
            self.late += 1
            return []
        episode = self._open.setdefault(message.episode_id, _OpenEpisode())
        if isinstance(message, EpisodeEnded):
            self.duplicates += episode.ended is not None
            episode.ended = episode.ended or message
        else:
            self._store(episode, message)
        return self._collect()

    def _store(self, episode: _OpenEpisode, message: Observation | Action | Executed) -> None:
        kinds = {Observation: episode.observations, Action: episode.actions, Executed: episode.executed}
        steps = kinds[type(message)]
        if not self._has_right_size(episode, message):
            self.rejected += 1
        elif isinstance(message, Observation):
            of_step = steps.setdefault(message.step, [])
            self.duplicates += bool(of_step)
            if all(o.stamp_ns != message.stamp_ns for o in of_step):
                of_step.append(message)
        elif message.step in steps:
            self.duplicates += 1
        else:
            steps[message.step] = message

    def _has_right_size(self, episode: _OpenEpisode, message: Observation | Action | Executed) -> bool:
        if isinstance(message, Observation):
            first = next(iter(episode.observations.values()), [message])[0]
            return _sizes(message) == _sizes(first)
        vector = message.base if isinstance(message, Action) else message.action
        return vector.shape == (self.action_dim,)

    def _collect(self) -> list[AssembledEpisode]:
        done = []
        while self._open:
            episode_id = min(self._open)
            episode = self._open[episode_id]
            later_ended = any(e.ended for i, e in self._open.items() if i > episode_id)
            complete = episode.ended is not None and episode.missing() == 0
            crowded = len(self._open) > MAX_OPEN_EPISODES
            if not (complete or later_ended or crowded):
                break
            done += self._close(episode_id)
        return done

    def flush(self) -> list[AssembledEpisode]:
        """Gives out every ended episode, complete or not."""
        ended = sorted(i for i, e in self._open.items() if e.ended is not None)
        return [given for i in ended for given in self._close(i)]

    def _close(self, episode_id: int) -> list[AssembledEpisode]:
        episode = self._open.pop(episode_id)
        self._closed_up_to = max(self._closed_up_to, episode_id)
        if episode.ended is None or episode.ended.outcome is Outcome.ABORTED:
            return []
        return [self._assemble(episode)]

    def _assemble(self, episode: _OpenEpisode) -> AssembledEpisode:
        end, unfit = episode.ended, unfit_steps(*episode.up_to_end())
        # A damaged bag may tell of millions of steps.
        seen = min(end.steps, max(episode.executed, default=-1) + 1)
        segments, first, lost, left_out = [], None, end.steps - seen, {}
        for k in range(seen):
            present, tainted = self._step_state(episode, k)
            lost += not present
            if present and not tainted and k in unfit:
                left_out[k] = unfit[k]
            if present and not tainted and k not in unfit:
                first = k if first is None else first
            elif first is not None:
                segments.append(self._segment(episode, first, k))
                first = None
        if first is not None:
            segments.append(self._segment(episode, first, seen))
        return AssembledEpisode(end, tuple(segments), lost, left_out)

    def _step_state(self, episode: _OpenEpisode, k: int) -> tuple[bool, bool]:
        """(whether transition k has all its parts, whether a fault touched it)."""
        present = (
            all(i in episode.observations and i in episode.actions for i in (k, k + 1))
            and k in episode.executed
        )
        return present, present and episode.executed[k].tainted

    def _segment(self, episode: _OpenEpisode, first: int, last: int) -> Segment:
        rows, steps, end = range(first, last + 1), range(first, last), episode.ended
        rewards = np.zeros(len(steps), np.float32)
        at_end = last == end.steps
        if at_end and end.outcome is Outcome.SUCCESS:
            rewards[-1] = 1.0
        observations = [episode.observation(k) for k in rows]
        cameras = range(len(observations[0].images))
        return Segment(
            episode_id=end.episode_id,
            states=np.stack([o.state for o in observations]),
            bases=np.stack([episode.actions[k].base for k in rows]),
            phases=np.array([episode.actions[k].chunk_phase for k in rows], np.float32),
            actions=np.stack([episode.executed[k].action for k in steps]),
            rewards=rewards,
            terminal=at_end and end.outcome in (Outcome.SUCCESS, Outcome.FAILURE),
            images=tuple(np.stack([o.images[c] for o in observations]) for c in cameras),
            interventions=np.array([self._human_drove(episode, k) for k in steps], bool),
        )

    @staticmethod
    def _human_drove(episode: _OpenEpisode, k: int) -> bool:
        reasons, mode = episode.executed[k].reasons, episode.actions[k].mode
        return bool(reasons & Reason.INTERVENTION) or mode is Mode.INTERVENTION


def _sizes(observation: Observation) -> tuple:
    return observation.state.shape, *(image.shape for image in observation.images)
