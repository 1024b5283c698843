"""The recorder node is killed, runs out of room, and is given an episode that never ends."""

import dataclasses
import signal
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from builders import episode_messages  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from small_disk import SmallDisk  # noqa: E402

from resfit_ros import graphs, msg  # noqa: E402
from resfit_ros.bringup import config_sha256, describe  # noqa: E402
from resfit_ros.core.types import (  # noqa: E402
    Action,
    ActionChunk,
    EpisodeEnded,
    EpisodeStarted,
    Executed,
    Observation,
    Outcome,
)
from resfit_ros.data.bag_about import custom_data, read_about  # noqa: E402
from resfit_ros.data.episode_bag import UNFINISHED  # noqa: E402
from resfit_ros.data.read_bags import read_messages  # noqa: E402
from resfit_ros.data.mcap_scan import RawMessages  # noqa: E402
from resfit_ros.ros.convert import (  # noqa: E402
    action_to_msg,
    chunk_to_msg,
    episode_to_msg,
    executed_to_msg,
    observation_to_msg,
)
from resfit_ros.ros.node import ERROR, NOTHING, OK, WAITING_FOR  # noqa: E402
from resfit_ros.ros.qos import STEPS  # noqa: E402
from resfit_ros.supervise import Supervisor  # noqa: E402

STEPS_OF_ONE = 30
MANAGER = "/resfit/episode_manager"
SENT = {
    Observation: ("observation", msg.Observation, observation_to_msg),
    Action: ("action", msg.Action, action_to_msg),
    ActionChunk: ("action_chunk", msg.ActionChunk, chunk_to_msg),
    Executed: ("executed_action", msg.ExecutedAction, executed_to_msg),
    EpisodeStarted: ("episode", msg.Episode, lambda value: episode_to_msg(value, MANAGER)),
    EpisodeEnded: ("episode", msg.Episode, lambda value: episode_to_msg(value, MANAGER)),
}


class Robot:
    """The graph's messages without the graph; `recorder`: the node, which can be killed and started again."""

    def __init__(self, start, config, tmp_path: Path, bags: Path, **parameters) -> None:
        self.bags, self._folder, self._starts = bags, tmp_path, 0
        self._specs = describe(config, ["recorder"], {"recorder": {"bag_dir": str(bags)} | parameters})
        self.probe = start((), whole=False)
        self.probe.watch(DiagnosticArray, "/diagnostics", 50)
        self._publishers = {
            topic: self.probe.node.create_publisher(kind, topic, STEPS) for topic, kind, _ in SENT.values()
        }
        self.begin()

    def begin(self) -> None:
        self._starts += 1
        logs = self._folder / f"logs{self._starts}"
        known = {p: p.get_subscription_count() for p in self._publishers.values()}  # with one that was killed
        self.probe.spin(0.2)
        self.probe.seen["/diagnostics"].clear()  # what the killed one said last
        self.recorder = Supervisor(self._specs, self._folder / "config", logs)
        self.recorder.__enter__()
        # Both sides must have found each other: what is sent before that is not heard.
        self.probe.wait(lambda: all(p.get_subscription_count() > n for p, n in known.items()), 30.0)
        self.probe.wait(lambda: self.said()[2].get(WAITING_FOR) == NOTHING, 30.0)

    def kill(self) -> None:
        self.recorder.send_signal("recorder", signal.SIGKILL)
        self.recorder._processes["recorder"].wait()

    def send(self, values) -> None:
        for value in values:
            topic, _, convert = SENT[type(value)]
            self._publishers[topic].publish(convert(value))
            self.probe.spin(0.002)

    def bag(self, episode_id: int) -> Path:
        return self.bags / f"episode_{episode_id:06d}"

    def unfinished(self, episode_id: int) -> list[list]:
        found = self.bags.glob(f"{UNFINISHED}/{self.bag(episode_id).name}*/*.mcap")
        return [list(RawMessages(file)) for file in found]

    def said(self) -> tuple[bytes, str, dict[str, str]]:
        return self.probe.said("recorder")


@pytest.fixture
def robot(start, config, tmp_path):
    made = []

    def make(bags: Path = tmp_path / "bags", **parameters) -> Robot:
        made.append(Robot(start, config, tmp_path, bags, **parameters))
        return made[-1]

    yield make
    for one in made:
        one.recorder.stop()


def episode(episode_id: int, steps: int = STEPS_OF_ONE) -> list:
    """All messages of an episode: its start, the first chunk, the steps, its end."""
    rng = np.random.default_rng(episode_id)
    values = episode_messages(rng, steps, Outcome.SUCCESS, episode_id, image_shape=(60, 80, 3))
    begin = values[0].stamp_ns
    chunk = ActionChunk(begin, episode_id, 0, np.zeros((4, 2), np.float32), "bc", 0.01, "ab" * 32)
    return [EpisodeStarted(begin, episode_id, 7), chunk, *values]


def steps_of(bag: Path) -> dict[type, list[int]]:
    """Steps by kind of message."""
    read = list(read_messages(bag))
    return {kind: [m.step for m in read if isinstance(m, kind)] for kind in (Observation, Action, Executed)}


def test_when_killed_straight_after_the_end_expect_the_whole_episode_at_the_next_start(
    robot, config, measured
):
    made = robot(config_sha256=config_sha256(config))
    # Without the last action the bag stays open: time enough to kill.
    given = [v for v in episode(1) if not (isinstance(v, Action) and v.step == STEPS_OF_ONE)]
    made.send(given)
    ended = len(given)
    made.probe.wait(lambda: any(len(raw) == ended for raw in made.unfinished(1)), 15.0)
    made.kill()
    assert not made.bag(1).exists()
    made.begin()
    assert steps_of(made.bag(1)) == {
        Observation: [*range(STEPS_OF_ONE + 1)],
        Action: [*range(STEPS_OF_ONE)],
        Executed: [*range(STEPS_OF_ONE)],
    }
    about = read_about(made.bag(1))
    assert (about.joint_names, about.control_hz) == (config.joint_names, 20.0)
    assert (about.base_policy_sha256, about.config_sha256) == ("ab" * 32, config_sha256(config))
    made.send(episode(2))
    made.probe.wait(made.bag(2).exists, 10.0)
    assert made.said()[2]["bags recovered"] == "1"
    measured(21, f"recorder node killed in its grace time: {ended} of {ended} messages there at the next start")


def test_when_killed_in_mid_episode_expect_one_bag_with_both_parts(robot, measured):
    made, values = robot(), episode(1)
    made.send(values[:50])
    made.probe.wait(lambda: any(len(raw) > 20 for raw in made.unfinished(1)), 15.0)
    made.kill()
    made.begin()
    made.send(values[50:])
    made.probe.wait(made.bag(1).exists, 10.0)
    found = steps_of(made.bag(1))
    before = [k for k in found[Observation] if k < 16]
    assert before == [*range(len(before))] and len(before) >= 8
    assert [k for k in found[Observation] if k > 16] == [*range(17, STEPS_OF_ONE + 1)]
    assert read_about(made.bag(1)).base_policy_sha256 == "ab" * 32
    assert made.said()[2]["bags gone on with"] == "1"
    lost = STEPS_OF_ONE + 1 - len(found[Observation])
    measured(21, f"recorder node killed in mid-episode: both parts in one bag, {lost} observations lost")


def test_when_steps_come_after_the_end_expect_them_waited_for(robot):
    made, values = robot(), episode(1)
    made.send([*values[:60], values[-1]])
    made.probe.spin(1.5)
    assert not made.bag(1).exists()  # 11 steps are under way
    made.send(values[60:-1])
    made.probe.wait(made.bag(1).exists, 10.0)
    assert steps_of(made.bag(1))[Observation] == [*range(STEPS_OF_ONE + 1)]
    assert made.said()[2]["episodes with missing steps"] == "0"


def test_when_steps_never_come_expect_the_bag_without_them_and_how_many_said(robot):
    made, values = robot(), episode(1)
    # Others come twice: it is the steps that count, not the messages.
    twice = [v for v in values if isinstance(v, Observation | Action) and v.step == 8]
    heard = [v for v in values[:-1] if not (isinstance(v, Observation) and v.step == 7)]
    made.send([*heard, *twice, values[-1]])
    made.probe.wait(made.bag(1).exists, 10.0)
    assert 7 not in steps_of(made.bag(1))[Observation]
    made.probe.wait(lambda: made.said()[2]["episodes with missing steps"] == "1", 15.0)
    log = (made._folder / "logs1" / "recorder.log").read_text()
    assert f"{made.bag(1)}: steps are missing, they never came: 1 of 31 on observation\n" in log


def test_when_an_aborted_episode_lacks_steps_expect_its_bag_at_once(robot):
    made, values = robot(), episode(1)
    aborted = dataclasses.replace(values[-1], outcome=Outcome.ABORTED)
    made.send([*values[:40], aborted])
    made.probe.wait(made.bag(1).exists, 4.0)  # sooner than it would be given up
    assert custom_data(made.bag(1))["outcome"] == "aborted"


@pytest.fixture
def disk(tmp_path):
    mounted = SmallDisk(tmp_path / "disk", 40)
    yield mounted
    mounted.unmount()


def test_when_there_is_too_little_room_expect_no_new_episode_the_reason_and_later_ones_recorded(robot, disk):
    made = robot(disk.path / "bags", min_free_mb=10)
    made.send(episode(1))
    made.probe.wait(made.bag(1).exists, 10.0)
    filler = disk.path / "some"
    filler.write_bytes(bytes(33_000_000))
    made.probe.wait(lambda: made.said()[0] == ERROR, 10.0)
    assert "MB free" in made.said()[1] and str(made.bags) in made.said()[1]
    made.send(episode(2))
    filler.unlink()
    made.probe.wait(lambda: made.said()[0] == OK, 10.0)
    made.send(episode(3))
    made.probe.wait(made.bag(3).exists, 10.0)
    assert not made.bag(2).exists() and not made.unfinished(2)
    assert made.said()[2]["episodes not recorded"] == "1"


def test_when_an_episode_outgrows_its_bag_expect_it_closed_as_aborted_and_said(robot):
    made = robot(max_bag_mb=1)
    made.send(episode(1, steps=90))
    made.probe.wait(made.bag(1).exists, 10.0)
    made.probe.wait(lambda: made.said()[0] == ERROR, 10.0)
    assert "episode 1 outgrew max_bag_mb 1" in made.said()[1]
    assert custom_data(made.bag(1))["outcome"] == "aborted"
    size = sum(file.stat().st_size for file in made.bag(1).iterdir())
    assert 1_000_000 < size < 1_200_000
    made.send(episode(2))
    made.probe.wait(made.bag(2).exists, 10.0)
    assert custom_data(made.bag(2))["outcome"] == "success"


def test_when_jpeg_is_asked_for_expect_smaller_bags_that_say_so(robot):
    made = robot(image_encoding="jpeg", jpeg_quality=80)
    made.send(episode(1))
    made.probe.wait(made.bag(1).exists, 10.0)
    about = read_about(made.bag(1))
    assert (about.image_encoding, about.jpeg_quality) == ("jpeg", 80)
    seen = [m for m in read_messages(made.bag(1)) if isinstance(m, Observation)]
    assert [o.images[0].shape for o in seen] == [(60, 80, 3)] * (STEPS_OF_ONE + 1)


def test_when_a_stranger_ends_an_episode_expect_it_to_go_on(robot):
    made, values = robot(), episode(1)
    made.send(values[:20])
    forged = episode_to_msg(values[-1], "/resfit/somebody")
    made._publishers["episode"].publish(forged)
    made.send(values[20:])
    made.probe.wait(made.bag(1).exists, 10.0)
    assert steps_of(made.bag(1))[Observation] == [*range(STEPS_OF_ONE + 1)]
    assert len([m for m in read_messages(made.bag(1)) if isinstance(m, EpisodeEnded)]) == 1
    assert made.said()[2]["messages of strangers"] == "1"


def test_when_the_graph_is_described_expect_the_recorder_to_know_robot_and_configuration(config, tmp_path):
    specs = graphs.finetune_graph(config, tmp_path, tmp_path / "policy", None, seed=0)
    given = next(s.parameters for s in specs if s.name == "recorder")
    assert given["config_sha256"] == config_sha256(config)
    assert tuple(given["joint_names"]) == config.joint_names
    assert "pose/box" in given["state"]
