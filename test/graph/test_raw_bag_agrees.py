"""A robot's own recording, aggregated offline, gives the observations that the live graph made."""

import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from trajectory_msgs.msg import JointTrajectory

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig, with_timing
from resfit_ros.data.episode_data import read_episode
from resfit_ros.data.interfaces import type_name, typestore
from resfit_ros.data.raw_bags import raw_episodes
from resfit_ros.data.raw_options import RawOptions
from resfit_ros.data.raw_reader import RawBag
from resfit_ros.data.raw_report import SourceReport
from resfit_ros.data.raw_sampling import RawSampler, Sample, decoded
from resfit_ros.data.raw_steps import RawCommands
from resfit_ros.data.raw_topics import observing_parameters, topic_map
from resfit_ros.msg import Episode, Observation
from resfit_ros.ros.qos import STEPS

ROBOT_SIDE = {
    "/joint_states": (JointState, "sensor_msgs/msg/JointState"),
    "/box_pose": (PoseStamped, "geometry_msgs/msg/PoseStamped"),
    "/camera/image_raw": (Image, "sensor_msgs/msg/Image"),
    "/joint_command": (JointTrajectory, "trajectory_msgs/msg/JointTrajectory"),
    "/clock": (Clock, "rosgraph_msgs/msg/Clock"),
    "/resfit/episode": (Episode, type_name("Episode")),
}
JOINTS = 29
OPTIONS = RawOptions(episode_topic="/resfit/episode", outcome="timeout")


class RawRecorder:
    """Keeps what a robot's own recorder would: serialised messages, and when each was received."""

    def __init__(self, domain: int) -> None:
        self.received: list[tuple[int, str, bytes]] = []
        self.observations: list[tuple[int, bytes]] = []  # when sent
        self._context = Context()
        rclpy.init(context=self._context, domain_id=domain)
        node = rclpy.create_node("raw_recorder", context=self._context)
        for topic, (kind, _) in ROBOT_SIDE.items():
            node.create_subscription(kind, topic, self._keeper(topic), STEPS, raw=True)
        node.create_subscription(Observation, "/resfit/observation", self._on_observation, STEPS, raw=True)
        # The instants of messages come with this executor alone.
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            while self._context.ok():
                self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join()

    def _keeper(self, topic: str):
        return lambda raw, info: self.received.append((info["received_timestamp"], topic, bytes(raw)))

    def _on_observation(self, raw, info) -> None:
        self.observations.append((info["source_timestamp"], bytes(raw)))

    def write(self, path: Path) -> Path:
        writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        with writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=typestore())
                for topic, (_, kind) in ROBOT_SIDE.items()
            }
            for time_ns, topic, raw in sorted(self.received):
                writer.write(connections[topic], time_ns, raw)
        return path


@pytest.fixture
def recorded(start, config, domain, tmp_path):
    """(configuration, raw bag, our bag, [(instant, observation)]) of one episode by the clock."""
    config = with_timing(config, "realtime")
    sections = {
        **config.sections,
        "robot": {**config.robot, "camera_names": ["camera"], "image_width": 32, "image_height": 32},
        "sim_robot": {"camera_hz": 10.0},
        "episode_manager": {"max_steps": 40},
        "safety_filter": config.section("safety_filter") | {"action_timeout_s": 0.4, "state_timeout_s": 2.0},
        "aggregator": {"max_source_age_s": 20.0},  # a shared machine may stop a process for a while
    }
    config = RunConfig(config.path, sections)
    recorder = RawRecorder(domain)
    try:
        probe = start(graphs.record_graph(config, tmp_path / "ours", 3))
        (ended, *_) = probe.ended(1)
    finally:
        recorder.close()
    online = [(t, deserialize_message(raw, Observation)) for t, raw in recorder.observations]
    probe.wait(lambda: any((tmp_path / "ours").glob("episode_*")), 10.0)
    mine = sorted((tmp_path / "ours").glob("episode_*"))[0]
    online = [o for o in online if o[1].episode_id == ended.episode_id]
    return config, recorder.write(tmp_path / "raw"), mine, online


def aggregated(path: Path, config, instants) -> tuple[list[Sample | str], list[np.ndarray | str]]:
    """Offline: the observation at each instant, and where the commands before it wanted the joints."""
    p, bag = observing_parameters(config), RawBag(path, print)
    topics = topic_map(str(path), bag.topics, bag.counts, config, p, OPTIONS)
    sampler = RawSampler(p, topics, OPTIONS, {s: SourceReport(s, t) for s, t in topics.sources.items()})
    commands = RawCommands(p.joint_names, 1.0, SourceReport("commands", topics.commands))
    waiting, samples, targets = sorted(instants, reverse=True), [], []
    for topic, time_ns, raw in bag.messages(topics.every):
        while waiting and waiting[-1] < time_ns:
            samples.append(sampler.sample(waiting[-1], 0.05))
            targets.append(commands.before(waiting.pop(), 0.05))
        sampler.take(topic, time_ns, raw)
        if topic in topics.commands:
            commands.take(bag.topics[topic], time_ns, raw, sampler.measured)
    return samples, targets


def joints_of(state) -> bytes:
    return np.asarray(state[: 2 * JOINTS], np.float32).tobytes()


def messages_of_joints(path: Path) -> dict[bytes, int]:
    """Positions and velocities of every joint state recorded, to its number."""
    raw = [m for _, _, m in RawBag(path, print).messages(["/joint_states"])]
    states = [decoded(m, "sensor_msgs/msg/JointState") for m in raw]
    return {joints_of(np.concatenate([m.position, m.velocity])): i for i, m in enumerate(states)}


def test_when_a_raw_recording_is_aggregated_offline_expect_the_live_episode(recorded):
    config, raw, mine, online = recorded
    samples, targets = aggregated(raw, config, [t for t, _ in online])
    pairs = [(a, b) for a, (_, b) in zip(samples, online, strict=True) if isinstance(a, Sample)]
    assert len(pairs) == len(online) >= 40
    same = np.mean([np.array_equal(a.state, np.array(b.state)) for a, b in pairs])
    pixels = [(a.images[0].reshape(-1), np.frombuffer(b.images[0].data, np.uint8)) for a, b in pairs]
    same_pictures = np.mean([np.array_equal(a, b) for a, b in pixels])
    # One process may hear a message that another hears just after it has sampled.
    assert same > 0.75 and same_pictures > 0.75
    heard = messages_of_joints(raw)
    apart = [heard[joints_of(a.state)] - heard[joints_of(np.array(b.state))] for a, b in pairs]
    assert np.abs(apart).max() <= 10  # at 100 Hz

    ours, by_step = read_episode(mine), {b.step: i for i, (_, b) in enumerate(online)}
    steps = [k for k in range(len(ours)) if k + 1 in by_step and not isinstance(targets[by_step[k + 1]], str)]
    found = np.array([targets[by_step[k + 1]] for k in steps])
    away = np.abs(found - ours.actions[steps]).mean()
    late = np.abs(ours.actions[1:] - ours.actions[:-1]).mean()
    assert len(steps) >= 35 and away < late

    (data, _) = next(raw_episodes(raw, config, OPTIONS, print))
    assert data.outcome is ours.outcome and abs(len(data) - len(ours)) <= 10
