"""Row 20: a damaged checkpoint is noticed by its hashes, and the one before is used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from builders import identity_normaliser, make_segment, small_config
from mutations import MUTATIONS
from soak import count

from resfit_ros.learning.checkpoint import HASHES, checkpoints, load_run_actor, restore_newest, save_checkpoint
from resfit_ros.learning.trainer import Trainer

NORMALISER = identity_normaliser(3, 2)


def make_trainer() -> Trainer:
    every_update = dict(critic_only_updates=0, actor_delay=1, actor_lr=0.01)  # changes every file
    trainer = Trainer(small_config(**every_update), NORMALISER)
    trainer.add(make_segment(np.random.default_rng(0), 40, terminal=True))
    return trainer


def saved(directory: Path, trainer: Trainer) -> Path:
    trainer.train_one()
    return save_checkpoint(directory, trainer, {})


def test_when_checkpoints_are_damaged_anywhere_expect_every_one_caught(tmp_path, measured):
    trainer, resumed = make_trainer(), make_trainer()
    older, newest = saved(tmp_path, trainer), saved(tmp_path, trainer)
    originals = {file: file.read_bytes() for file in sorted(newest.iterdir())}
    rng, times, caught, unchanged = np.random.default_rng(0), count(1000, 100), 0, 0
    while caught < times:
        file = list(originals)[caught % len(originals)]  # small files as often as large ones
        MUTATIONS[caught // len(originals) % len(MUTATIONS)](file, rng)
        if file.read_bytes() == originals[file]:  # zeros over zeros
            unchanged += 1
            continue
        path, problems = restore_newest(tmp_path, resumed)
        assert path == older and resumed.agent.critic_updates == 1, f"damage {caught} to {file.name} was not noticed"
        assert len(problems) == 1 and str(newest) in problems[0]
        assert load_run_actor(tmp_path, NORMALISER).path == older
        file.write_bytes(originals[file])
        caught += 1
    assert restore_newest(tmp_path, resumed) == (newest, [])
    measured(20, f"{caught} of {times} caught (flip, cut, zeros, overwritten block), the one before used each time")


@pytest.mark.parametrize("name", ["training.safetensors", "actor.safetensors", "checkpoint.json"])
def test_when_a_file_comes_from_another_checkpoint_expect_it_caught(tmp_path, name):
    trainer = make_trainer()
    older, newest = saved(tmp_path, trainer), saved(tmp_path, trainer)
    shutil.copy(older / name, newest / name)
    path, (problem,) = restore_newest(tmp_path, make_trainer())
    assert path == older
    assert HASHES in problem


def test_when_a_save_is_killed_between_putting_aside_and_renaming_expect_the_old_one_still_found(
    tmp_path, monkeypatch
):
    trainer = make_trainer()
    path = saved(tmp_path, trainer)
    rename = Path.rename

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, trainer, {})
    assert not path.exists()
    resumed = make_trainer()
    found, problems = restore_newest(tmp_path, resumed)
    assert (found, problems) == (*checkpoints(tmp_path), [])
    assert resumed.agent.critic_updates == trainer.agent.critic_updates
    assert save_checkpoint(tmp_path, trainer, {}) == path
    assert list(tmp_path.iterdir()) == [path]
