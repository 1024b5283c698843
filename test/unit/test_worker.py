"""The training thread."""

import os
from pathlib import Path

import numpy as np
import pytest
from builders import identity_normaliser, make_segment, small_config

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import EpisodeEnded, LearnerPhase, Outcome
from resfit_ros.learning.checkpoint import checkpoints, restore_newest
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import load_actor, sha256
from resfit_ros.learning.worker import LearnerWorker, PublishedActor

NORMALISER = identity_normaliser(3, 2)
# Warm-up 10 steps, then 2 critic-only updates, 1 update per step; done after 30 steps: 22 updates.
SCHEDULE = dict(total_steps=30, publish_every=2)


def episode(number: int, steps: int = 10, outcome=Outcome.SUCCESS, lost: int = 0) -> AssembledEpisode:
    segment = make_segment(np.random.default_rng(number), steps, terminal=True)
    return AssembledEpisode(EpisodeEnded(0, number, outcome, steps), (segment,), lost)


def make_worker(directory: Path, **changes) -> tuple[LearnerWorker, list[PublishedActor]]:
    published: list[PublishedActor] = []
    trainer = Trainer(small_config(**(SCHEDULE | changes)), NORMALISER)
    return LearnerWorker(trainer, directory, {}, 1e9, published.append), published


def run_to_the_end(worker: LearnerWorker) -> None:
    """Until everything due after three episodes is done."""
    worker.start()
    for number in (1, 2, 3):
        worker.add(episode(number))
    for _ in range(3000):
        if worker.progress().phase is LearnerPhase.DONE:
            break
        worker._thread.join(timeout=0.01)
    worker.stop()


def test_when_all_steps_came_expect_every_update_done_and_a_checkpoint(tmp_path):
    worker, _ = make_worker(tmp_path)
    run_to_the_end(worker)
    progress = worker.progress()
    assert (progress.env_steps, progress.critic_updates, progress.owed_updates) == (30, 22, 0)
    resumed = Trainer(small_config(**SCHEDULE), NORMALISER)
    path, _ = restore_newest(tmp_path, resumed)
    assert path == worker.last_checkpoint
    assert resumed.agent.critic_updates == 22


def test_when_training_expect_versions_counted_and_warm_up_first(tmp_path):
    worker, published = make_worker(tmp_path)
    run_to_the_end(worker)
    assert [actor.version for actor in published] == list(range(1, len(published) + 1))
    assert (published[0].warm_up, published[0].exploration_std) == (True, 0.1)
    assert (published[-1].warm_up, published[-1].exploration_std) == (False, 0.05)


def test_when_published_expect_weights_that_load(tmp_path):
    worker, published = make_worker(tmp_path)
    run_to_the_end(worker)
    policy = load_actor(published[-1].data, sha256(published[-1].data), NORMALISER)
    assert policy(np.ones(3, np.float32), np.ones(2, np.float32), 0.0).any()


def test_when_stopped_early_expect_a_checkpoint_of_what_is_done(tmp_path):
    worker, _ = make_worker(tmp_path)
    worker.start()
    worker.stop()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-00000000-00000000"]


def test_when_paused_expect_steps_taken_in_but_no_update(tmp_path):
    worker, _ = make_worker(tmp_path)
    worker.pause(True)
    worker.add(episode(1, steps=20))
    assert worker._one_round() is False
    progress = worker.progress()
    assert (progress.phase, progress.env_steps) == (LearnerPhase.PAUSED, 20)
    assert progress.critic_updates == 0
    worker.pause(False)
    assert worker._one_round() is True


def test_when_episodes_are_taken_in_expect_them_counted(tmp_path):
    worker, _ = make_worker(tmp_path)
    assert np.isnan(worker.progress().success_rate)
    worker.take_in(episode(4))
    worker.take_in(episode(5, outcome=Outcome.TIMEOUT, lost=2))
    progress = worker.progress()
    assert (progress.episodes, progress.last_episode_id, progress.steps_lost) == (2, 5, 2)
    assert progress.success_rate == 0.5


def test_when_checkpoint_cannot_be_written_expect_the_problem_kept_until_it_can(
    tmp_path, monkeypatch
):
    def disk_full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    worker, _ = make_worker(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk_full)
        worker._save()
    assert "No space left on device" in worker.problem
    worker._save()
    assert worker.problem is None


@pytest.mark.parametrize(("average", "expected"), [(True, "average_actor"), (False, "actor")])
def test_when_configured_expect_that_actor_published(tmp_path, average, expected):
    worker, published = make_worker(tmp_path, act_with_average=average, actor_lr=0.01)
    run_to_the_end(worker)
    worker._publish()
    policy = load_actor(published[-1].data, sha256(published[-1].data), NORMALISER)
    given = dict(policy._actor.named_parameters())["head.bias"]
    wanted = getattr(worker.trainer.agent, expected).head.bias
    assert given.tolist() == wanted.tolist()
