"""Recorded episodes as learning data: read, checked, and with the base actions the base policy would have given."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.learning_config import NONE
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.run_layout import FINETUNE_BAGS
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_directory import bag_ids
from resfit_ros.data.base_of_run import BaseOfRun, base_of, demonstrations_of, policy_of_run
from resfit_ros.data.expected import learner_about
from resfit_ros.data.read_bags import bag_paths, read_episodes
from resfit_ros.policies.labelling import label_base_actions
from resfit_ros.policies.protocol import BasePolicy

OnNote = Callable[[str], None]  # takes each sentence on what is left out, and why


def refuse_fine_tuned(run_dir: Path) -> None:
    """Raises MismatchError where episodes of fine-tuning lie in `run_dir`: pretraining comes before them."""
    if bag_ids(run_dir / FINETUNE_BAGS):
        raise MismatchError(
            f"{run_dir}: fine-tuned already: {run_dir / FINETUNE_BAGS} holds its episodes; pretraining comes "
            "first: choose another run directory"
        )


def with_base_actions(
    episode: AssembledEpisode, policy: BasePolicy | None, p: LearnerParameters
) -> AssembledEpisode:
    """An episode with the base actions the policy would have given, by its chunk bookkeeping.

    A segment that follows a gap is labelled as if chunks had been flushed there. policy None, an existing
    controller: the episode as it was recorded.
    """
    if policy is None:
        return episode
    segments = tuple(label_base_actions(s, policy, p.chunking) for s in episode.segments)
    return dataclasses.replace(episode, segments=segments)


def read_recorded(
    directories: Sequence[Path], p: LearnerParameters, on_note: OnNote
) -> Iterator[AssembledEpisode]:
    """Every usable episode below the directories, in order, as it was recorded.

    Bags of another robot, unreadable and damaged ones are named to `on_note`; of damaged ones the steps
    before the damage are used. Raises DataError when a directory holds no bags.
    """
    for directory in directories:
        for path in bag_paths(directory):
            try:
                sizes = len(p.joint_names), p.layout.size
                episodes = list(read_episodes([path], *sizes, on_note, learner_about(p)))
            except DataError as error:
                on_note(str(error))
                continue
            usable = [e for e in episodes if e.segments]
            if not usable:
                on_note(f"{path}: left out: aborted, or without one whole step")
            yield from usable


@dataclass(frozen=True, eq=False)
class RecordedData:
    """Labelled episodes, and what learning needs to know of the base policy."""

    base: BaseOfRun
    episodes: list[AssembledEpisode]


def prepare_recorded(
    p: LearnerParameters,
    directories: Sequence[Path],
    on_note: OnNote,
    on_episode: Callable[[int, int], None] = lambda done, total: None,
) -> RecordedData:
    """Reads the bags, settles the scaling in the run directory, and labels the episodes.

    on_episode(labelled, in all). Raises DataError when nothing usable is left, MismatchError where the
    run directory was begun with another base policy.
    """
    with policy_of_run(p) as policy:
        episodes = list(read_recorded(directories, p, on_note))
        if not episodes:
            places = ", ".join(map(str, directories))
            raise DataError(f"{places}: no usable episode; record some, or see above what is wrong with each")
        successes = [s for e in episodes if e.end.outcome is Outcome.SUCCESS for s in e.segments]
        base = base_of(p, policy, demonstrations_of(p, on_note), successes)
        for i, episode in enumerate(episodes):
            episodes[i] = with_base_actions(episode, policy, p)
            on_episode(i + 1, len(episodes))
    return RecordedData(base, episodes)


def kept_episodes(
    bags: Sequence[str], p: LearnerParameters, on_note: OnNote
) -> Iterator[AssembledEpisode]:
    """The episodes of the bags a critic was pretrained on; none where none are kept.

    Raises DataError when their bags are gone.
    """
    if p.keep_offline_data == NONE or not bags:
        return
    directories = [Path(d) for d in bags]
    gone = [d for d in directories if not d.is_dir()]
    if gone:
        raise DataError(
            f"{gone[0]}: no such directory: the critic of {p.run_dir} was pretrained on its bags, which "
            "keep_offline_data keeps in replay; put them back, or set keep_offline_data: none"
        )
    with policy_of_run(p) as policy:
        for episode in read_recorded(directories, p, on_note):
            yield with_base_actions(episode, policy, p)
