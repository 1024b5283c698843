"""Episodes heard while bags are played: ids may come again, since each folder counts its own episodes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Action, EpisodeEnded, EpisodeStarted, Executed, Observation

Step = Observation | Action | Executed | EpisodeEnded
Played = Step | EpisodeStarted
# Topics may overtake each other: what is stamped so near a beginning is of that episode, if heard before it.
NEAR_START_NS = 1_000_000_000


@dataclass
class _Open:
    """An episode that is not given out yet."""

    assembler: TransitionAssembler
    heard: list[Step] = field(default_factory=list)
    end: EpisodeEnded | None = None


class PlayedEpisodes:
    """As `TransitionAssembler`, but an episode id that was given out may be played again.

    An episode is given out when it is whole, or by `flush`, or when its id starts anew; one without an end
    is dropped when its id starts anew. Nothing heard past an episode's end is taken for another's.
    """

    def __init__(self, action_dim: int) -> None:
        self._action_dim = action_dim
        self._open: dict[int, _Open] = {}
        self._starts_ns: dict[int, int] = {}  # of the newest episode of an id
        self._ends: dict[int, EpisodeEnded] = {}  # of the episode of an id that was over last
        self.duplicates = 0
        self.late = 0  # messages past the end of an episode that is over

    def add(self, message: Played) -> list[AssembledEpisode]:
        """Takes one message; returns the episodes it completed."""
        if isinstance(message, EpisodeStarted):
            return self._start(message.episode_id, message.stamp_ns)
        if message.episode_id not in self._open and self._is_past_end(message):
            self.late += 1
            return []
        return self._take(message)

    def _is_past_end(self, message: Step) -> bool:
        end = self._ends.get(message.episode_id)
        if end is None or isinstance(message, EpisodeEnded):
            return message == end
        return message.step >= end.steps

    def _take(self, message: Step) -> list[AssembledEpisode]:
        new = _Open(TransitionAssembler(self._action_dim))
        episode = self._open.setdefault(message.episode_id, new)
        assembler = episode.assembler
        late, duplicates = assembler.late, assembler.duplicates
        episodes = assembler.add(message)
        if assembler.late > late and episode.end is not None:  # an aborted one that is whole is over
            self._close(message.episode_id)
            return self.add(message)
        self.duplicates += assembler.duplicates - duplicates
        episode.heard.append(message)
        if isinstance(message, EpisodeEnded):
            episode.end = episode.end or message
        if episodes:
            self._close(message.episode_id)
        return episodes

    def _start(self, episode_id: int, stamp_ns: int) -> list[AssembledEpisode]:
        before_ns, episode = self._starts_ns.get(episode_id), self._open.get(episode_id)
        self._starts_ns[episode_id] = stamp_ns
        if episode is None:
            return []
        if before_ns in (None, stamp_ns):  # imported episodes may all begin at one instant
            return self._give_up(episode_id) if episode.end else []
        new = [m for m in episode.heard if _is_near(m, stamp_ns)]
        self._close(episode_id)
        given = self._cut([m for m in episode.heard if not _is_near(m, stamp_ns)]) if episode.end else []
        return given + [e for m in new for e in self._take(m)]

    def _cut(self, messages: Sequence[Step]) -> list[AssembledEpisode]:
        """The episode of these messages, whatever it lacks."""
        assembler = TransitionAssembler(self._action_dim)
        return [e for m in messages for e in assembler.add(m)] + assembler.flush()

    def _close(self, episode_id: int) -> _Open:
        episode = self._open.pop(episode_id)
        if episode.end is not None:
            self._ends[episode_id] = episode.end
        return episode

    def _give_up(self, episode_id: int) -> list[AssembledEpisode]:
        return self._close(episode_id).assembler.flush()

    def flush(self) -> list[AssembledEpisode]:
        """Gives out every ended episode, complete or not."""
        ended = sorted(episode_id for episode_id, episode in self._open.items() if episode.end)
        return [e for episode_id in ended for e in self._give_up(episode_id)]


def _is_near(message: Step, start_ns: int) -> bool:
    return not isinstance(message, EpisodeEnded) and abs(message.stamp_ns - start_ns) <= NEAR_START_NS
