"""Demonstration bags as learning data."""

from collections.abc import Callable, Sequence
from pathlib import Path

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome, Segment
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.read_bags import bag_paths, read_episodes
from resfit_ros.policies.labelling import label_base_actions
from resfit_ros.policies.protocol import BasePolicy


def successful_segments(
    directory: Path,
    joint_count: int,
    state_dim: int | None = None,
    expected: BagAbout | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Segment]:
    """One segment per successful episode without gaps, of the robot that is expected.

    on_note: takes what is wrong with a bag, which is then left out; without it that is raised as DataError.
    Raises DataError when there is no such episode.
    """
    episodes = []
    for path in bag_paths(directory):
        try:
            episodes += read_episodes([path], joint_count, state_dim, expected=expected)
        except DataError as error:
            if on_note is None:
                raise
            on_note(f"left out of the demonstrations: {error}")
    whole = [
        e.segments[0]
        for e in episodes
        if e.end.outcome is Outcome.SUCCESS
        and len(e.segments) == 1
        and len(e.segments[0]) == e.end.steps
    ]
    if not whole:
        raise DataError(
            f"{directory}: none of its {len(episodes)} episodes is a complete success; "
            "record demonstrations that succeed"
        )
    return whole


def labelled(segments: Sequence[Segment], policy: BasePolicy, chunking: Chunking) -> list[Segment]:
    """The segments with base actions computed by `policy`, as it would have acted online."""
    return [label_base_actions(segment, policy, chunking) for segment in segments]
