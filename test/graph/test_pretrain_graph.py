"""Bags played into a running learner: the critics of `resfit pretrain`, and fine-tuning that starts from them."""

import shutil
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader
from safetensors.torch import load_file

from resfit_ros import graphs, msg, phases
from resfit_ros.core import run_layout
from resfit_ros.core.errors import MismatchError
from resfit_ros.data.interfaces import EPISODE_TOPICS
from resfit_ros.data.read_bags import bag_paths
from resfit_ros.learning.checkpoint import STATE, checkpoints
from resfit_ros.msg import LearnerStatus
from resfit_ros.ros.qos import STEPS
from resfit_ros.runner.pretraining import pretrain_from_bags, pretraining_parameters

UPDATES, STEPS_OF_RUN, WARM_UP = 30, 130, 60
SMALL = {"critic_ensemble": 2, "hidden_width": 32, "batch_size": 32, "publish_every": 5, "actor_delay": 2}
# No update while bags are played: then the updates are those of `resfit pretrain`, to the last bit.
PRETRAIN = SMALL | {"utd": 0.001}
FINETUNE = SMALL | {"utd": 1.0, "warmup_steps": WARM_UP, "critic_only_updates": 500, "total_steps": STEPS_OF_RUN}


def quiet(*_progress) -> None:
    """No progress bar."""


@pytest.fixture
def folders(config, domain, tmp_path) -> list[Path]:
    """Two folders of bags whose episodes have the same ids."""
    first, second = tmp_path / "first", tmp_path / "second"
    phases.record(config, tmp_path, first, 2, 0, quiet)
    shutil.copytree(first, second)
    return [first, second]


def play(probe, folders: list[Path]) -> None:
    """Publishes the serialised messages of every bag, one after another, as `ros2 bag play` does."""
    publishers = {
        f"/resfit/{topic}": probe.node.create_publisher(getattr(msg, kind), topic, STEPS)
        for topic, kind in EPISODE_TOPICS.items()
    }
    heard = [p for topic, p in publishers.items() if topic != "/resfit/action_chunk"]
    probe.wait(lambda: all(p.get_subscription_count() >= 2 for p in heard))  # the probe hears them, too
    for bag in (bag for folder in folders for bag in bag_paths(folder)):
        already = len(probe.ended(0))
        with AnyReader([bag]) as reader:
            for connection, _, raw in reader.messages():
                publishers[connection.topic].publish(bytes(raw))
        probe.ended(already + 1)


def newest_state(run_dir: Path) -> dict:
    (newest, *_) = checkpoints(run_dir / run_layout.CHECKPOINTS)
    return load_file(newest / STATE)


def pretrain_in_process(config, run_dir: Path, policy_dir: Path, folders: list[Path]) -> dict:
    p = pretraining_parameters(config, run_dir, str(policy_dir), PRETRAIN | {"seed": 0}, UPDATES)
    return pretrain_from_bags(p, folders, 0.0)


def test_when_bags_are_played_into_the_learner_expect_the_critics_of_the_files_and_fine_tuning_from_them(
    start, config, policy_dir, folders, tmp_path
):
    played, read = tmp_path / "played", tmp_path / "read"
    probe = start(graphs.pretrain_graph(config, played, policy_dir, 0, UPDATES, PRETRAIN), whole=False)
    play(probe, folders)
    probe.wait(lambda: "learner" in probe.supervisor.check(), 90.0)
    status = probe.seen["learner_status"][-1]
    assert status.phase == LearnerStatus.PHASE_DONE
    assert (status.env_steps, status.gradient_updates, status.actor_updates) == (0, UPDATES, 0)
    assert status.steps_lost == 0

    result = pretrain_in_process(config, read, policy_dir, folders)
    assert status.replay_size == result["data"]["steps"]
    assert status.demo_size == result["demonstration_steps"]
    ours, theirs = newest_state(played), newest_state(read)
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    probe.supervisor.stop()

    # Nobody knows where the played bags lie: the warm-up fills the replay buffer.
    tuned = phases.finetune(config, played, policy_dir, None, 0, quiet, learner=FINETUNE)
    assert tuned.env_steps >= STEPS_OF_RUN
    assert tuned.gradient_updates == UPDATES + STEPS_OF_RUN - WARM_UP


def test_when_critics_are_pretrained_on_files_expect_fine_tuning_without_warm_up_and_no_way_back(
    config, policy_dir, folders, tmp_path
):
    run_dir = tmp_path / "run"
    pretrain_in_process(config, run_dir, policy_dir, folders)
    tuned = phases.finetune(config, run_dir, policy_dir, folders[0], 0, quiet, learner=FINETUNE)
    assert tuned.gradient_updates == UPDATES + STEPS_OF_RUN
    with pytest.raises(MismatchError, match="fine-tuned already"):
        pretrain_in_process(config, run_dir, policy_dir, folders)
