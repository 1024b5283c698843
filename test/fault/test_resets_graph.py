"""Rows 24 and 25 through the graph."""

import os
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

import rclpy  # noqa: E402
from marked_policy import JOINT, MARK_RAD  # noqa: E402
from soak import count  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from resfit_ros import graphs, msg  # noqa: E402
from resfit_ros.bringup import RunConfig, describe, with_timing  # noqa: E402
from resfit_ros.ros.node import make_executor  # noqa: E402
from resfit_ros.ros.qos import STEPS  # noqa: E402
from resfit_ros.srv import ResetScene, StartEpisode  # noqa: E402

CALLS = 5


class Scene:
    """A robot that is reset when the test says so: its service has an executor of its own."""

    def __init__(self, probe) -> None:
        self.resets = 0
        self.node = rclpy.create_node("scene", namespace="/resfit", context=probe.context)
        self.node.create_service(ResetScene, "reset_scene", self._on_reset)
        probe.node.create_publisher(msg.Observation, "observation", STEPS)
        self._executor = make_executor(probe.context)
        self._executor.add_node(self.node)

    def _on_reset(self, _request, response):
        self.resets += 1
        response.success = True
        response.stamp = self.node.get_clock().now().to_msg()
        return response

    def spin(self) -> bool:
        """Answers what has been asked; never ends a wait."""
        self._executor.spin_once(timeout_sec=0.01)
        return False

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()


@pytest.fixture
def scene(start, config):
    probe = start(describe(config, ["episode_manager"], {"episode_manager": {"scene_seed": 1}}), whole=False)
    made = Scene(probe)
    made.probe = probe
    made.clients = [probe.node.create_client(Trigger, "reset") for _ in range(CALLS)]
    probe.wait(lambda: all(c.service_is_ready() for c in made.clients), 30.0)
    probe.spin(2.0)  # until the manager has found the scene
    yield made
    made.close()


def all_at_once(scene: Scene) -> list:
    """The answers to that many calls, sent before any is answered; the scene does nothing meanwhile."""
    futures = [client.call_async(Trigger.Request()) for client in scene.clients]
    scene.probe.wait(lambda: all(f.done() for f in futures), 30.0)
    return [f.result() for f in futures]


def test_when_five_resets_are_called_at_once_expect_one_accepted_and_one_boundary(scene, measured):
    rounds, refusals = count(200, 20), []
    episodes = scene.probe.seen["episode"]
    for number in range(1, rounds + 1):
        answers = all_at_once(scene)
        refused = [a.message for a in answers if not a.success]
        assert len(refused) == CALLS - 1, [a.message for a in answers]
        refusals += refused
        scene.probe.wait(lambda n=number: scene.spin() or len(episodes) >= 2 * n - 1, 30.0)
    assert all(r.startswith("refused: a reset is already") for r in refusals)
    expected = [event for i in range(1, rounds + 1) for event in ((i - 1, 1), (i, 0))][1:]
    assert [(e.episode_id, int(e.event == msg.Episode.EVENT_ENDED)) for e in episodes] == expected
    assert scene.resets == rounds
    measured(
        25,
        f"through the graph: {rounds} times {CALLS} calls at once: {rounds} accepted, {len(refusals)} refused with a "
        f"reason, {rounds} episodes started, each once",
    )


def test_when_resets_keep_coming_while_the_scene_is_reset_expect_as_many_boundaries_as_accepted(scene, measured):
    accepted = 0
    episodes = scene.probe.seen["episode"]
    for _ in range(count(200, 10)):
        futures = [client.call_async(Trigger.Request()) for client in scene.clients]
        scene.probe.wait(lambda f=futures: scene.spin() or all(one.done() for one in f), 30.0)
        accepted += sum(f.result().success for f in futures)
    scene.probe.wait(lambda: scene.spin() or len(episodes) >= 2 * accepted - 1, 30.0)
    scene.probe.spin(0.5)
    started = [e.episode_id for e in episodes if e.event == msg.Episode.EVENT_STARTED]
    assert started == list(range(1, accepted + 1))
    assert len(episodes) == 2 * accepted - 1 and scene.resets == accepted
    measured(25, f"through the graph, resets answered meanwhile: {accepted} accepted, {len(started)} episodes started")


def test_when_a_start_is_asked_for_again_expect_the_same_episode_and_another_one_refused(scene):
    client = scene.probe.node.create_client(StartEpisode, "start_episode")
    scene.probe.wait(client.service_is_ready, 30.0)

    def ask(seed: int, spin: bool = False) -> StartEpisode.Response:
        future = client.call_async(StartEpisode.Request(scene_seed=seed))
        scene.probe.wait(lambda: (spin and scene.spin()) or future.done(), 30.0)
        return future.result()

    first, again, other = ask(7), ask(7), ask(8)  # the scene answers nothing meanwhile
    assert (first.success, first.episode_id) == (again.success, again.episode_id) == (True, 1)
    assert not other.success and other.message.startswith("refused: another start came first")
    episodes = scene.probe.seen["episode"]
    scene.probe.wait(lambda: scene.spin() or episodes, 30.0)
    running = ask(7, spin=True)
    assert (running.success, running.message) == (False, "refused: episode 1 is not finished")
    assert [(e.episode_id, e.scene_seed) for e in episodes] == [(1, 7)] and scene.resets == 1


def test_when_reset_during_inference_expect_no_action_from_a_chunk_of_another_episode(
    start, config, monkeypatch, measured
):
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}{os.pathsep}{here.parents[1]}")
    realtime = with_timing(config, "realtime")
    sections = {
        **realtime.sections,
        "robot": {**realtime.robot, "execute_steps": 15, "prefetch_steps": 10},
        "safety_filter": {**realtime.section("safety_filter"), "auto_arm": True, "action_timeout_s": 0.4},
        "episode_manager": {"max_steps": 5000},
    }
    specs = graphs.deploy_graph(RunConfig(config.path, sections), "python:marked_policy:Marked", None)
    probe = start(specs)
    actions, observations, resets = probe.seen["action"], probe.seen["observation"], count(30, 5)
    probe.wait(lambda: len(actions) > 5)
    for number in range(1, resets + 1):
        probe.wait(lambda n=number: observations[-1].episode_id == n, 30.0)  # its first chunk takes 0.3 s
        if number % 2:
            probe.wait(lambda n=number: actions[-1].episode_id == n and actions[-1].step > 5, 30.0)
        assert probe.call(Trigger, "reset", Trigger.Request()).success
    probe.wait(lambda: actions[-1].episode_id == resets + 1 and actions[-1].step > 20, 30.0)
    marks = [(a.episode_id, round(a.base[JOINT] / MARK_RAD)) for a in actions]
    assert [pair for pair in marks if pair[0] != pair[1]] == []
    order = [(a.episode_id, a.step) for a in actions]
    assert order == sorted(order)  # none of an episode that is over
    measured(24, f"through the graph: {resets} resets while a 0.3 s inference ran, {len(actions)} actions, 0 leaks")
