"""Episodes heard while bags are played: ids may come again, since each folder counts its own episodes."""

from collections.abc import Callable

from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Action, EpisodeEnded, EpisodeStarted, Executed, Observation

Played = Observation | Action | Executed | EpisodeStarted | EpisodeEnded


class PlayedEpisodes:
    """As `TransitionAssembler`, but an episode id that was given out may be played again.

    An episode is given out when it is whole, or by `flush`, or when its id starts anew.
    """

    def __init__(self, action_dim: int) -> None:
        self._new: Callable[[], TransitionAssembler] = lambda: TransitionAssembler(action_dim)
        self._by_id: dict[int, TransitionAssembler] = {}
        self._ended: set[int] = set()  # ids whose end was heard and which wait for the rest
        self.duplicates = 0

    def add(self, message: Played) -> list[AssembledEpisode]:
        """Takes one message; returns the episodes it completed."""
        episode_id = message.episode_id
        if isinstance(message, EpisodeStarted):
            return self._give_up(episode_id) if episode_id in self._ended else []
        assembler = self._by_id.setdefault(episode_id, self._new())
        late, duplicates = assembler.late, assembler.duplicates
        episodes = assembler.add(message)
        if assembler.late > late:  # that episode is over: this one is of another bag
            assembler, duplicates = self._new(), 0
            self._by_id[episode_id] = assembler
            episodes = assembler.add(message)
        self.duplicates += assembler.duplicates - duplicates
        if episodes:
            self._ended.discard(episode_id)
        elif isinstance(message, EpisodeEnded):
            self._ended.add(episode_id)
        return episodes

    def _give_up(self, episode_id: int) -> list[AssembledEpisode]:
        self._ended.discard(episode_id)
        return self._by_id.pop(episode_id).flush()

    def flush(self) -> list[AssembledEpisode]:
        """Gives out every ended episode, complete or not."""
        return [e for episode_id in sorted(self._ended) for e in self._give_up(episode_id)]
