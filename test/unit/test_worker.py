"""The training thread."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from builders import identity_normaliser, make_segment, small_config

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import EpisodeEnded, LearnerPhase, Observation, Outcome
from resfit_ros.learning.checkpoint import checkpoints, restore_newest
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import load_actor
from resfit_ros.learning.worker import SUCCESS_WINDOW, LearnerWorker, PublishedActor

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
    assert [actor.schedule.version for actor in published] == list(range(1, len(published) + 1))
    first, last = published[0].schedule, published[-1].schedule
    assert (first.warm_up, first.exploration_std) == (True, 0.1)
    assert (last.warm_up, last.exploration_std) == (False, 0.05)
    assert (published[0].env_steps, published[-1].env_steps) == (0, 30)


def test_when_the_warm_up_ends_expect_its_noise_to_end_at_once(tmp_path):
    worker, published = make_worker(tmp_path)
    worker.add(episode(1))
    worker._one_round()
    assert [actor.schedule.exploration_std for actor in published] == [0.05]


def test_when_residual_scale_has_a_schedule_expect_it_published_as_it_grows(tmp_path):
    growing = dict(residual_scale=0.3, residual_scale_start=0.1, residual_scale_steps=40)
    worker, published = make_worker(tmp_path, **growing)
    run_to_the_end(worker)
    assert published[0].schedule.residual_scale == 0.3  # bounds the noise of the warm-up
    assert published[-1].schedule.residual_scale == pytest.approx(0.2)


def test_when_published_expect_weights_that_load(tmp_path):
    worker, published = make_worker(tmp_path)
    run_to_the_end(worker)
    policy = load_actor(published[-1].data, sha256(published[-1].data), NORMALISER)
    observation = Observation(0, 0, 0, np.ones(3, np.float32))
    assert policy(observation, np.ones(2, np.float32), 0.0).any()


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


# --- warnings ----------------------------------------------------------------------------------


def keys(worker: LearnerWorker) -> list[str]:
    return [advice.key for advice in worker.progress().warnings]


def take_in(worker: LearnerWorker, outcomes: list[bool]) -> None:
    for number, success in enumerate(outcomes):
        worker.take_in(episode(number, 1, Outcome.SUCCESS if success else Outcome.TIMEOUT))


def test_when_nothing_is_known_yet_expect_no_warning(tmp_path):
    assert keys(make_worker(tmp_path)[0]) == []


def test_when_no_episode_succeeds_expect_a_warning_after_the_thirtieth(tmp_path):
    worker, _ = make_worker(tmp_path)
    take_in(worker, [False] * 29)
    assert "no_success" not in keys(worker)
    take_in(worker, [False])
    assert "no_success" in keys(worker)


def test_when_half_of_each_batch_should_be_demonstrations_and_none_are_there_expect_a_warning(tmp_path):
    worker, _ = make_worker(tmp_path)
    worker.add(episode(1))
    worker._one_round()
    (advice,) = (a for a in worker.progress().warnings if a.key == "no_demonstrations")
    assert "demo_dir" in advice.sentence


def judged(worker: LearnerWorker, monkeypatch) -> dict[str, float]:
    """The figures that advice is given on."""
    seen = []
    with monkeypatch.context() as patched:
        patched.setattr("resfit_ros.learning.worker.advise", lambda d, c: seen.append(d) or [])
        worker.progress()
    return dataclasses.asdict(seen[0])


def test_when_first_window_is_not_full_expect_no_success_rate_of_the_start(tmp_path, monkeypatch):
    worker, _ = make_worker(tmp_path)
    take_in(worker, [True] * (SUCCESS_WINDOW - 1))
    assert np.isnan(judged(worker, monkeypatch)["success_rate_start"])
    take_in(worker, [False])
    figures = judged(worker, monkeypatch)
    assert figures["success_rate_start"] == pytest.approx(1 - 1 / SUCCESS_WINDOW)


def test_when_more_episodes_come_expect_the_start_kept_and_the_newest_window_judged(tmp_path, monkeypatch):
    worker, _ = make_worker(tmp_path)
    take_in(worker, [True, False] * (SUCCESS_WINDOW // 2))
    take_in(worker, [True, True, True, False, False] * (SUCCESS_WINDOW // 5) + [True] * 10)
    figures = judged(worker, monkeypatch)
    assert figures["success_rate_start"] == 0.5
    assert figures["success_rate"] == pytest.approx((0.6 * 40 + 10) / SUCCESS_WINDOW)
    assert (figures["episodes"], worker.progress().success_rate) == (110, figures["success_rate"])


def test_when_progress_is_asked_for_expect_the_figures_in_use_now(tmp_path):
    worker, _ = make_worker(tmp_path, residual_scale=0.3)
    assert worker.progress().metrics["residual_scale"] == 0.3
    assert worker.progress().metrics["exploration_std"] == 0.1
    worker.take_in(episode(1, steps=15))
    metrics = worker.progress().metrics
    assert (metrics["exploration_std"], metrics["update_lag"]) == (0.05, 7.0)


def test_when_training_ran_expect_the_figures_of_its_updates(tmp_path):
    worker, _ = make_worker(tmp_path)
    run_to_the_end(worker)
    metrics = worker.progress().metrics
    assert {"critic_loss", "actor_loss", "dead_share_critic", "demo_share"} <= set(metrics)
    assert np.isfinite(list(metrics.values())).all()


def test_when_the_thread_fails_expect_the_reason_kept(tmp_path, monkeypatch):
    worker, _ = make_worker(tmp_path)
    monkeypatch.setattr(worker.trainer, "train_one", lambda: 1 / 0)
    worker.add(episode(1))
    worker.start()
    worker._thread.join(timeout=10)
    assert isinstance(worker.failure, ZeroDivisionError)
