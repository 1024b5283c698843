"""What changes with the environment steps: residual scale, noise, the actor's learning rate."""

import numpy as np
import pytest
import torch
from builders import identity_normaliser, make_segment, small_config
from learning_builders import make_agent, observations, same

from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.trainer import Trainer

# Warm-up 10 steps, then 2 critic-only updates, 1 update per step.
GROWING = dict(residual_scale=0.3, residual_scale_start=0.1, residual_scale_steps=40)
FALLING = dict(exploration_std=0.2, exploration_std_end=0.04, exploration_steps=40)


def trainer_after(steps: int, **changes) -> Trainer:
    trainer = Trainer(small_config(**changes), identity_normaliser(3, 2))
    if steps:
        trainer.add(make_segment(np.random.default_rng(0), steps))
    return trainer


# --- residual scale ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "scale"), [(0, 0.1), (10, 0.1), (20, 0.15), (30, 0.2), (50, 0.3), (300, 0.3)]
)
def test_when_residual_scale_has_a_schedule_expect_it_to_grow_after_the_warm_up(steps, scale):
    assert trainer_after(steps, **GROWING).residual_scale == pytest.approx(scale)


@pytest.mark.parametrize("steps", [0, 10, 11, 300])
def test_when_residual_scale_has_no_schedule_expect_it_constant(steps):
    assert trainer_after(steps, residual_scale=0.3, residual_scale_start=0.1).residual_scale == 0.3


def test_when_scale_starts_above_its_end_expect_it_to_fall():
    changes = GROWING | {"residual_scale_start": 0.5}
    scales = [trainer_after(steps, **changes).residual_scale for steps in (10, 30, 50)]
    assert scales == pytest.approx([0.5, 0.4, 0.3])


@pytest.mark.parametrize("steps", [0, 10, 300])
def test_when_there_is_no_base_policy_expect_the_whole_range_at_all_times(steps):
    assert trainer_after(steps, rlpd=True, **GROWING).residual_scale == 1.0


def test_when_updated_expect_the_agents_scale_to_follow():
    trainer = trainer_after(30, **GROWING)
    trainer.train_one()
    assert trainer.agent.residual_scale == pytest.approx(0.2)
    trainer.add(make_segment(np.random.default_rng(1), 20))
    trainer.train_one()
    assert trainer.agent.residual_scale == pytest.approx(0.3)


def test_when_the_agents_scale_changes_expect_its_residual_within_it():
    agent = make_agent(residual_scale=0.4)
    torch.nn.init.constant_(agent.actor.head.bias, 100.0)
    agent.residual_scale = 0.15
    residual = agent.residual(agent.encode(observations(0)))
    assert residual.unique().tolist() == pytest.approx([0.15])
    assert agent.update_actor(observations(0))["residual_ratio"].item() == pytest.approx(1.0)


# --- noise -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "std"), [(10, 0.2), (20, 0.16), (30, 0.12), (50, 0.04), (300, 0.04)]
)
def test_when_exploration_has_a_schedule_expect_it_to_fall_to_its_end(steps, std):
    assert trainer_after(steps, **FALLING).exploration_std == pytest.approx(std)


@pytest.mark.parametrize("steps", [10, 20, 300])
def test_when_exploration_has_no_schedule_expect_it_constant(steps):
    trainer = trainer_after(steps, exploration_std=0.2, exploration_std_end=0.04)
    assert trainer.exploration_std == 0.2


@pytest.mark.parametrize(("steps", "std"), [(0, 0.15), (9, 0.15), (10, 0.2)])
def test_when_warming_up_expect_its_own_noise(steps, std):
    assert trainer_after(steps, warmup_std=0.15, **FALLING).exploration_std == std


# --- what whoever acts is told -----------------------------------------------------------------


def test_when_actor_has_not_learnt_yet_expect_base_and_noise_within_the_largest_scale():
    trainer = trainer_after(12, **GROWING)
    assert trainer.phase is LearnerPhase.CRITIC_ONLY
    schedule = trainer.acting_schedule(4)
    assert (schedule.warm_up, schedule.residual_scale, schedule.version) == (True, 0.3, 4)
    assert schedule.exploration_std == 0.05


def test_when_actor_has_learnt_expect_the_scale_of_the_schedule():
    trainer = trainer_after(30, **(GROWING | FALLING))
    while not trainer.agent.actor_updates:
        assert trainer.train_one()
    schedule = trainer.acting_schedule(7)
    assert (schedule.warm_up, schedule.without_base, schedule.version) == (False, False, 7)
    assert schedule.residual_scale == pytest.approx(0.2)
    assert schedule.exploration_std == pytest.approx(0.12)


def test_when_there_is_no_base_policy_expect_the_actor_told_so():
    schedule = trainer_after(0, rlpd=True).acting_schedule()
    assert (schedule.without_base, schedule.residual_scale) == (True, 1.0)


# --- the actor's learning rate -----------------------------------------------------------------


def rates(count: int, **changes) -> list[float]:
    """The actor's learning rate at each of its updates."""
    agent, seen = make_agent(actor_lr=1e-3, **changes), []
    for seed in range(count):
        agent.update_actor(observations(seed))
        seen.append(agent.actor_optimiser.param_groups[0]["lr"])
    return seen


def test_when_learning_rate_warms_up_expect_it_to_grow_from_zero_to_its_value():
    expected = [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3, 1e-3]
    assert rates(6, actor_lr_warmup=4) == pytest.approx(expected)


def test_when_there_is_no_warm_up_expect_the_full_learning_rate_at_once():
    assert rates(2) == [1e-3, 1e-3]


def test_when_learning_rate_warms_up_expect_the_first_step_that_much_smaller():
    def first_step(warmup: int) -> torch.Tensor:
        agent = make_agent(actor_lr=1e-3, actor_lr_warmup=warmup)
        before = agent.actor.head.bias.detach().clone()
        agent.update_actor(observations(0))
        return agent.actor.head.bias.detach() - before

    torch.testing.assert_close(10 * first_step(10), first_step(0), atol=1e-6, rtol=1e-3)


def test_when_actor_is_held_back_expect_it_as_it_began():
    trainer = trainer_after(30, critic_only_updates=8)
    before = [p.detach().clone() for p in trainer.agent.actor.parameters()]
    for _ in range(8):
        trainer.train_one()
    assert same(trainer.agent.actor, before)
