"""An evaluation through the real graph: who acts changes between episodes, and nobody is told."""

import json
import time
from pathlib import Path

import pytest
import rclpy
import torch
from diagnostic_msgs.msg import DiagnosticArray
from std_srvs.srv import SetBool, Trigger

from resfit_ros import graphs, phases
from resfit_ros.cli.what_to_run import look_at
from resfit_ros.core import types
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Outcome
from resfit_ros.data.bag_directory import bag_paths_by_id
from resfit_ros.data.episode_bag import bag_name
from resfit_ros.data.read_bags import read_messages
from resfit_ros.learning.blind_record import commitment, files, is_unfinished, lock
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.trainer import Trainer
from resfit_ros.msg import Action, Episode
from resfit_ros.ros.convert import episode_to_msg
from resfit_ros.ros.qos import EPISODES
from resfit_ros.srv import Label, StartEpisode

SCENE = 900_000


@pytest.fixture
def checkpoint(config, policy_dir, tmp_path) -> Path:
    """A residual that has learnt nothing yet: its correction is zero."""
    normaliser, identity = look_at(config, str(policy_dir))
    learning = LearningConfig(critic_ensemble=2, hidden_width=32, batch_size=32)
    return save_checkpoint(tmp_path / "checkpoints", Trainer(learning, normaliser, "cpu", (), identity), {})


@pytest.fixture
def bad_checkpoint(config, policy_dir, tmp_path) -> Path:
    """A residual of finite weights that overflow everywhere but at the mean of all inputs, where it is tried."""
    normaliser, identity = look_at(config, str(policy_dir))
    trainer = Trainer(LearningConfig(critic_ensemble=2, hidden_width=32), normaliser, "cpu", (), identity)
    with torch.no_grad():
        for actor in (trainer.agent.actor, trainer.agent.average_actor):
            actor.trunk[0].weight.fill_(torch.finfo(torch.float32).max)
    return save_checkpoint(tmp_path / "bad", trainer, {})


def acted(bags: Path, episode: dict) -> set[tuple[int, int]]:
    """(mode, actor version) of the actions of an episode, from its bag: the recorder hears every one."""
    actions = (m for m in read_messages(bags / bag_name(episode["episode_id"])) if isinstance(m, types.Action))
    return {(int(a.mode), a.actor_version) for a in actions if a.step < episode["steps"]}


@pytest.mark.parametrize("two_checkpoints", [False, True], ids=["base", "checkpoint"])
def test_when_arms_are_compared_expect_each_to_act_as_ordered_and_nothing_told(
    start, config, policy_dir, checkpoint, tmp_path, two_checkpoints
):
    result_path = tmp_path / "evaluation.json"
    against = checkpoint if two_checkpoints else None
    specs = graphs.evaluate_graph(
        config, policy_dir, checkpoint, result_path, tmp_path / "bags", 2, SCENE, seed=-1, against=against
    )
    probe = start(specs)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    probe.wait(result_path.exists, 120.0)
    probe.spin(0.5)
    result = json.loads(result_path.read_text())

    first = (Action.MODE_RESIDUAL, 1) if two_checkpoints else (Action.MODE_BASE, 0)
    by_arm = dict(zip(result["arms"], (first, (Action.MODE_RESIDUAL, 2)), strict=True))
    probe.wait(lambda: len(bag_paths_by_id(tmp_path / "bags")) == 4, 20.0)
    assert [acted(tmp_path / "bags", e) for e in result["episodes"]] == [{by_arm[e["arm"]]} for e in result["episodes"]]
    assert [e["arm"] for e in result["episodes"]] == [t["arm"] for t in result["commitment"]["order"]]
    assert all(e["as_planned"] for e in result["episodes"])
    # A correction of zero: one scene, one outcome, and no evidence.
    assert result["pairs"]["both"] + result["pairs"]["neither"] == 2

    said = [status for m in probe.seen["/diagnostics"] for status in m.status]
    told = {v.key for status in said for v in status.values if status.name.endswith("/residual")}
    assert "blind" in told and "actor version" not in told
    texts = {text for s in said for text in (s.message, *(v.value for v in s.values))}
    assert not [text for text in texts if "finetuned" in text or "against" in text]


def test_when_interrupted_expect_it_to_go_on_with_the_same_order(
    config, policy_dir, checkpoint, domain, tmp_path
):
    result_path = tmp_path / "out" / "evaluation.json"

    def interrupt(done: float, total: float, words: str) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    def evaluate(on_progress) -> dict:
        return phases.evaluate(
            config, tmp_path, policy_dir, checkpoint, result_path, 4, SCENE, -1, on_progress, resume=True
        )

    with pytest.raises(KeyboardInterrupt):
        evaluate(interrupt)
    assert is_unfinished(result_path)
    promised = files(result_path)[1].read_text().split()[0]
    kept = len(files(result_path)[2].read_text().splitlines())
    assert kept >= 2

    result = evaluate(lambda *_: None)
    assert (
        result["commitment"]["sha256"]
        == promised
        == commitment(result["commitment"]["nonce"], result["commitment"]["order"])
    )
    ids = [e["episode_id"] for e in result["episodes"]]
    assert len(set(ids)) == len(ids) == 8
    assert {result["arms"][arm]["episodes"] for arm in result["arms"]} == {4}


def test_when_reset_in_the_middle_expect_the_same_trial_again_and_every_episode_counted(
    start, config, policy_dir, checkpoint, tmp_path
):
    result_path = tmp_path / "evaluation.json"
    probe = start(graphs.evaluate_graph(config, policy_dir, checkpoint, result_path, None, 1, SCENE, seed=0))
    probe.wait(lambda: any(a.step >= 2 for a in probe.seen["action"]))
    with pytest.raises(ConfigError, match="an evaluation is running there"):
        lock(result_path)
    late = probe.call(Label, "label", Label.Request(outcome=int(Outcome.FAILURE), episode_id=99))
    assert not late.success and late.message.startswith("the label is meant for episode 99")
    answer = probe.call(Trigger, "reset", Trigger.Request())
    assert (answer.success, answer.message) == (True, "episode 1 aborted; the evaluator runs it again")
    off = probe.call(SetBool, "enable_residual", SetBool.Request(data=False))
    assert (off.success, off.message) == (False, "refused: a blind evaluation chooses who acts")
    probe.wait(result_path.exists, 120.0)
    result = json.loads(result_path.read_text())
    ends = probe.ended(3)
    assert [(e.episode_id, Outcome(e.outcome) is Outcome.ABORTED) for e in ends] == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert ends[0].scene_seed == ends[1].scene_seed == SCENE
    assert [e["episode_id"] for e in result["episodes"]] == [1, 2, 3]
    assert all(e["as_planned"] for e in result["episodes"])


def test_when_a_correction_is_not_finite_expect_nobody_told_and_the_episode_counted(
    start, config, policy_dir, bad_checkpoint, tmp_path
):
    result_path = tmp_path / "evaluation.json"
    probe = start(graphs.evaluate_graph(config, policy_dir, bad_checkpoint, result_path, None, 1, SCENE, seed=0))
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    probe.wait(result_path.exists, 120.0)
    result = json.loads(result_path.read_text())
    (tuned,) = [e for e in result["episodes"] if e["arm"] == "finetuned"]
    assert tuned["as_planned"] and all(a.tainted for a in probe.of_episode("action", tuned["episode_id"]))
    texts = {s.message for m in probe.seen["/diagnostics"] for s in m.status}
    assert texts and not [text for text in texts if "finite" in text]


def test_when_answers_are_lost_expect_to_be_asked_again_and_what_began_counted(
    start, config, policy_dir, checkpoint, tmp_path
):
    result_path, asked = tmp_path / "e.json", []
    specs = graphs.evaluate_graph(config, policy_dir, checkpoint, result_path, None, 1, SCENE, seed=0)
    probe = start([s for s in specs if s.name == "evaluator"], whole=False)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    # Nobody spins this node: what it is asked is never answered.
    deaf = rclpy.create_node("deaf", namespace="/resfit", context=probe.context)
    unanswered = deaf.create_service(SetBool, "residual/choose", lambda _, answer: answer)
    deaf.create_service(StartEpisode, "start_episode", lambda _, answer: answer)
    probe.wait(lambda: "choose: no answer in 3 s" in probe.said("evaluator")[1], 20.0)
    deaf.destroy_service(unanswered)

    def choose(request: SetBool.Request, answer: SetBool.Response) -> SetBool.Response:
        asked.append(request.data)
        answer.success = True
        return answer

    probe.node.create_service(SetBool, "residual/choose", choose)
    probe.wait(lambda: asked, 20.0)
    manager = probe.node.create_publisher(Episode, "episode", EPISODES)
    probe.wait(lambda: manager.get_subscription_count() > 1)
    for wrong in (SCENE + 5, SCENE):  # an episode of somebody else before ours
        began = EpisodeStarted(time.time_ns(), 1 + (wrong == SCENE), wrong)
        probe.wait(lambda: "no answer" in probe.said("evaluator")[1], 20.0)
        manager.publish(episode_to_msg(began, "/resfit/episode_manager"))
    probe.wait(lambda: probe.said("evaluator")[1] == "episode 2: 1 of at most 2", 20.0)
    ended = EpisodeEnded(time.time_ns(), 2, Outcome.SUCCESS, 40, SCENE, "test")
    manager.publish(episode_to_msg(ended, "/resfit/episode_manager"))
    probe.wait(lambda: probe.said("evaluator")[2]["episodes done"] == "1", 20.0)
    deaf.destroy_node()


def test_when_the_residual_is_switched_off_expect_no_episode_until_it_is_on(
    start, config, policy_dir, checkpoint, tmp_path
):
    specs = graphs.evaluate_graph(config, policy_dir, checkpoint, tmp_path / "e.json", None, 1, SCENE, seed=0)
    (residual,) = (s for s in specs if s.name == "residual")
    residual.parameters["enabled"] = False
    probe = start(specs)
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    probe.wait(lambda: "switched off" in probe.said("evaluator")[1])
    assert not probe.seen["episode"]
    probe.call(SetBool, "enable_residual", SetBool.Request(data=True))
    assert len(probe.ended(2)) == 2


def test_when_scenes_are_set_up_by_hand_expect_none_seeded_and_the_unpaired_test(
    config, policy_dir, checkpoint, domain, tmp_path
):
    by_hand = {"matched": False, "report": True}
    result_path = tmp_path / "evaluation.json"
    result = phases.evaluate(
        config,
        tmp_path,
        policy_dir,
        checkpoint,
        result_path,
        1,
        SCENE,
        -1,
        lambda *_: None,
        evaluator=by_hand,
    )
    assert [e["scene_seed"] for e in result["episodes"]] == [-1, -1]
    assert (result["matched"], result["test"]) == (False, "Fisher's exact test")
    assert "set up by hand" in (tmp_path / "report.html").read_text()
