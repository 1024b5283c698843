"""Checkpoints: exact, durable, and never a damaged one taken for a good one."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import identity_normaliser, small_config
from learning_builders import CAMERAS, TINY_VISION, segment_with_images

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Observation
from resfit_ros.learning.checkpoint import (
    checkpoints,
    load_run_actor,
    restore,
    restore_newest,
    save_checkpoint,
)
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import ActorPolicy

NORMALISER = identity_normaliser(3, 2)


def make_trainer(normaliser=NORMALISER, **changes) -> Trainer:
    """A trainer with fixed data: what the bags of a run would give again."""
    trainer = Trainer(small_config(**changes), normaliser, "cpu", CAMERAS)
    rng = np.random.default_rng(0)
    for _ in range(6):
        trainer.add(segment_with_images(rng, 8, terminal=True))
    trainer.add_demonstrations([segment_with_images(rng, 8, terminal=True)])
    return trainer


def update(trainer: Trainer, count: int) -> list[float]:
    """Losses of `count` updates, critic and actor."""
    losses = []
    for _ in range(count):
        batch, _ = trainer.sample()
        losses += [float(v) for v in trainer.agent.update(batch).metrics.values()]
    return losses


def saved(tmp_path: Path, updates: int, trainer: Trainer | None = None) -> tuple[Path, Trainer]:
    trainer = trainer or make_trainer()
    update(trainer, updates)
    return save_checkpoint(tmp_path, trainer, {"run": "test"}), trainer


def parameters(trainer: Trainer) -> list[torch.Tensor]:
    agent = trainer.agent
    modules = (agent.actor, agent.average_actor, agent.critic, agent.target_critic)
    return [p.detach().clone() for module in modules for p in module.parameters()]


def optimiser_state(trainer: Trainer) -> list[torch.Tensor]:
    agent = trainer.agent
    return [
        torch.as_tensor(slots[name]).clone()
        for optimiser in (agent.actor_optimiser, agent.critic_optimiser)
        for _, slots in sorted(optimiser.state_dict()["state"].items())
        for name in sorted(slots)
    ]


def assert_identical(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    assert len(ours) == len(theirs) > 0
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


# --- restoring ---------------------------------------------------------------------------------


def test_when_restored_expect_bit_identical_parameters_and_optimisers(tmp_path):
    path, original = saved(tmp_path, 7)
    resumed = make_trainer()
    restore(path, resumed)
    assert_identical(parameters(resumed), parameters(original))
    assert_identical(optimiser_state(resumed), optimiser_state(original))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prioritised": False, "n_step": 3},
        {"critic_kind": "c51", "value_bins": 11},
        {"critic_kind": "hl_gauss", "value_bins": 11},
        {"actor_objective": "random_pair_min"},
        {"rlpd": True},
        TINY_VISION,
        TINY_VISION | {"freeze_encoder": True},
    ],
    ids=["scalar", "uniform", "c51", "hl_gauss", "random pair", "rlpd", "images", "frozen encoder"],
)
def test_when_restored_expect_the_same_losses_as_never_having_stopped(tmp_path, changes):
    path, original = saved(tmp_path, 7, make_trainer(**changes))
    resumed = make_trainer(**changes)
    restore(path, resumed)
    assert_identical(optimiser_state(resumed), optimiser_state(original))
    assert update(resumed, 6) == update(original, 6)
    assert_identical(parameters(resumed), parameters(original))


def test_when_restored_expect_the_counters(tmp_path):
    path, original = saved(tmp_path, 7)
    resumed = make_trainer()
    manifest = restore(path, resumed)
    assert (resumed.agent.critic_updates, resumed.agent.actor_updates) == (7, 3)
    assert (manifest["env_steps"], manifest["about"]) == (48, {"run": "test"})


def test_when_restored_expect_the_running_averages_to_go_on(tmp_path):
    original = make_trainer()
    for _ in range(5):
        assert original.train_one()
    resumed = make_trainer()
    restore(save_checkpoint(tmp_path, original, {}), resumed)
    assert resumed.averages == original.averages != {}
    original.train_one(), resumed.train_one()
    assert resumed.averages == original.averages


def test_when_saved_before_the_first_update_expect_it_restored(tmp_path):
    path, original = saved(tmp_path, 0)
    resumed = make_trainer(seed=9)
    restore(path, resumed)
    assert_identical(parameters(resumed), parameters(original))


def test_when_there_are_several_expect_the_newest_restored(tmp_path):
    _, trainer = saved(tmp_path, 2)
    newest, _ = saved(tmp_path, 2, trainer)
    assert restore_newest(tmp_path, make_trainer()) == (newest, [])


@pytest.mark.parametrize("directory", [".", "nowhere"])
def test_when_there_is_none_expect_none(tmp_path, directory):
    assert restore_newest(tmp_path / directory, make_trainer()) == (None, [])


def test_when_only_newest_are_kept_expect_three(tmp_path):
    trainer = make_trainer()
    paths = [saved(tmp_path, 1, trainer)[0] for _ in range(5)]
    assert checkpoints(tmp_path) == paths[:1:-1]
    assert sorted(tmp_path.iterdir()) == paths[2:]


def test_when_saved_again_without_an_update_expect_it_replaced(tmp_path):
    path, trainer = saved(tmp_path, 1)
    save_checkpoint(tmp_path, trainer, {"run": "again"})
    assert restore(path, make_trainer())["about"] == {"run": "again"}


# --- damage ------------------------------------------------------------------------------------


def flip(file: Path, rng: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    file.write_bytes(data)


def truncate(file: Path, rng: np.random.Generator) -> None:
    os.truncate(file, rng.integers(file.stat().st_size))


def remove(file: Path, rng: np.random.Generator) -> None:
    file.unlink()


@pytest.mark.parametrize(("damage", "times"), [(flip, 150), (truncate, 50), (remove, 8)])
def test_when_damaged_anywhere_expect_the_one_before_used(tmp_path, damage, times):
    older, trainer = saved(tmp_path, 2)
    newest, _ = saved(tmp_path, 2, trainer)
    originals = {file: file.read_bytes() for file in sorted(newest.iterdir())}
    rng = np.random.default_rng(0)
    resumed = make_trainer()
    for i in range(times):
        file = list(originals)[i % len(originals)]  # small files as often as large ones
        damage(file, rng)
        path, problems = restore_newest(tmp_path, resumed)
        assert path == older, f"damage to {file.name} was not noticed"
        assert len(problems) == 1 and str(newest) in problems[0]
        file.write_bytes(originals[file])
    assert restore_newest(tmp_path, resumed)[0] == newest


def test_when_all_are_damaged_expect_none_and_an_untouched_trainer(tmp_path):
    path, _ = saved(tmp_path, 3)
    for file in path.iterdir():
        flip(file, np.random.default_rng(0))
    fresh = make_trainer()
    before = parameters(fresh)
    found, problems = restore_newest(tmp_path, fresh)
    assert (found, len(problems)) == (None, 1)
    assert_identical(parameters(fresh), before)


# --- writing fails -----------------------------------------------------------------------------


def disk_full(_handle: int) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("successes", range(5))
def test_when_writing_fails_expect_nothing_new_under_a_final_name(tmp_path, monkeypatch, successes):
    older, trainer = saved(tmp_path, 1)
    update(trainer, 1)
    left = successes
    sync = os.fsync

    def fail_later(handle: int) -> None:
        nonlocal left
        left -= 1
        sync(handle) if left >= 0 else disk_full(handle)

    monkeypatch.setattr(os, "fsync", fail_later)
    with pytest.raises(DataError, match="not written"):
        save_checkpoint(tmp_path, trainer, {})
    assert checkpoints(tmp_path) == [older]
    assert restore_newest(tmp_path, make_trainer()) == (older, [])


def test_when_a_save_follows_a_failed_one_expect_no_remains(tmp_path, monkeypatch):
    trainer = make_trainer()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", disk_full)
        with pytest.raises(DataError):
            save_checkpoint(tmp_path, trainer, {})
    path, _ = saved(tmp_path, 1, trainer)
    assert list(tmp_path.iterdir()) == [path]


# --- the actor of a run ------------------------------------------------------------------------


def probe(policy: ActorPolicy) -> list[float]:
    observation = Observation(0, 0, 0, np.ones(3, np.float32))
    return policy(observation, np.ones(2, np.float32), 0.5).tolist()


def expected_probe(trainer: Trainer) -> list[float]:
    return probe(ActorPolicy(trainer.agent.average_actor, NORMALISER))


def test_when_a_runs_actor_is_loaded_expect_the_averaged_one_and_its_schedule(tmp_path):
    path, trainer = saved(tmp_path, 8, make_trainer(residual_scale=0.35, actor_lr=0.01))
    for place in (path, tmp_path):
        loaded = load_run_actor(place, NORMALISER)
        assert (loaded.path, loaded.problems) == (path, ())
        assert probe(loaded.actor) == expected_probe(trainer)
        assert loaded.schedule == ActingSchedule(0.35, 0.0, warm_up=False, version=1)
    assert max(map(abs, expected_probe(trainer))) > 0


def test_when_saved_on_the_scales_schedule_expect_the_scale_of_that_moment(tmp_path):
    growing = dict(residual_scale=0.5, residual_scale_start=0.1, residual_scale_steps=76)
    saved(tmp_path, 4, make_trainer(**growing))  # 48 steps, 10 of them warm-up
    assert load_run_actor(tmp_path, NORMALISER).schedule.residual_scale == pytest.approx(0.3)


def test_when_learnt_without_a_base_policy_expect_the_actor_to_say_so(tmp_path):
    saved(tmp_path, 1, make_trainer(rlpd=True))
    schedule = load_run_actor(tmp_path, NORMALISER).schedule
    assert (schedule.without_base, schedule.residual_scale) == (True, 1.0)


def test_when_learnt_from_images_expect_the_actor_to_see_them(tmp_path):
    _, trainer = saved(tmp_path, 8, make_trainer(**TINY_VISION, actor_lr=0.01))
    images = tuple(np.full((*size, 3), 200, np.uint8) for size in CAMERAS)
    seen = Observation(0, 0, 0, np.ones(3, np.float32), images)
    base = np.ones(2, np.float32)
    given = load_run_actor(tmp_path, NORMALISER).actor(seen, base, 0.5)
    assert given.tolist() == trainer.acting_policy(averaged=True)(seen, base, 0.5).tolist()
    assert np.abs(given).max() > 0


def test_when_the_newest_is_damaged_expect_the_actor_before_and_the_reason(tmp_path):
    _, trainer = saved(tmp_path, 8, make_trainer(actor_lr=0.01))
    before = expected_probe(trainer)
    newest, _ = saved(tmp_path, 8, trainer)
    flip(newest / "actor.safetensors", np.random.default_rng(0))
    loaded = load_run_actor(tmp_path, NORMALISER)
    assert probe(loaded.actor) == before
    assert len(loaded.problems) == 1 and str(newest) in loaded.problems[0]


def test_when_all_are_damaged_expect_the_reason_of_each(tmp_path):
    _, trainer = saved(tmp_path, 1)
    saved(tmp_path, 1, trainer)
    for path in checkpoints(tmp_path):
        flip(path / "actor.safetensors", np.random.default_rng(0))
    with pytest.raises(DataError) as refused:
        load_run_actor(tmp_path, NORMALISER)
    assert all(str(path) in str(refused.value) for path in checkpoints(tmp_path))


def test_when_there_is_no_checkpoint_expect_advice(tmp_path):
    with pytest.raises(DataError, match="no checkpoint there"):
        load_run_actor(tmp_path, NORMALISER)


def test_when_nothing_is_known_of_the_robot_expect_the_scaling_of_the_checkpoint(tmp_path):
    saved(tmp_path, 1)
    assert load_run_actor(tmp_path).normaliser.sha256 == NORMALISER.sha256


def test_when_copied_to_another_place_expect_it_restored(tmp_path):
    path, original = saved(tmp_path / "run", 3)
    shutil.copytree(path, tmp_path / "elsewhere")
    resumed = make_trainer()
    restore(tmp_path / "elsewhere", resumed)
    assert_identical(parameters(resumed), parameters(original))


def test_when_weights_are_not_finite_expect_older_checkpoints_kept(tmp_path):
    path, trainer = saved(tmp_path, 8)
    with torch.no_grad():
        trainer.agent.actor.head.bias.fill_(float("nan"))
    trainer.env_steps += 1
    with pytest.raises(DataError, match="diverged"):
        save_checkpoint(tmp_path, trainer, {})
    assert checkpoints(tmp_path) == [path]
