"""Row 19: on a full disk nothing new is written, what is there stays intact, and it is said."""

from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages, identity_normaliser, make_segment, small_config
from serialised import serialise
from small_disk import LimitedFiles, SmallDisk

from resfit_ros.core.errors import DataError
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.read_bags import read_messages
from resfit_ros.learning.checkpoint import checkpoints, restore_newest, save_checkpoint
from resfit_ros.learning.log import LearningLog
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.worker import LearnerWorker

NORMALISER = identity_normaliser(3, 2)


@pytest.fixture(params=["tmpfs", "file size limit"])
def disk(request, tmp_path):
    if request.param == "file size limit":
        yield LimitedFiles(tmp_path / "disk")
        return
    mounted = SmallDisk(tmp_path / "disk", 4)
    yield mounted
    mounted.unmount()


def contents(directory: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in sorted(directory.rglob("*")) if file.is_file()}


def make_trainer() -> Trainer:
    trainer = Trainer(small_config(hidden_width=64), NORMALISER)
    trainer.add(make_segment(np.random.default_rng(0), 40, terminal=True))
    return trainer


def test_when_the_disk_is_full_expect_no_checkpoint_the_reason_and_the_next_one_written(disk, measured):
    trainer, directory = make_trainer(), disk.path / "checkpoints"
    trainer.train_one()
    older = save_checkpoint(directory, trainer, {})
    before = contents(directory)
    trainer.train_one()
    with disk.full():
        for _ in range(3):
            with pytest.raises(DataError, match="checkpoint not written.*free some disk space"):
                save_checkpoint(directory, trainer, {})
            assert contents(directory) == before  # nothing half-written keeps the disk full
    resumed = make_trainer()
    assert restore_newest(directory, resumed) == (older, [])
    newer = save_checkpoint(directory, trainer, {})
    assert checkpoints(directory) == [newer, older]
    measured(19, "checkpoint: 3 of 3 saves refused with the reason, the old one byte for byte the same")


def test_when_the_disk_is_full_expect_the_training_thread_to_go_on_and_say_so(disk):
    trainer = make_trainer()
    worker = LearnerWorker(trainer, disk.path / "checkpoints", {}, 1e9, lambda _: None)
    with disk.full():
        worker._save()
        assert "free some disk space" in worker.problem
        assert worker._one_round()
    worker._save()
    assert worker.problem is None


def recorded(bag: EpisodeBag) -> Path:
    for received_ns, value in enumerate(episode_messages(np.random.default_rng(0), 30, image_shape=(40, 60, 3)), 1):
        topic, raw = serialise(value)
        bag.write(topic, received_ns, raw)
    return bag.close({"outcome": "success"})


def test_when_the_disk_is_full_expect_no_bag_under_a_final_name_and_the_others_intact(disk, measured):
    first = recorded(EpisodeBag(disk.path / "bags", 1, "/resfit"))
    before = contents(first)
    second = EpisodeBag(disk.path / "bags", 2, "/resfit")
    with disk.full(), pytest.raises(DataError, match="cannot be written.*free some disk space"):
        recorded(second)
    assert not second.path.exists()
    assert contents(first) == before
    third = recorded(EpisodeBag(disk.path / "bags", 3, "/resfit"))
    assert len(list(read_messages(third))) == 93
    measured(19, "bag: refused with the reason, the one before byte for byte the same, the next one whole")


def test_when_the_disk_is_full_at_the_end_of_an_episode_expect_no_bag_with_a_hole(disk):
    bag = EpisodeBag(disk.path / "bags", 1, "/resfit")
    for number in range(40):  # too few for a chunk: all that is written is written at the end
        topic, raw = serialise(episode_messages(np.random.default_rng(0), 1)[number % 3])
        bag.write(topic, number, raw)
    with disk.full(), pytest.raises(DataError, match="free some disk space"):
        bag.close({"outcome": "success"})
    assert not bag.path.exists()


# TensorBoard's own thread ends with its error, which Python prints.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_disk_is_full_expect_the_curves_to_stop_and_start_again(disk):
    worker = LearnerWorker(make_trainer(), disk.path / "checkpoints", {}, 1e9, lambda _: None)
    log = LearningLog(disk.path)
    log.write(worker.progress(), ())
    assert log.problem == ""
    with disk.full():
        for _ in range(20):  # beyond what a buffer or the last block takes
            log.write(worker.progress(), ("x" * 300,))
        assert "free some disk space" in log.problem
    log.write(worker.progress(), ())
    assert log.problem == ""
    log.close()
