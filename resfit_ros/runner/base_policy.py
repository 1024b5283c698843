"""Demonstrations of the scripted expert and the base policy cloned from them, as the graph makes them."""

import dataclasses
import fcntl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig
from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome, Segment
from resfit_ros.policies.chunk_policy import ChunkPolicy
from resfit_ros.policies.expert import ExpertPolicy
from resfit_ros.policies.loading import load_base_policy
from resfit_ros.runner.cloning import clone_policy
from resfit_ros.runner.job import LOCK
from resfit_ros.runner.lockstep import LockstepRobot
from resfit_ros.runner.settings import RobotSettings, node_parameters

TRIES_PER_SUCCESS = 50

# on_progress(done, total, words)
Progress = Callable[[float, float, str], None]


def record_demonstrations(config: RunConfig, seed: int, on_progress: Progress) -> list[Segment]:
    """Successful episodes of the expert, as many as train_bc.demonstrations says, failures skipped.

    The same episodes, from the same scenes, that `resfit record` records. Raises DataError when
    hardly any succeeds.
    """
    settings, wanted = RobotSettings.of(config), config.behaviour_cloning.demonstrations
    expert = ExpertPolicy(settings.aggregator.joint_names, settings.aggregator.layout, seed)
    robot = LockstepRobot(settings, expert, Chunking(execute_steps=1))
    won: list[Segment] = []
    tried = 0
    while len(won) < wanted:
        if tried == TRIES_PER_SUCCESS * wanted:
            raise DataError(
                f"only {len(won)} of {tried} demonstrations succeeded; raise episode_manager.max_steps"
            )
        tried += 1
        episode = robot.run_episode(tried, graphs.scenes(seed, graphs.RECORD_SCENES) + tried)
        if episode.end.outcome is Outcome.SUCCESS:
            won += episode.segments
        on_progress(len(won), wanted, f"demonstrations: {len(won)} of {tried} succeeded")
    robot.close()
    return won


def train_base_policy(
    config: RunConfig, segments: Sequence[Segment], directory: Path, seed: int, on_progress: Progress
) -> None:
    """Clones a chunk policy into `directory`; does nothing when another process has done it already."""
    bc = dataclasses.replace(config.behaviour_cloning, seed=seed)
    with _locked(directory):
        if directory.exists():
            return
        clone_policy(
            config,
            bc,
            segments,
            directory,
            lambda update, loss, _: on_progress(update, bc.updates, f"base policy: loss {loss:.4f}"),
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time trains the base policy that several jobs share."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_policy(config: RunConfig, directory: Path) -> ChunkPolicy:
    """The base policy of a directory, checked against the robot's joints, state and chunk length."""
    return load_base_policy(node_parameters(config, "base_policy", {"policy": str(directory)}))
