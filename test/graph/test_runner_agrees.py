"""The in-process runner and the graph in lockstep give the same transitions, bit for bit."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray, KeyValue

from resfit_ros import graphs
from resfit_ros.bringup import load_config
from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.residual import CorrelatedNoise
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Outcome
from resfit_ros.data.read_bags import bag_paths, read_episodes
from resfit_ros.learning.networks import ObservationShape, ResidualActor
from resfit_ros.learning.weights import load_actor, pack, sha256
from resfit_ros.msg import Action, ActorWeights
from resfit_ros.paths import find_config
from resfit_ros.policies.chunk_policy import ChunkPolicy
from resfit_ros.ros.qos import LATCHED
from resfit_ros.runner.acting import Residual
from resfit_ros.runner.base_policy import load_policy, record_demonstrations, train_base_policy
from resfit_ros.runner.lockstep import LockstepRobot
from resfit_ros.runner.settings import RobotSettings, learner_parameters
from resfit_ros.runner.training import SimTraining
from resfit_ros.sim import HumanoidSim
from resfit_ros.sim.errors import RenderError
from resfit_ros.srv import StartEpisode

NOISE_SEED, CORRELATION = 11, 0.9
# Values that float32 cannot hold exactly: the message rounds them, the runner must not differ by that.
SCHEDULE = ActingSchedule(residual_scale=0.13, exploration_std=0.03, warm_up=False, version=7)
CAMERA = {
    "aggregator": {"camera_names": ["camera"], "image_width": 32, "image_height": 24},
    "sim_robot": {"camera_hz": 20.0, "image_width": 96, "image_height": 72},
}


def nothing(*_) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def demonstrations():
    """(configuration, expert's successes) for a base policy that succeeds now and then."""
    config = load_config(find_config("bimanual_lift"))
    bc = {**config.section("train_bc"), "demonstrations": 6, "updates": 1000, "hidden_width": 128}
    config = dataclasses.replace(config, sections={**config.sections, "train_bc": bc})
    return config, record_demonstrations(config, 0, nothing)


@pytest.fixture(scope="module")
def good_policy_dir(demonstrations, tmp_path_factory) -> Path:
    config, segments = demonstrations
    directory = tmp_path_factory.mktemp("good") / "policy"
    train_base_policy(config, segments, directory, 0, nothing)
    return directory


def random_actor(policy: ChunkPolicy, seed: int = 5) -> bytes:
    """Weights of an actor whose residuals are far from zero."""
    n = policy.normaliser
    torch.manual_seed(seed)
    shape = ObservationShape(n.state_dim, n.action_dim)
    actor = ResidualActor(shape, LearningConfig(hidden_width=32))
    for weights in actor.parameters():
        torch.nn.init.normal_(weights, std=0.2)
    return pack(actor)


class InProcess:
    """The runner, acting like the residual node with the same actor, noise and schedule."""

    def __init__(self, config, policy_dir: Path, data: bytes) -> None:
        policy = load_policy(config, policy_dir)
        self.robot = LockstepRobot(RobotSettings.of(config), policy)
        self._noise = CorrelatedNoise(len(config.joint_names), CORRELATION)
        actor = load_actor(data, sha256(data), policy.normaliser)
        self._act = Residual(actor, SCHEDULE, policy.normaliser, self._noise)

    def play(self, episode_id: int, scene: int) -> AssembledEpisode:
        self._noise.reset(NOISE_SEED, episode_id)
        return self.robot.run_episode(episode_id, scene, self._act)

    def scene_that_succeeds(self, episode_id: int) -> int:
        for scene in range(1, 200):
            if self.play(episode_id, scene).end.outcome is Outcome.SUCCESS:
                return scene
        pytest.fail("the policy never succeeded")


def exploring_nodes(config, policy_dir, tmp_path, bags):
    """The control path with a recorder; episodes are started, and weights sent, by the test."""
    specs = graphs.evaluate_graph(
        config, policy_dir, None, tmp_path / "result.json", bags, 1, 0, seed=0
    )
    kept = tuple(s for s in specs if s.name != "evaluator")
    for spec in kept:
        if spec.name == "residual":
            spec.parameters.update(enabled=True, explore=True, seed=NOISE_SEED)
            spec.parameters["exploration_correlation"] = CORRELATION
        if spec.name == "episode_manager":
            spec.parameters["wait_for_nodes"] = [s.name for s in kept if s is not spec]
    return kept


def send_actor(probe, data: bytes, normaliser: Normaliser) -> None:
    """Publishes the weights as the learner would, and waits until the residual node acts with them."""
    probe.watch(DiagnosticArray, "/diagnostics", 10)
    publisher = probe.node.create_publisher(ActorWeights, "actor_weights", LATCHED)
    publisher.publish(
        ActorWeights(
            version=SCHEDULE.version,
            data=data,
            sha256=sha256(data),
            normaliser=json.dumps(normaliser.to_dict()),
            normaliser_sha256=normaliser.sha256,
            residual_scale=SCHEDULE.residual_scale,
            exploration_std=SCHEDULE.exploration_std,
        )
    )
    wanted = KeyValue(key="actor version", value=str(SCHEDULE.version))
    probe.wait(lambda: any(wanted in s.values for m in probe.seen["/diagnostics"] for s in m.status))


def recorded(probe, bags: Path, count: int, joints: int = 29) -> list[AssembledEpisode]:
    """The first `count` episodes of the graph, from their bags."""
    names = [f"episode_{i:06d}" for i in range(1, count + 1)]
    probe.wait(lambda: all((bags / n / "metadata.yaml").exists() for n in names), 120.0)
    episodes = [e for p in bag_paths(bags) if p.name in names for e in read_episodes([p], joints)]
    assert [e.end.episode_id for e in episodes] == list(range(1, count + 1))
    return episodes


def assert_same(graph: AssembledEpisode, runner: AssembledEpisode) -> None:
    """Outcome, length and every number of every transition are equal."""
    ends = [dataclasses.replace(e.end, stamp_ns=0) for e in (graph, runner)]
    assert ends[0] == ends[1]
    assert (graph.steps_lost, runner.steps_lost) == (0, 0)
    (one,), (other,) = graph.segments, runner.segments
    assert (one.episode_id, one.terminal) == (other.episode_id, other.terminal)
    for name in ("states", "bases", "phases", "actions", "rewards"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
    assert len(one.images) == len(other.images)
    for ours, theirs in zip(one.images, other.images, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def play_both(start, config, policy_dir, tmp_path, scenes=None):
    """Four scenes, the first one a success, in the runner and in the graph."""
    policy = load_policy(config, policy_dir)
    data = random_actor(policy)
    runner = InProcess(config, policy_dir, data)
    scenes = scenes or [runner.scene_that_succeeds(1), 3, 4, 3]
    ours = [runner.play(i, scene) for i, scene in enumerate(scenes, start=1)]
    runner.robot.close()
    bags = tmp_path / "bags"
    probe = start(exploring_nodes(config, policy_dir, tmp_path, bags))
    send_actor(probe, data, policy.normaliser)
    for count, scene in enumerate(scenes, start=1):
        answer = probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=scene))
        assert answer.success, answer.message
        probe.ended(count)
    return ours, recorded(probe, bags, len(scenes)), probe


def test_when_an_actor_explores_expect_the_graphs_transitions_in_the_runner(
    start, config, good_policy_dir, tmp_path
):
    ours, theirs, probe = play_both(start, config, good_policy_dir, tmp_path)
    assert ours[0].end.outcome is Outcome.SUCCESS
    for graph, runner in zip(theirs, ours, strict=True):
        assert_same(graph, runner)
    # The same scene under another episode id gets other noise.
    assert not np.array_equal(ours[1].segments[0].actions[0], ours[3].segments[0].actions[0])
    assert {m.mode for m in probe.seen["action"]} == {Action.MODE_EXPLORE}
    sizes = [np.abs(np.array(m.residual)).max() for m in probe.seen["action"]]
    assert min(sizes) > 0.01


def test_when_a_camera_is_used_expect_the_graphs_images_in_the_runner(
    start, config, good_policy_dir, tmp_path
):
    with HumanoidSim() as sim:
        try:
            sim.render(32, 32)
        except RenderError as error:
            pytest.skip(f"no OpenGL to render with: {error}")
    sections = {**config.sections, **CAMERA}
    sections["episode_manager"] = {**config.section("episode_manager"), "max_steps": 8}
    config = dataclasses.replace(config, sections=sections)
    ours, theirs, _ = play_both(start, config, good_policy_dir, tmp_path, scenes=[3, 4])
    assert ours[0].segments[0].images[0].shape == (9, 24, 32, 3)
    for graph, runner in zip(theirs, ours, strict=True):
        assert_same(graph, runner)


def test_when_demonstrations_are_recorded_expect_those_of_the_graph(start, demonstrations, tmp_path):
    config, ours = demonstrations
    bags = tmp_path / "bags"
    wanted = 2
    probe = start(graphs.record_graph(config, bags, seed=0, successes=wanted))
    theirs = recorded(probe, bags, ours[wanted - 1].episode_id)
    won = [e.segments[0] for e in theirs if e.end.outcome is Outcome.SUCCESS]
    assert [s.episode_id for s in won] == [s.episode_id for s in ours[:wanted]]
    for graph, runner in zip(won, ours[:wanted], strict=True):
        for name in ("states", "bases", "phases", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(graph, name), getattr(runner, name), err_msg=name)


def test_when_learning_begins_expect_the_graphs_scenes_and_noise_in_the_runner(
    start, config, good_policy_dir, tmp_path
):
    seed = 2
    learner = learner_parameters(config, seed, {})
    training = SimTraining(config, load_policy(config, good_policy_dir), good_policy_dir, learner)
    ours = [training.collect() for _ in range(3)]
    specs = graphs.finetune_graph(config, tmp_path, good_policy_dir, None, seed)
    probe = start(specs)
    theirs = recorded(probe, tmp_path / "bags" / "finetune", 3)
    for graph, runner in zip(theirs, ours, strict=True):
        assert_same(graph, runner)
    assert [e.end.scene_seed for e in ours] == [2_100_001, 2_100_002, 2_100_003]
