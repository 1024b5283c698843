"""Our bags in ROS's own tools: `ros2 bag info` reads them, `ros2 bag play` gives a learner the same bits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROS2, until

WHERE = "is not installed: source a ROS 2, e.g. /opt/ros/jazzy/setup.bash; test_three_ways needs none"
pytest.importorskip("ros2bag", reason=f"ros2bag {WHERE}")
pytest.importorskip("rosbag2_py", reason=f"rosbag2_py {WHERE}")

from ament_index_python.packages import PackageNotFoundError, get_package_prefix  # noqa: E402

from resfit_ros import msg  # noqa: E402
from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler  # noqa: E402
from resfit_ros.core.types import EpisodeStarted, Outcome  # noqa: E402
from resfit_ros.data.bag_about import BagAbout  # noqa: E402
from resfit_ros.data.episode_data import EpisodeData, write_episode  # noqa: E402
from resfit_ros.data.read_bags import read_episodes  # noqa: E402
from resfit_ros.data.segment_digest import episode_digest  # noqa: E402
from resfit_ros.ros.convert import (  # noqa: E402
    action_from_msg,
    episode_from_msg,
    executed_from_msg,
    observation_from_msg,
)
from resfit_ros.ros.own_node import OwnNode  # noqa: E402
from resfit_ros.ros.qos import STEPS  # noqa: E402

ROWS, JOINTS, STATES = 21, 4, 6
TOPICS = {
    "observation": (msg.Observation, observation_from_msg),
    "action": (msg.Action, action_from_msg),
    "executed_action": (msg.ExecutedAction, executed_from_msg),
    "episode": (msg.Episode, episode_from_msg),
}


class Listener:
    """The subscriptions of a learner, with its assembler behind them."""

    def __init__(self, domain: int) -> None:
        self._own = OwnNode("listener", "/resfit", arguments=[], domain_id=domain)
        self.close = self._own.close
        self._assembler = TransitionAssembler(JOINTS)
        self.episodes: list[AssembledEpisode] = []
        for topic, (kind, convert) in TOPICS.items():
            self._own.node.create_subscription(kind, topic, lambda m, c=convert: self._on_step(c(m)), STEPS)

    def _on_step(self, value) -> None:
        if not isinstance(value, EpisodeStarted):
            self.episodes += self._assembler.add(value)

    def has_heard(self) -> bool:
        """Handles what arrives; whether an episode is whole."""
        self._own.executor.spin_once(timeout_sec=0.05)
        return bool(self.episodes)


@pytest.fixture
def listener(domain):
    one = Listener(domain)
    yield one
    one.close()


@pytest.fixture
def bag(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    data = EpisodeData(
        states=rng.standard_normal((ROWS, STATES), np.float32),
        bases=rng.standard_normal((ROWS, JOINTS), np.float32),
        actions=rng.standard_normal((ROWS - 1, JOINTS), np.float32),
        stamps_ns=10**18 + np.arange(ROWS) * 50_000_000,
        images=(rng.integers(0, 256, (ROWS, 24, 32, 3), np.uint8),),
        outcome=Outcome.SUCCESS,
    )
    return write_episode(tmp_path / "bags", 1, data, BagAbout())


def test_when_ros2_bag_info_reads_a_bag_expect_its_topics_and_counts(bag):
    told = subprocess.run(
        [sys.executable, "-c", ROS2, "bag", "info", str(bag)], capture_output=True, text=True, timeout=60
    )
    assert told.returncode == 0, told.stderr
    (line,) = [row for row in told.stdout.splitlines() if "/resfit/executed_action" in row]
    assert "resfit_ros/msg/ExecutedAction" in line
    assert f"Count: {ROWS - 1}" in line


def test_when_ros2_bag_play_plays_a_bag_expect_the_bits_of_the_file(bag, listener):
    try:
        get_package_prefix("resfit_ros")
    except PackageNotFoundError:
        pytest.skip("resfit_ros is not built: run colcon build, and source install/setup.bash")
    # The delay is for the listener to find the player's topics.
    options = "--delay", "3", "--disable-keyboard-controls"
    line = [sys.executable, "-c", ROS2, "bag", "play", *options, str(bag)]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL) as player:
        try:
            until(listener.has_heard, "the whole episode")
        finally:
            player.terminate()
    (episode,) = read_episodes([bag], JOINTS, STATES)
    assert [episode_digest(e) for e in listener.episodes] == [episode_digest(episode)]
