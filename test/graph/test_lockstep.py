"""One episode after the other through the real graph, as fast as it goes."""

import dataclasses

import numpy as np
import pytest
from std_srvs.srv import SetBool, Trigger

from resfit_ros import graphs
from resfit_ros.core.types import EpisodeEnded, Executed, Observation
from resfit_ros.data.read_bags import bag_paths, read_episodes, read_messages
from resfit_ros.msg import Action, Episode
from resfit_ros.sim import HumanoidSim
from resfit_ros.sim.errors import RenderError
from resfit_ros.srv import StartEpisode


def evaluation_nodes(config, policy_dir, tmp_path, bags=None):
    """Base policy alone, with episodes started by the test itself."""
    specs = graphs.evaluate_graph(
        config, policy_dir, None, tmp_path / "result.json", bags, 1, 700_000, seed=0
    )
    kept = [s for s in specs if s.name != "evaluator"]
    for spec in kept:
        if spec.name == "episode_manager":
            spec.parameters["wait_for_nodes"] = [s.name for s in kept if s is not spec]
    return tuple(kept)


def play(probe, scene: int) -> int:
    """Runs one episode on a scene and returns its id."""
    before = len([e for e in probe.seen["episode"] if e.event == Episode.EVENT_ENDED])
    answer = probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=scene))
    assert answer.success, answer.message
    probe.ended(before + 1)
    return answer.episode_id


def steps_of(messages) -> list[int]:
    return sorted({m.step for m in messages})


def test_when_an_episode_runs_expect_every_step_once_and_the_executed_action_in_the_bag(
    start, config, policy_dir, tmp_path
):
    bags = tmp_path / "bags"
    probe = start(evaluation_nodes(config, policy_dir, tmp_path, bags))
    episode_id = play(probe, scene=3)
    end = probe.ended()[0]

    observations = probe.of_episode("observation", episode_id)
    actions = probe.of_episode("action", episode_id)
    executed = probe.of_episode("executed_action", episode_id)
    steps = end.steps
    assert steps_of(observations)[: steps + 1] == list(range(steps + 1))
    assert steps_of(actions)[: steps + 1] == list(range(steps + 1))
    assert steps_of(executed)[:steps] == list(range(steps))

    probe.wait(lambda: (bags / "episode_000001" / "metadata.yaml").exists(), 10.0)
    (episode,) = read_episodes(bag_paths(bags), 29, 65)
    assert episode.steps_lost == 0
    (segment,) = episode.segments
    sent = {m.header.stamp.sec * 10**9 + m.header.stamp.nanosec: m for m in probe.seen["/joint_command"]}
    for message in executed[:steps]:
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        to_robot = np.array(sent[stamp].points[0].positions, np.float32)
        assert np.array_equal(segment.actions[message.step], np.array(message.action, np.float32))
        assert np.array_equal(to_robot, np.array(message.action, np.float32))


def test_when_the_residual_is_off_expect_base_actions_bit_identical(
    start, config, policy_dir, tmp_path
):
    probe = start(evaluation_nodes(config, policy_dir, tmp_path))
    assert probe.call(SetBool, "enable_residual", SetBool.Request(data=False)).success
    episode_id = play(probe, scene=4)
    chunks = {c.step: np.array(c.actions).reshape(c.horizon, -1) for c in probe.of_episode("action_chunk", episode_id)}
    executed = {e.step: e for e in probe.of_episode("executed_action", episode_id)}
    compared = 0
    for action in probe.of_episode("action", episode_id):
        start_step = action.step - action.step % 8
        row = np.array(chunks[start_step][action.step - start_step], np.float32)
        assert action.mode == Action.MODE_BASE
        assert action.base.tobytes() == row.tobytes()
        assert action.command.tobytes() == action.base.tobytes()
        done = executed.get(action.step)
        if done is not None and done.reasons == 0:
            assert done.action.tobytes() == action.base.tobytes()
            compared += 1
    assert compared >= 10  # a limiter may have changed the others


def test_when_a_scene_is_run_twice_expect_the_same_episode(start, config, policy_dir, tmp_path):
    probe = start(evaluation_nodes(config, policy_dir, tmp_path))
    first, second = play(probe, scene=5), play(probe, scene=5)
    ends = {e.episode_id: e for e in probe.ended(2)}
    assert ends[first].steps == ends[second].steps
    for step in range(ends[first].steps + 1):
        a, b = (
            next(o for o in probe.of_episode("observation", i) if o.step == step)
            for i in (first, second)
        )
        assert a.state.tobytes() == b.state.tobytes()


def test_when_reset_is_called_expect_abort_and_only_fresh_chunks(start, config, policy_dir, tmp_path):
    probe = start(evaluation_nodes(config, policy_dir, tmp_path))
    answer = probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=6))
    old = answer.episode_id
    probe.wait(lambda: len(probe.of_episode("action", old)) > 10)
    assert probe.call(Trigger, "reset", Trigger.Request()).success
    probe.wait(lambda: len(probe.of_episode("action", old + 1)) > 20)
    probe.spin(0.5)  # for the chunks these actions were taken from
    (aborted,) = [e for e in probe.seen["episode"] if e.episode_id == old and e.event == Episode.EVENT_ENDED]
    assert aborted.outcome == Episode.OUTCOME_ABORTED
    chunks = {c.step: np.array(c.actions).reshape(c.horizon, -1) for c in probe.of_episode("action_chunk", old + 1)}
    fresh = probe.of_episode("action", old + 1)
    assert steps_of(fresh)[0] == 0
    for action in fresh:
        start_step = action.step - action.step % 8
        row = np.array(chunks[start_step][action.step - start_step], np.float32)
        assert action.base.tobytes() == row.tobytes()


def test_when_a_second_reset_comes_during_a_reset_expect_one_episode_boundary(
    start, config, policy_dir, tmp_path
):
    probe = start(evaluation_nodes(config, policy_dir, tmp_path))
    probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=6))
    probe.wait(lambda: len(probe.seen["action"]) > 5)
    client = probe.node.create_client(Trigger, "reset")
    probe.wait(client.service_is_ready)
    futures = [client.call_async(Trigger.Request()) for _ in range(2)]
    probe.wait(lambda: all(f.done() for f in futures))
    probe.wait(lambda: len(probe.of_episode("action", 2)) > 5)
    started = [e.episode_id for e in probe.seen["episode"] if e.event == Episode.EVENT_STARTED]
    accepted = sum(f.result().success for f in futures)
    assert started == list(range(1, 2 + accepted))


def test_when_a_bag_is_read_expect_the_messages_that_were_published(start, config, policy_dir, tmp_path):
    bags = tmp_path / "bags"
    probe = start(evaluation_nodes(config, policy_dir, tmp_path, bags))
    episode_id = play(probe, scene=8)
    probe.wait(lambda: (bags / "episode_000001" / "metadata.yaml").exists(), 10.0)
    recorded = list(read_messages(bags / "episode_000001"))
    states = {m.step: m.state.tobytes() for m in recorded if isinstance(m, Observation)}
    assert states == {m.step: m.state.tobytes() for m in probe.of_episode("observation", episode_id)}
    assert sum(isinstance(m, EpisodeEnded) for m in recorded) == 1
    assert sum(isinstance(m, Executed) for m in recorded) == len(
        probe.of_episode("executed_action", episode_id)
    )


def test_when_a_camera_is_asked_for_expect_a_resized_image_in_each_observation(
    start, config, policy_dir, tmp_path
):
    with HumanoidSim() as sim:
        try:
            sim.render(32, 32)
        except RenderError as error:
            pytest.skip(f"no OpenGL to render with: {error}")
    sections = {
        **config.sections,
        "aggregator": {"camera_names": ["camera"], "image_width": 32, "image_height": 24},
        "sim_robot": {"camera_hz": 20.0, "image_width": 64, "image_height": 48},
    }
    config = dataclasses.replace(config, sections=sections)
    probe = start(evaluation_nodes(config, policy_dir, tmp_path))
    probe.call(StartEpisode, "start_episode", StartEpisode.Request(scene_seed=9))
    probe.wait(lambda: len(probe.seen["observation"]) >= 5)
    for observation in probe.seen["observation"][:5]:
        (image,) = observation.images
        assert (image.width, image.height, image.encoding) == (32, 24, "rgb8")
        assert len(set(image.data)) > 10  # not one flat colour
        assert image.header.stamp == observation.header.stamp
