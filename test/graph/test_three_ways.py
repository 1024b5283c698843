"""Live topics, a bag played back, and files: the learner gets the same bits from all three."""

import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import noting_learner
import pytest
from rosbags.highlevel import AnyReader

from resfit_ros import graphs, msg
from resfit_ros.bringup import NodeSpec
from resfit_ros.core.run_layout import FINETUNE_BAGS
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_directory import bag_paths_by_id
from resfit_ros.data.interfaces import EPISODE_TOPICS
from resfit_ros.data.read_bags import read_episodes
from resfit_ros.data.segment_digest import episode_digest
from resfit_ros.ros.qos import STEPS
from resfit_ros.sim import HumanoidSim
from resfit_ros.sim.errors import RenderError
from resfit_ros.srv import StartEpisode
from resfit_ros.supervise import added_environment, command_line

MIXED = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT)
# Only listens: it never comes to its first update.
LISTENING = {"total_steps": 100_000, "warmup_steps": 90_000, "hidden_width": 16, "critic_ensemble": 2}
CAMERAS = {
    "aggregator": {"camera_names": ["camera"], "image_width": 32, "image_height": 24},
    "sim_robot": {"camera_hz": 20.0, "image_width": 64, "image_height": 48},
    "learner": {"use_images": True, "vit_width": 16, "vit_heads": 2, "image_features": 8},
}
Notes = dict[int, tuple[int, str]]  # episode to steps lost and digest


class Listener:
    """A learner process with a run directory of its own."""

    def __init__(self, spec: NodeSpec, run_dir: Path) -> None:
        run_dir.mkdir(exist_ok=True)
        self._notes, self._log = run_dir / "notes.txt", run_dir / "learner.log"
        parameters = run_dir / "learner.yaml"
        mine = dataclasses.replace(spec, parameters={**spec.parameters, "run_dir": str(run_dir)})
        parameters.write_text(mine.parameter_file_text())
        line = command_line(mine, parameters)
        line[1:3] = [noting_learner.__file__]
        environment = os.environ | added_environment() | {noting_learner.NOTES: str(self._notes)}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment)

    def notes(self) -> Notes:
        """What it has taken in so far."""
        assert self._process.poll() in (None, 0), self._log.read_text()
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        words = [line.split() for line in lines]
        assert len({w[0] for w in words}) == len(words), f"an episode was taken in twice: {lines}"
        return {int(number): (int(lost), digest) for number, lost, digest in words}

    def stop(self) -> None:
        """As Ctrl-C would."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def listen(domain) -> Iterator:
    """Starts listeners; all end with the test."""
    running = []

    def begin(spec: NodeSpec, run_dir: Path) -> Listener:
        running.append(Listener(spec, run_dir))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def nodes(config, policy_dir, tmp_path, bags: Path) -> tuple[tuple[NodeSpec, ...], NodeSpec]:
    """(the graph without its learner, the learner); the test begins the episodes."""
    specs = graphs.finetune_graph(config, tmp_path / "live", policy_dir, None, seed=0, learner=LISTENING)
    by_name = {spec.name: spec for spec in specs}
    by_name["episode_manager"].parameters.update(auto_start=False, wait_for_learner=False, max_steps=24)
    # Not in the run directory: the learner would fill in from there what it has not heard.
    by_name["recorder"].parameters["bag_dir"] = str(bags)
    return tuple(s for s in specs if s.name != "learner"), by_name["learner"]


def play_episode(probe, labels, outcome: Outcome, scene: int) -> None:
    """One episode to that end: labelled while it runs, or left alone until its steps are over."""
    answer = probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=scene))
    assert answer.success, answer.message
    if outcome is not Outcome.TIMEOUT:
        probe.wait(lambda: len(probe.of_episode("executed_action", answer.episode_id)) > 6)
        seen = probe.of_episode("executed_action", answer.episode_id)[-1].header
        labels.publish(msg.Label(header=seen, outcome=int(outcome), labelled_by="test"))


def live(probe, bags: Path, listener: Listener) -> list[Outcome]:
    """Episodes heard while they are recorded; their outcomes."""
    labels = probe.node.create_publisher(msg.Label, "label_event", STEPS)
    probe.wait(lambda: labels.get_subscription_count() > 0)
    for count, outcome in enumerate(MIXED, start=1):
        play_episode(probe, labels, outcome, scene=count)
        ends = probe.ended(count)
    probe.wait(lambda: len(listener.notes()) == len(bag_paths_by_id(bags)) == len(MIXED))
    probe.supervisor.stop()
    listener.stop()
    return [Outcome(e.outcome) for e in ends]


def play_back(probe, bag: Path, listener: Listener, number: int) -> None:
    """Publishes the serialised messages of a bag in the order of recording, as `ros2 bag play` does."""
    publishers = {
        f"/resfit/{topic}": probe.node.create_publisher(getattr(msg, kind), topic, STEPS)
        for topic, kind in EPISODE_TOPICS.items()
    }
    heard = [p for topic, p in publishers.items() if topic != "/resfit/action_chunk"]
    # The probe hears them, too.
    probe.wait(lambda: all(p.get_subscription_count() >= 2 for p in heard))
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            publishers[connection.topic].publish(bytes(raw))
    probe.wait(lambda: number in listener.notes())
    for publisher in publishers.values():
        probe.node.destroy_publisher(publisher)


@pytest.mark.parametrize("cameras", [{}, CAMERAS], ids=["state", "camera"])
def test_when_heard_live_played_back_and_read_from_files_expect_the_same_bits_in_the_learner(
    start, listen, config, policy_dir, tmp_path, cameras
):
    if cameras:
        try:
            with HumanoidSim() as sim:
                sim.render(16, 16)
        except RenderError as error:
            pytest.skip(f"no pictures on this machine: {error}")
    merged = {name: {**config.section(name), **more} for name, more in cameras.items()}
    config = dataclasses.replace(config, sections={**config.sections, **merged})
    bags = tmp_path / "bags"
    graph, learner = nodes(config, policy_dir, tmp_path, bags)
    hearing = listen(learner, tmp_path / "live")
    probe = start(graph)
    assert live(probe, bags, hearing) == list(MIXED)

    playing = listen(learner, tmp_path / "played")
    for number, bag in sorted(bag_paths_by_id(bags).items()):
        play_back(probe, bag, playing, number)

    shutil.copytree(bags, tmp_path / "files" / FINETUNE_BAGS)
    reading = listen(learner, tmp_path / "files")
    probe.wait(lambda: len(reading.notes()) == len(MIXED))

    episodes = list(read_episodes(bag_paths_by_id(bags).values(), 29, 65))
    direct = {e.end.episode_id: (e.steps_lost, episode_digest(e)) for e in episodes}
    assert {lost for lost, _ in direct.values()} == {0}
    # Every step of every episode is there: nothing is compared that is empty.
    assert all(sum(map(len, e.segments)) == e.end.steps > 0 for e in episodes)
    assert {len(s.images) for e in episodes for s in e.segments} == {len(cameras) and 1}
    assert hearing.notes() == playing.notes() == reading.notes() == direct
