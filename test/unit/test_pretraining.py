"""Critic-only updates on recorded data: what they change, what they leave, and when they stop."""

import dataclasses

import numpy as np
import pytest
import torch
from builders import identity_normaliser, make_segment, small_config
from learning_builders import copied, same

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import EpisodeEnded, LearnerPhase, Outcome
from resfit_ros.learning.checkpoint import restore, save_checkpoint
from resfit_ros.learning.held_out import Calibration, TDProbe, calibrate, split_held_out
from resfit_ros.learning.pretraining import pretrain
from resfit_ros.learning.schedule import Pretraining
from resfit_ros.learning.trainer import Trainer

NORMALISER = identity_normaliser(3, 2)
UPDATES = 20


def episode(number: int, outcome: Outcome = Outcome.SUCCESS, steps: int = 8) -> AssembledEpisode:
    success = outcome is Outcome.SUCCESS
    segment = make_segment(np.random.default_rng(number), steps, terminal=success, episode_id=number)
    segment = dataclasses.replace(segment, terminal=outcome is not Outcome.TIMEOUT)
    return AssembledEpisode(EpisodeEnded(0, number, outcome, steps, -1, "test"), (segment,), 0)


def episodes(successes: int = 4, timeouts: int = 6) -> list[AssembledEpisode]:
    ends = [Outcome.SUCCESS] * successes + [Outcome.TIMEOUT] * timeouts
    return [episode(i + 1, outcome) for i, outcome in enumerate(ends)]


def make_trainer(**changes) -> Trainer:
    return Trainer(small_config(**{"pretrain_updates": UPDATES} | changes), NORMALISER)


def filled(**changes) -> Trainer:
    trainer = make_trainer(**changes)
    for one in episodes():
        trainer.add_recorded(one)
    return trainer


# --- data --------------------------------------------------------------------------------------


def test_when_episodes_are_recorded_ones_expect_all_in_replay_and_successes_as_demonstrations():
    trainer = filled()
    assert (len(trainer.online), len(trainer.demonstrations)) == (80, 32)
    assert (trainer.env_steps, trainer.recorded_steps) == (0, 80)


@pytest.mark.parametrize(("keep", "sizes"), [("all", (80, 32)), ("successes", (0, 32)), ("none", (0, 0))])
def test_when_recorded_data_is_kept_expect_as_much_as_was_asked_for(keep, sizes):
    trainer = make_trainer(pretrain_updates=0)
    for one in episodes():
        trainer.add_recorded(one, keep)
    assert (len(trainer.online), len(trainer.demonstrations)) == sizes


def test_when_demonstrations_are_given_apart_expect_no_recorded_success_among_them():
    trainer = make_trainer()
    trainer.successes_demonstrate = False
    trainer.add_recorded(episode(1))
    assert (len(trainer.online), len(trainer.demonstrations)) == (8, 0)


def test_when_a_human_drove_in_a_failure_expect_those_steps_among_the_demonstrations():
    trainer, failure = make_trainer(), episode(2, Outcome.FAILURE)
    drove = dataclasses.replace(failure.segments[0], interventions=np.arange(8) < 3)
    trainer.add_recorded(episode(1))
    trainer.add_recorded(dataclasses.replace(failure, segments=(drove,)))
    assert (len(trainer.online), len(trainer.demonstrations)) == (16, 8 + 3)


def test_when_a_success_has_a_gap_expect_it_in_replay_but_no_demonstration():
    trainer, whole = make_trainer(), episode(1)
    cut = dataclasses.replace(whole, end=dataclasses.replace(whole.end, steps=9), steps_lost=1)
    trainer.add_recorded(cut)
    assert (len(trainer.online), len(trainer.demonstrations)) == (8, 0)


def test_when_episodes_are_held_out_expect_a_share_of_every_outcome_and_none_in_both():
    given = episodes(20, 30)
    learnt, held_out = split_held_out(given, 0.1, seed=3)
    outcomes = [e.end.outcome for e in held_out]
    assert (outcomes.count(Outcome.SUCCESS), outcomes.count(Outcome.TIMEOUT)) == (2, 3)
    ids = [e.end.episode_id for e in learnt + held_out]
    assert sorted(ids) == [e.end.episode_id for e in given]


@pytest.mark.parametrize(("count", "fraction", "held_out"), [(1, 0.5, 0), (2, 0.1, 1), (2, 0.9, 1), (10, 0.0, 0)])
def test_when_there_are_few_episodes_expect_some_left_to_learn_from(count, fraction, held_out):
    learnt, held = split_held_out(episodes(count, 0), fraction, seed=0)
    assert (len(learnt), len(held)) == (count - held_out, held_out)


# --- updates -----------------------------------------------------------------------------------


def test_when_pretrained_expect_critics_changed_and_the_actor_at_its_start():
    trainer = filled()
    actor, critic = copied(trainer.agent.actor), copied(trainer.agent.critic)
    record = pretrain(trainer)
    assert trainer.agent.critic_updates == UPDATES
    assert same(trainer.agent.actor, actor)
    assert not same(trainer.agent.critic, critic)
    assert (record.updates[0], record.updates[-1]) == (0, UPDATES)
    assert trainer.phase is LearnerPhase.DONE


def test_when_the_actor_is_warm_started_expect_it_to_learn_in_the_last_updates_alone():
    trainer = filled(warm_start_updates=6)
    pretrain(trainer)
    assert trainer.agent.critic_updates == UPDATES + 6
    assert trainer.agent.actor_updates == 3  # every second update


def test_when_the_errors_are_measured_expect_the_same_training_as_without():
    watched, plain = filled(), filled()
    pretrain(watched, episodes(2, 2))
    plain.all_heard = True
    while plain.train_one():
        pass
    assert same(watched.agent.critic, copied(plain.agent.critic))


def test_when_measured_twice_expect_the_same_error():
    trainer = filled()
    probe = TDProbe(trainer, [(trainer.online, 32)])
    assert probe() == probe()


@pytest.mark.parametrize("kind", [{}, {"critic_kind": "c51"}, {"critic_kind": "hl_gauss"}])
@pytest.mark.parametrize("conservative", ["cql", "cal_ql"])
def test_when_regularised_expect_every_kind_of_critic_to_learn(kind, conservative):
    record = pretrain(filled(conservative=conservative, value_bins=11, **kind), episodes(2, 2))
    assert len(record.conservative_gap) == len(record.updates) - 1
    assert np.isfinite(record.conservative_gap).all()


def test_when_critics_diverge_expect_training_stopped_with_the_last_sound_ones():
    trainer = filled(pretrain_updates=100, clip_targets=False)
    train_one, looked = trainer.train_one, []

    def explode() -> bool:
        if trainer.agent.critic_updates == 50:
            with torch.no_grad():
                trainer.agent.critic.head.bias.fill_(1e6)
        return train_one()

    trainer.train_one = explode
    record = pretrain(trainer, on_look=lambda done, total, words: looked.append(done))
    assert record.diverged_by == 52
    assert trainer.agent.critic_updates == looked[-1] == 50
    assert trainer.agent.critic.head.bias.detach().abs().max().item() < 10


def test_when_critics_diverge_at_once_expect_what_to_lower():
    trainer = filled()
    train_one = trainer.train_one

    def explode() -> bool:
        with torch.no_grad():
            trainer.agent.critic.head.bias.fill_(float("nan"))
        return train_one()

    trainer.train_one = explode
    with pytest.raises(DataError, match="diverged within 1 updates; lower critic_lr"):
        pretrain(trainer)


def test_when_there_is_nothing_to_learn_from_expect_refusal():
    with pytest.raises(DataError, match="not one whole step"):
        pretrain(make_trainer())


def test_when_data_still_comes_expect_no_more_updates_than_the_ratio_allows():
    trainer = make_trainer(utd=0.5)
    assert trainer.phase is LearnerPhase.WAITING
    trainer.add_recorded(episode(1))
    assert trainer.updates_due == 4
    trainer.all_heard = True
    assert trainer.updates_due == UPDATES


# --- fine-tuning from it -----------------------------------------------------------------------


def pretrained(directory, **changes):
    trainer = filled()
    trainer.before = Pretraining(bags=("/data/bags",))
    pretrain(trainer)
    path = save_checkpoint(directory, trainer, {})
    fresh = make_trainer(**{"pretrain_updates": 0, "utd": 1.0, "critic_only_updates": 100} | changes)
    return path, trainer, fresh


def test_when_fine_tuning_starts_expect_the_pretrained_weights_and_no_steps(tmp_path):
    path, trainer, fresh = pretrained(tmp_path)
    restore(path, fresh)
    assert same(fresh.agent.critic, copied(trainer.agent.critic))
    assert same(fresh.agent.target_critic, copied(trainer.agent.target_critic))
    assert (fresh.env_steps, fresh.agent.critic_updates) == (0, UPDATES)
    assert fresh.before == Pretraining(UPDATES, ("/data/bags",))


def test_when_recorded_data_is_kept_expect_the_actor_to_learn_from_the_first_step(tmp_path):
    path, _, fresh = pretrained(tmp_path)
    restore(path, fresh)
    for one in episodes():
        fresh.add_recorded(one)
    assert (fresh.phase, fresh.owed_updates) == (LearnerPhase.TRAINING, 0)
    fresh.add(episode(11).segments[0])
    assert fresh.owed_updates == 8
    while fresh.train_one():
        pass
    assert fresh.agent.actor_updates == 4


def test_when_no_recorded_data_is_kept_expect_the_usual_warm_up(tmp_path):
    path, _, fresh = pretrained(tmp_path)
    restore(path, fresh)
    assert fresh.phase is LearnerPhase.WARM_UP
    assert fresh.warmup_steps == 10


def test_when_fine_tuning_is_resumed_expect_it_to_remember_its_pretraining(tmp_path):
    path, _, fresh = pretrained(tmp_path)
    restore(path, fresh)
    fresh.add(episode(11).segments[0])
    again = make_trainer(pretrain_updates=0)
    restore(save_checkpoint(tmp_path / "later", fresh, {}), again)
    assert again.before == fresh.before


def test_when_the_discount_is_another_one_expect_both_named(tmp_path):
    path, _, fresh = pretrained(tmp_path, discount=0.5)
    with pytest.raises(MismatchError, match="discount 0.99, here it is 0.5"):
        restore(path, fresh)


def test_when_a_run_is_fine_tuned_expect_pretraining_refused(tmp_path):
    _, _, fresh = pretrained(tmp_path)
    fresh.add(episode(11).segments[0])
    path = save_checkpoint(tmp_path / "later", fresh, {})
    with pytest.raises(MismatchError, match="fine-tuned for 8 environment steps already"):
        restore(path, make_trainer())


def test_when_the_warm_up_leaves_no_step_expect_refusal():
    with pytest.raises(ConfigError, match="warmup_after_pretraining 1000"):
        small_config(warmup_after_pretraining=1000)


# --- calibration -------------------------------------------------------------------------------


def test_when_calibrated_expect_returns_to_go_and_timeouts_marked():
    trainer = filled()
    calibration = calibrate(trainer, [episode(1, steps=3), episode(2, Outcome.TIMEOUT, steps=2)])
    np.testing.assert_allclose(calibration.returns, [0.99**2, 0.99, 1.0, 0.0, 0.0])
    assert calibration.truncated.tolist() == [False] * 3 + [True] * 2
    assert calibration.q.shape == (5,)


def test_when_binned_expect_every_step_in_one_bin_and_means_by_hand():
    q = np.array([0.0, 0.05, 0.5, 1.0])
    calibration = Calibration(q, np.array([0.0, 0.2, 0.5, 0.9]), np.array([True, False, False, False]))
    rows = calibration.binned(10)
    assert [(r["count"], r["truncated"]) for r in rows] == [(2, 1), (1, 0), (1, 0)]
    assert rows[0]["return"] == pytest.approx(0.1)
    assert calibration.figures()["bias"] == pytest.approx((q - calibration.returns).mean())


def test_when_values_do_not_vary_expect_no_correlation():
    calibration = Calibration(np.ones(3), np.arange(3.0), np.zeros(3, bool))
    assert calibration.figures()["correlation"] is None
    assert len(calibration.binned()) == 1
