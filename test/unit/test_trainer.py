"""The training schedule: phases, owed updates, share of demonstrations."""

import numpy as np
import pytest
from builders import identity_normaliser, make_segment, small_config

from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.trainer import Trainer

# Warm-up 10 steps, 5 critic-only updates, 2 updates per step, done after 20 steps.
SCHEDULE = dict(warmup_steps=10, critic_only_updates=5, utd=2.0, total_steps=20, actor_delay=1)


def make_trainer(**changes) -> Trainer:
    return Trainer(small_config(**(SCHEDULE | changes)), identity_normaliser(3, 2))


def walk(trainer: Trainer, steps: int) -> Trainer:
    trainer.add(make_segment(np.random.default_rng(steps), steps))
    return trainer


def work_off(trainer: Trainer) -> int:
    done = 0
    while trainer.train_one():
        done += 1
    return done


@pytest.mark.parametrize(
    ("steps", "due"), [(0, 0), (9, 0), (10, 5), (11, 7), (15, 15), (20, 25), (30, 25)]
)
def test_when_steps_were_taken_expect_these_updates_due(steps, due):
    trainer = make_trainer()
    if steps:
        walk(trainer, steps)
    assert (trainer.updates_due, trainer.owed_updates) == (due, due)


def test_when_utd_is_a_fraction_expect_updates_rounded_down():
    trainer = walk(make_trainer(utd=0.3, critic_only_updates=0), 15)
    assert trainer.updates_due == 1


def test_when_updates_are_done_expect_fewer_owed():
    trainer = walk(make_trainer(), 11)
    assert trainer.train_one() and trainer.train_one()
    assert trainer.owed_updates == 5


def test_when_all_is_worked_off_expect_exactly_what_was_due():
    trainer = walk(make_trainer(), 11)
    assert work_off(trainer) == 7
    assert trainer.agent.critic_updates == 7
    assert trainer.train_one() is False


def test_when_training_proceeds_expect_the_phases_in_order():
    trainer = make_trainer()
    seen = [trainer.phase]
    walk(trainer, 9)
    seen.append(trainer.phase)
    walk(trainer, 2)
    while trainer.phase is not LearnerPhase.DONE:
        seen.append(trainer.phase)
        if not trainer.train_one():
            walk(trainer, 5)
    warm_up, critic_only = [LearnerPhase.WARM_UP] * 2, [LearnerPhase.CRITIC_ONLY] * 5
    assert seen[:7] == warm_up + critic_only
    assert set(seen[7:]) == {LearnerPhase.TRAINING}
    assert trainer.agent.critic_updates == 25


def test_when_steps_are_used_up_but_updates_owed_expect_not_done():
    trainer = walk(make_trainer(), 20)
    assert trainer.phase is LearnerPhase.CRITIC_ONLY
    work_off(trainer)
    assert trainer.phase is LearnerPhase.DONE


def test_when_critic_learns_alone_expect_no_actor_update():
    trainer = walk(make_trainer(), 11)
    for _ in range(5):
        trainer.train_one()
    assert trainer.agent.actor_updates == 0
    trainer.train_one()
    assert trainer.agent.actor_updates == 1


def test_when_there_are_only_demonstrations_expect_no_update():
    trainer = make_trainer(warmup_steps=0)
    trainer.add_demonstrations([make_segment(np.random.default_rng(0), 5)])
    assert trainer.owed_updates == 5
    assert trainer.train_one() is False


def marked_trainer(fraction: float, demonstrations: bool = True) -> Trainer:
    """States are +1 in demonstrations and -1 online."""
    rng = np.random.default_rng(0)
    trainer = make_trainer(batch_size=64, offline_fraction=fraction)
    trainer.add(make_segment(rng, 12, states=np.full((13, 3), -1, np.float32)))
    if demonstrations:
        trainer.add_demonstrations(
            make_segment(rng, 5, states=np.full((6, 3), 1, np.float32)) for _ in range(2)
        )
    return trainer


@pytest.mark.parametrize(("fraction", "expected"), [(0.5, 32), (0.25, 16), (0.0, 0)])
def test_when_sampled_expect_the_configured_share_of_demonstrations(fraction, expected):
    batch = marked_trainer(fraction).sample()
    states = batch.observation.state[:, 0]
    assert (states == 1).sum() == expected
    assert (states == -1).sum() == 64 - expected


def test_when_there_are_no_demonstrations_expect_a_full_online_batch():
    batch = marked_trainer(0.5, demonstrations=False).sample()
    assert (batch.observation.state[:, 0] == -1).sum() == 64


def test_when_demonstrations_are_added_expect_no_steps_counted():
    assert marked_trainer(0.5).env_steps == 12


def test_when_trained_expect_running_averages_of_the_metrics():
    trainer = walk(make_trainer(), 12)
    work_off(trainer)
    assert {"critic_loss", "q_mean", "target_mean", "actor_loss", "residual_ratio"} <= set(
        trainer.metrics
    )
    assert 0 <= trainer.metrics["critic_loss"] < 1


def test_when_seeds_are_the_same_expect_identical_training():
    def losses() -> list[float]:
        trainer = walk(make_trainer(seed=3), 20)
        return [
            trainer.agent.update(trainer.sample())["critic_loss"].item() for _ in range(10)
        ]

    assert losses() == losses()
