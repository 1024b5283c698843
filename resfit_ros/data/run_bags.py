"""The bags of a run as the learner's memory: rebuilds it after a restart, and fills in what was not heard."""

from collections.abc import Callable, Iterator
from pathlib import Path

from resfit_ros.core.errors import DataError
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.data.bag_directory import bag_paths_by_id
from resfit_ros.data.read_bags import read_episodes
from resfit_ros.data.recover_bags import recover


class RunBags:
    """Finished bags of the episodes below `directory`, which may be on another computer and so empty here.

    on_damage: takes what is wrong with a damaged bag, whose steps before the damage are used.
    """

    def __init__(
        self, directory: Path, joint_count: int, state_dim: int, on_damage: Callable[[str], None]
    ) -> None:
        self._directory, self._sizes, self._on_damage = directory, (joint_count, state_dim), on_damage
        self._newest = 0  # id of the newest episode that the learner has, or that is of no use to it
        self._filled_in: set[int] = set()

    def all(self) -> Iterator[AssembledEpisode]:
        """Every episode, for a replay buffer that is empty; first what a killed recorder left is recovered.

        Raises DataError when one is of another robot.
        """
        recover(self._directory)
        for episode_id, path in sorted(bag_paths_by_id(self._directory).items()):
            self._newest = episode_id
            yield from read_episodes([path], *self._sizes, self._on_damage)

    def completed(self, heard: AssembledEpisode) -> list[AssembledEpisode]:
        """An episode as it was heard, or as it was recorded where that holds more of its steps.

        Nothing when it was given out already.
        """
        episode_id = heard.end.episode_id
        if episode_id in self._filled_in:
            return []
        self._newest = max(self._newest, episode_id)
        recorded = self._read(episode_id) if heard.steps_lost else []
        return [e for e in recorded if e.steps_lost < heard.steps_lost] or [heard]

    def missed(self) -> list[AssembledEpisode]:
        """Episodes that were recorded since and not heard: their end came while nobody listened."""
        fresh = sorted(i for i in bag_paths_by_id(self._directory) if i > self._newest)
        self._filled_in.update(fresh)
        return [episode for i in fresh for episode in self._read(i)]

    def _read(self, episode_id: int) -> list[AssembledEpisode]:
        self._newest = max(self._newest, episode_id)
        path = bag_paths_by_id(self._directory).get(episode_id)
        try:
            return [] if path is None else list(read_episodes([path], *self._sizes, self._on_damage))
        except DataError as error:  # not of this robot: nothing that should stop a run under way
            self._on_damage(str(error))
            return []
