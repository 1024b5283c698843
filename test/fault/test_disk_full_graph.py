"""Row 19 through the graph: recorder and learner on a disk that is full, and control beside them."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from builders import episode_messages  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from small_disk import SmallDisk  # noqa: E402
from soak import count  # noqa: E402
from test_learner_killed_graph import TINY  # noqa: E402

from resfit_ros import graphs, msg  # noqa: E402
from resfit_ros.bringup import describe  # noqa: E402
from resfit_ros.core.run_layout import CHECKPOINTS, FINETUNE_BAGS  # noqa: E402
from resfit_ros.core.types import EpisodeEnded, Observation  # noqa: E402
from resfit_ros.data.read_bags import read_messages  # noqa: E402
from resfit_ros.learning.checkpoint import checkpoints, load_run_actor  # noqa: E402
from resfit_ros.ros.convert import episode_to_msg, observation_to_msg  # noqa: E402
from resfit_ros.ros.node import ERROR, OK  # noqa: E402
from resfit_ros.ros.qos import EPISODES, STEPS  # noqa: E402


@pytest.fixture
def disk(tmp_path):
    """As large as a finished bag, twice over."""
    mounted = SmallDisk(tmp_path / "disk", 16)
    yield mounted
    mounted.unmount()


def said(probe, node: str) -> tuple[bytes, str, dict[str, str]]:
    """Newest level, sentence and figures of a node on /diagnostics."""
    for message in reversed(probe.seen["/diagnostics"]):
        for status in message.status:
            if status.name.endswith(f"/{node}"):
                return status.level, status.message, {v.key: v.value for v in status.values}
    return OK, "", {}


def test_when_the_disk_is_full_expect_the_recorder_alive_the_reason_and_later_episodes_recorded(
    start, config, disk, measured
):
    bags = disk.path / "bags"
    probe = start(describe(config, ["recorder"], {"recorder": {"bag_dir": str(bags), "min_free_mb": 0}}), whole=False)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    observe = probe.node.create_publisher(msg.Observation, "observation", STEPS)
    episode = probe.node.create_publisher(msg.Episode, "episode", EPISODES)
    probe.wait(lambda: observe.get_subscription_count() > 1 and episode.get_subscription_count() > 1)
    probe.spin(0.5)

    def play(number: int) -> None:
        for value in episode_messages(np.random.default_rng(0), 30, episode_id=number, image_shape=(80, 120, 3)):
            if isinstance(value, Observation):
                observe.publish(observation_to_msg(value))
            elif isinstance(value, EpisodeEnded):
                probe.spin(0.2)
                episode.publish(episode_to_msg(value, "/resfit/episode_manager"))

    def bag(number: int) -> Path:
        return bags / f"episode_{number:06d}"

    play(1)
    probe.wait(bag(1).exists, 10.0)
    before = {file: file.read_bytes() for file in bag(1).iterdir()}
    disk.fill()
    play(2)
    probe.wait(lambda: said(probe, "recorder")[0] == ERROR, 10.0)
    assert "episode 2 is not recorded" in said(probe, "recorder")[1]
    assert "free some disk space" in said(probe, "recorder")[1]
    disk.free()
    play(3)
    probe.wait(bag(3).exists, 10.0)
    probe.wait(lambda: said(probe, "recorder")[0] == OK, 10.0)
    assert said(probe, "recorder")[2]["episodes not recorded"] == "1"
    assert probe.supervisor.check() == set()
    assert not bag(2).exists()
    assert len(list((bags / ".partial").iterdir())) <= 1  # not one per message
    assert {file: file.read_bytes() for file in bag(1).iterdir()} == before
    measured(19, "recorder: error shown, node alive, bag before intact, episode after it recorded")
    # The bags are whole for whoever reads them.
    assert [len([m for m in read_messages(bag(n)) if isinstance(m, Observation)]) for n in (1, 3)] == [31, 31]


class Gaps:
    """Wall time between the actions of one episode, by what the test is doing."""

    def __init__(self, probe) -> None:
        self._last: tuple[int, float] = (0, 0.0)
        self.now: list[float] = []
        probe.node.create_subscription(msg.Action, "action", self._on_action, STEPS)

    def _on_action(self, action: msg.Action) -> None:
        arrived = time.perf_counter()
        if self._last[0] == action.episode_id:
            self.now.append(arrived - self._last[1])
        self._last = action.episode_id, arrived

    def take(self) -> np.ndarray:
        """Gaps since last asked, ms."""
        gaps, self.now = np.array(self.now) * 1e3, []
        return gaps


def test_when_the_disk_is_full_expect_learning_and_control_to_go_on_and_the_save_made_up_for(
    start, config, policy_dir, disk, measured
):
    learner = TINY | {"total_steps": 100_000, "checkpoint_every_s": 0.5}
    specs = graphs.finetune_graph(config, disk.path, policy_dir, None, seed=0, learner=learner)
    next(s for s in specs if s.name == "recorder").parameters["min_free_mb"] = 0  # it is a small disk
    probe = start(specs)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    gaps, directory = Gaps(probe), disk.path / CHECKPOINTS
    steps = count(2000, 150)
    probe.wait(lambda: probe.seen["learner_status"] and checkpoints(directory), 60.0)
    gaps.take()
    probe.wait(lambda: len(gaps.now) > steps, 60.0)
    free = gaps.take()
    disk.fill()
    probe.wait(lambda: said(probe, "learner")[0] == ERROR, 30.0)
    assert "free some disk space" in said(probe, "learner")[1]
    newest = checkpoints(directory)[0]
    before = {file: file.read_bytes() for file in newest.iterdir()}
    updates = probe.seen["learner_status"][-1].gradient_updates
    gaps.take()
    probe.wait(lambda: len(gaps.now) > steps, 60.0)
    full = gaps.take()
    assert probe.seen["learner_status"][-1].gradient_updates > updates
    assert probe.supervisor.check() == set()
    assert {file: file.read_bytes() for file in newest.iterdir()} == before
    assert load_run_actor(directory).path == newest
    bags = set((disk.path / FINETUNE_BAGS).glob("episode_*"))
    disk.free()
    probe.wait(lambda: checkpoints(directory)[0] != newest, 30.0)
    probe.wait(lambda: set((disk.path / FINETUNE_BAGS).glob("episode_*")) > bags, 30.0)
    probe.wait(lambda: said(probe, "learner")[0] != ERROR, 10.0)
    p99 = [np.percentile(g, 99) for g in (free, full)]
    measured(
        19,
        f"learner: error shown, old checkpoint intact, learning and control went on; gap between actions, {len(full)} "
        f"of them in lockstep: median {np.median(free):.1f} ms before, {np.median(full):.1f} ms on the full disk; "
        f"p99 {p99[0]:.1f} and {p99[1]:.1f} ms",
    )
