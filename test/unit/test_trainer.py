"""The training schedule: phases, owed updates, share of demonstrations."""

import numpy as np
import pytest
import torch
from builders import identity_normaliser, make_segment, small_config
from learning_builders import CAMERAS, TINY_VISION, copied, same, segment_with_images

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import LearnerPhase
from resfit_ros.learning.checkpoint import save_checkpoint
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
    batch, _ = marked_trainer(fraction).sample()
    states = batch.observation.state[:, 0]
    assert (states == 1).sum() == expected
    assert (states == -1).sum() == 64 - expected


def test_when_there_are_no_demonstrations_expect_a_full_online_batch():
    batch, _ = marked_trainer(0.5, demonstrations=False).sample()
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
        batches = [trainer.sample()[0] for _ in range(10)]
        return [trainer.agent.update(batch).metrics["critic_loss"].item() for batch in batches]

    assert losses() == losses()


def test_when_sampled_expect_the_rows_that_the_batch_came_from():
    trainer = marked_trainer(0.25)
    batch, rows = trainer.sample()
    (online, online_rows), (demonstrations, demonstration_rows) = rows.parts
    assert (online, demonstrations) == (trainer.online, trainer.demonstrations)
    assert (len(online_rows), len(demonstration_rows)) == (48, 16)
    assert batch.observation.state[48:].min() == 1


@pytest.mark.parametrize(("steps", "exponent"), [(10, 0.4 + 0.6 * 0.5), (20, 1.0), (30, 1.0)])
def test_when_replay_is_prioritised_expect_the_correction_to_grow_to_one(monkeypatch, steps, exponent):
    given = []
    monkeypatch.setattr("resfit_ros.learning.trainer.sample_batch", lambda *a: given.append(a[-1]))
    walk(make_trainer(prioritised=True, priority_correction=0.4), steps).sample()
    assert given == pytest.approx([exponent])


def test_when_replay_is_prioritised_expect_its_rows_drawn_by_their_td_errors():
    trainer = walk(make_trainer(prioritised=True, priority_exponent=1.0, batch_size=200), 12)
    _, rows = trainer.sample()
    ((_, drawn),) = rows.parts
    rows.update_priorities(np.where(drawn == 3, 1.0, 0.0))
    _, rows = trainer.sample()
    ((_, drawn),) = rows.parts
    assert np.mean(drawn == 3) > 0.95  # priorities never are quite zero


def test_when_replay_is_prioritised_expect_td_errors_of_each_update_written_back(monkeypatch):
    trainer = walk(make_trainer(prioritised=True), 12)
    errors, written = [], []
    update = trainer.agent.update

    def noting(*arguments):
        errors.append(update(*arguments))
        return errors[-1]

    monkeypatch.setattr(trainer.agent, "update", noting)
    monkeypatch.setattr(trainer.online, "update_priorities", lambda _, td: written.append(td))
    assert trainer.train_one()
    np.testing.assert_array_equal(written[0], errors[0].td_error.numpy())
    assert written[0].shape == (16,)


def test_when_sampled_expect_the_true_discount_of_each_window_in_the_targets():
    """discount ** k of the k steps a window really has: shorter ones at a timeout, none at a success."""
    trainer = make_trainer(n_step=3, discount=0.9, batch_size=200)
    trainer.add(make_segment(np.random.default_rng(0), 5))
    trainer.add(make_segment(np.random.default_rng(1), 5, terminal=True))
    batch, _ = trainer.sample()
    powers = {round(0.9**k, 5) for k in (1, 2, 3)}
    assert {round(d, 5) for d in batch.discount.tolist()} == powers | {0.0}
    successes = batch.reward > 0
    assert successes.any()
    assert batch.discount[successes].max() == 0


def test_when_segment_arrives_after_learning_began_expect_q_compared_with_its_returns():
    trainer = walk(make_trainer(), 12)
    assert len(trainer.calibration) == 0
    trainer.train_one()
    segment = make_segment(np.random.default_rng(5), 4, terminal=True)
    trainer.add(segment)
    q = trainer.q_values(segment)
    returns = 0.99 ** np.arange(3, -1, -1)
    assert trainer.metrics["q_bias"] == pytest.approx(np.mean(q - returns), abs=1e-6)


def test_when_q_is_asked_for_expect_the_mean_over_members_of_the_executed_actions():
    trainer = make_trainer()
    segment = make_segment(np.random.default_rng(5), 4)
    agent = trainer.agent
    features = np.concatenate((segment.states, segment.bases, segment.phases[:, None]), axis=1)[:4]
    q = agent.critic(torch.from_numpy(features), torch.from_numpy(segment.actions))
    np.testing.assert_allclose(trainer.q_values(segment), q[..., 0].mean(dim=0).detach(), atol=1e-6)


def test_when_trained_expect_shares_of_dead_units_and_demonstrations():
    trainer = marked_trainer(0.25)
    trainer.train_one()
    with torch.no_grad():
        for layer in trainer.agent.critic.layers:
            layer.offset.fill_(-1e6)
    assert trainer.metrics["demo_share"] == 0.25
    assert 0 <= trainer.metrics["dead_share_critic"] < 0.5
    assert trainer._dead_shares(trainer.sample()[0])["dead_share_critic"] == 1.0


def test_when_images_are_wanted_without_a_camera_expect_refusal():
    with pytest.raises(ConfigError, match="camera_names"):
        make_trainer(use_images=True)


def test_when_images_are_not_used_expect_none_stored():
    trainer = Trainer(small_config(), identity_normaliser(3, 2), cameras=CAMERAS)
    trainer.add(segment_with_images(np.random.default_rng(0), 4))
    assert trainer.online.layout.image_shapes == ()
    assert trainer.agent.shape.cameras == ()


def test_when_trained_on_images_expect_those_of_both_cameras_in_each_batch():
    trainer = Trainer(small_config(**SCHEDULE, **TINY_VISION), identity_normaliser(3, 2), "cpu", CAMERAS)
    trainer.add(segment_with_images(np.random.default_rng(0), 12))
    batch, _ = trainer.sample()
    assert [i.shape for i in batch.observation.images] == [(16, *size, 3) for size in CAMERAS]
    assert work_off(trainer) == 9
    assert np.isfinite(list(trainer.metrics.values())).all()


@pytest.mark.parametrize("directory", [True, False], ids=["checkpoint", "its actor file"])
def test_when_encoders_are_given_expect_training_to_start_from_them(tmp_path, directory):
    first = Trainer(small_config(**TINY_VISION), identity_normaliser(3, 2), "cpu", CAMERAS)
    torch.nn.init.normal_(first.agent.average_actor.encoder.cameras[1].position)
    path = save_checkpoint(tmp_path, first, {})
    path = path if directory else path / "actor.safetensors"
    config = small_config(**TINY_VISION, seed=9, encoder_path=str(path), freeze_encoder=True)
    second = Trainer(config, identity_normaliser(3, 2), "cpu", CAMERAS).agent
    wanted = copied(first.agent.average_actor.encoder)
    assert same(second.actor.encoder, wanted) and same(second.average_actor.encoder, wanted)
    assert not same(second.actor.trunk, copied(first.agent.actor.trunk))


@pytest.mark.parametrize("changes", [{"vit_width": 16}, {"image_features": 8}, {"vit_depth": 2}])
def test_when_encoders_are_of_another_size_expect_refusal(tmp_path, changes):
    first = Trainer(small_config(**TINY_VISION), identity_normaliser(3, 2), "cpu", CAMERAS)
    path = save_checkpoint(tmp_path, first, {})
    config = small_config(**(TINY_VISION | changes), encoder_path=str(path))
    with pytest.raises(ConfigError, match=r"encoder_path .*same cameras and vit_\*") as refused:
        Trainer(config, identity_normaliser(3, 2), "cpu", CAMERAS)
    assert "\n" not in str(refused.value)


def test_when_checkpoint_has_no_encoders_expect_refusal(tmp_path):
    path = save_checkpoint(tmp_path, make_trainer(), {})
    config = small_config(**TINY_VISION, encoder_path=str(path))
    with pytest.raises(ConfigError, match="encoder_path"):
        Trainer(config, identity_normaliser(3, 2), "cpu", CAMERAS)
