"""From bags to a run directory that fine-tuning starts from: what is read, labelled, left out and refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from builders import assert_same_segments, episode_messages
from serialised import write_bag

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.types import Outcome
from resfit_ros.data import base_of_run
from resfit_ros.data.base_of_run import policy_of_run
from resfit_ros.data.offline_data import kept_episodes, prepare_recorded
from resfit_ros.learning.trainer import Trainer
from resfit_ros.policies.identity import RECORD
from resfit_ros.runner.pretraining import (
    CALIBRATION,
    RESULT,
    TD_ERRORS,
    pretrain_from_bags,
    start_from,
)

POLICY = """
import numpy as np
from resfit_ros.policies.protocol import PolicySpec

class Follows:
    \"\"\"Chunks that begin with the state they were computed from, and count up.\"\"\"

    def __init__(self, robot, name="follows"):
        self.spec = PolicySpec(name, robot.action_dim, 4, identity=name * 4, config={"kind": "python"})

    def reset(self, episode_id):
        pass

    def infer(self, observation):
        return observation.state[:2] + 0.01 * np.arange(4)[:, None]
"""
SMALL = dict(
    hidden_width=8, hidden_layers=1, critic_ensemble=2, batch_size=8, pretrain_updates=10, replay_capacity=500
)


def write(directory, outcomes, **fields) -> None:
    """A bag per outcome, from episode 1 on."""
    for number, outcome in enumerate(outcomes, start=1):
        rng = np.random.default_rng(number)
        given = episode_messages(rng, 6, outcome, episode_id=number, state_dim=2, **fields)
        write_bag(directory, given, episode_id=number)


@pytest.fixture
def bags(tmp_path):
    directory = tmp_path / "bags"
    write(directory, [Outcome.SUCCESS] * 3 + [Outcome.FAILURE, Outcome.TIMEOUT, Outcome.ABORTED])
    return directory


@pytest.fixture
def parameters(tmp_path, monkeypatch):
    (tmp_path / "follows_policy.py").write_text(POLICY)
    monkeypatch.syspath_prepend(tmp_path)

    def make(**changes) -> LearnerParameters:
        values = dict(
            joint_names=("a", "b"),
            state=("joint_positions",),
            run_dir=str(tmp_path / "run"),
            policy="python:follows_policy:Follows",
            execute_steps=4,
        )
        return LearnerParameters(**(values | SMALL | changes))

    return make


def test_when_bags_are_read_expect_failures_and_timeouts_too_and_aborted_ones_named(parameters, bags):
    notes = []
    data = prepare_recorded(parameters(), [bags], notes.append)
    assert [e.end.outcome.name for e in data.episodes] == ["SUCCESS"] * 3 + ["FAILURE", "TIMEOUT"]
    assert len(notes) == 1 and "episode_000006: left out: aborted" in notes[0]


def test_when_labelled_expect_the_policys_chunks_as_online(parameters, bags):
    (segment, *_) = prepare_recorded(parameters(), [bags], print).episodes[0].segments
    rows = np.arange(7)
    expected = segment.states[rows - rows % 4] + 0.01 * (rows % 4)[:, None]
    np.testing.assert_allclose(segment.bases, expected, rtol=1e-6)
    np.testing.assert_allclose(segment.phases, rows % 4 / 4)


def test_when_a_step_is_lost_expect_chunks_to_begin_anew_behind_it(parameters, tmp_path):
    write(tmp_path / "cut", [Outcome.SUCCESS], tainted=frozenset({1}))
    (episode,) = prepare_recorded(parameters(normaliser_path=""), [tmp_path / "cut"], print).episodes
    assert [len(s) for s in episode.segments] == [1, 4]
    np.testing.assert_allclose(episode.segments[1].bases[0], episode.segments[1].states[0], rtol=1e-6)
    np.testing.assert_allclose(episode.segments[1].phases[:5], [0, 0.25, 0.5, 0.75, 0])


def test_when_a_controller_is_the_base_policy_expect_recorded_bases(parameters, bags):
    given = prepare_recorded(parameters(policy="", base_source="topic", base_name="mpc"), [bags], print)
    recorded = episode_messages(np.random.default_rng(1), 6, episode_id=1, state_dim=2)
    assert given.episodes[0].segments[0].bases[0].tolist() == recorded[1].base.tolist()


def test_when_a_bag_is_of_another_robot_expect_it_named_and_the_others_used(parameters, bags):
    rng = np.random.default_rng(0)
    write_bag(bags, episode_messages(rng, 4, episode_id=9, state_dim=2, action_dim=3), episode_id=9)
    notes = []
    assert len(prepare_recorded(parameters(), [bags], notes.append).episodes) == 5
    assert any("episode_000009" in n and "3 joints, expected 2" in n for n in notes)


def test_when_nothing_is_usable_expect_the_folder_named_and_nothing_written(parameters, tmp_path):
    write(tmp_path / "aborted", [Outcome.ABORTED])
    with pytest.raises(DataError, match="aborted: no usable episode"):
        pretrain_from_bags(parameters(), [tmp_path / "aborted"], 0.1)
    assert not (tmp_path / "run").exists()


def test_when_pretrained_expect_a_run_directory_with_everything(parameters, bags, tmp_path):
    result = pretrain_from_bags(parameters(), [bags], 0.2)
    run = tmp_path / "run"
    for name in (RESULT, TD_ERRORS, CALIBRATION, RECORD, "normaliser.json", result["checkpoint"]):
        assert (run / name).exists(), name
    told = json.loads((run / RESULT).read_text())
    assert told["updates"] == 10
    assert (told["data"]["episodes"], told["held_out"]["episodes"]) == (4, 1)
    assert told["bags"] == [str(bags / f"episode_{i:06d}") for i in range(1, 7)]
    assert len(told["left_out"]) == 1
    assert len(told["errors"]["held_out_td"]) == len(told["errors"]["updates"])
    assert sum(b["count"] for b in told["calibration"]["bins"]) == told["held_out"]["steps"]


def test_when_demonstrations_are_given_apart_expect_them_alone_as_demonstrations(parameters, bags, tmp_path):
    write(tmp_path / "demos", [Outcome.SUCCESS, Outcome.FAILURE])
    p = parameters(demo_dir=str(tmp_path / "demos"))
    result = pretrain_from_bags(p, [bags], 0.0)
    assert (result["data"]["steps"], result["demonstration_steps"]) == (30, 6)


def test_when_demonstrations_are_among_the_bags_too_expect_refusal(parameters, bags):
    with pytest.raises(ConfigError, match="given as demonstrations and as bags"):
        pretrain_from_bags(parameters(demo_dir=str(bags)), [bags], 0.0)


def test_when_nothing_is_held_out_expect_calibration_on_what_was_learnt(parameters, bags):
    result = pretrain_from_bags(parameters(), [bags], 0.0)
    assert result["calibrated_on"] == "training episodes"
    assert result["errors"]["held_out_td"] == []


def test_when_run_twice_with_a_seed_expect_the_same_critics(parameters, bags, tmp_path):
    starts = []
    for name in ("one", "two"):
        p = parameters(run_dir=str(tmp_path / name))
        pretrain_from_bags(p, [bags], 0.0)
        trainer = fine_tuner(p, bags)
        start_from(trainer, p, tmp_path / name, print)
        starts.append([w.clone() for w in trainer.agent.critic.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*starts, strict=True))


def fine_tuner(p: LearnerParameters, bags) -> Trainer:
    """The trainer that fine-tuning would make."""
    data = prepare_recorded(p, [bags], lambda note: None)
    values = {name: getattr(p, name) for name in p.__dataclass_fields__} | {"pretrain_updates": 0}
    return Trainer(LearnerParameters(**values).learning, data.base.normaliser, base_policy_sha256=data.base.sha256)


def test_when_fine_tuning_starts_expect_weights_and_data_in_place(parameters, bags, tmp_path):
    p = parameters()
    pretrain_from_bags(p, [bags], 0.0)
    trainer = fine_tuner(p, bags)
    start_from(trainer, p, tmp_path / "run", print)
    assert (trainer.before.updates, trainer.env_steps) == (10, 0)
    assert (len(trainer.online), len(trainer.demonstrations)) == (30, 18)


def test_when_kept_episodes_are_read_again_expect_those_of_pretraining(parameters, bags):
    p = parameters()
    before = prepare_recorded(p, [bags], lambda note: None).episodes
    again = list(kept_episodes([str(bags)], p, lambda note: None))
    assert len(again) == len(before) == 5
    for ours, theirs in zip(again, before, strict=True):
        assert_same_segments(ours.segments, theirs.segments)


@pytest.mark.parametrize("keep", ["none", "all"])
def test_when_the_bags_are_gone_expect_refusal_where_they_are_kept(parameters, tmp_path, keep):
    p = parameters(keep_offline_data=keep)
    if keep == "none":
        assert list(kept_episodes([str(tmp_path / "gone")], p, print)) == []
        return
    with pytest.raises(DataError, match="gone: no such directory.*keep_offline_data: none"):
        list(kept_episodes([str(tmp_path / "gone")], p, print))


def test_when_there_is_a_checkpoint_already_expect_refusal(parameters, bags):
    pretrain_from_bags(parameters(), [bags], 0.0)
    with pytest.raises(MismatchError, match="holds a checkpoint already"):
        pretrain_from_bags(parameters(), [bags], 0.0)


def test_when_the_run_was_fine_tuned_expect_refusal(parameters, bags, tmp_path):
    write(tmp_path / "run" / "bags" / "finetune", [Outcome.SUCCESS])
    with pytest.raises(MismatchError, match="fine-tuned already"):
        pretrain_from_bags(parameters(), [bags], 0.0)


def test_when_the_run_was_begun_on_another_base_policy_expect_both_named(parameters, bags, tmp_path):
    pretrain_from_bags(parameters(), [bags], 0.0)
    (tmp_path / "other.yaml").write_text("{kind: python, location: 'follows_policy:Follows', name: leads}")
    with pytest.raises(MismatchError, match="'follows'.*'leads'"):
        prepare_recorded(parameters(policy=str(tmp_path / "other.yaml")), [bags], print)


def test_when_fine_tuning_is_set_to_another_network_expect_both_named(parameters, bags, tmp_path):
    p = parameters()
    pretrain_from_bags(p, [bags], 0.0)
    with pytest.raises(MismatchError, match="hidden_width is 8 there and 16 here"):
        start_from(fine_tuner(parameters(hidden_width=16), bags), p, tmp_path / "run", print)


def test_when_there_is_no_checkpoint_expect_what_makes_one(parameters, bags, tmp_path):
    p = parameters()
    with pytest.raises(DataError, match="resfit pretrain"):
        start_from(fine_tuner(p, bags), p, tmp_path / "run", print)


def test_when_the_device_is_missing_expect_what_to_set(parameters, bags):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigError, match="set device to cpu"):
        pretrain_from_bags(parameters(device="cuda"), [bags], 0.0)


def test_when_closed_expect_the_policy_let_go(parameters):
    closed = []
    with pytest.raises(KeyError), policy_of_run(parameters()) as policy:
        policy.close = lambda: closed.append(True)
        raise KeyError
    assert closed == [True]


def test_when_there_are_demonstrations_too_expect_the_policy_loaded_once(parameters, bags, monkeypatch, tmp_path):
    loaded = []
    load = base_of_run.load_policy
    monkeypatch.setattr(base_of_run, "load_policy", lambda *a: loaded.append(a) or load(*a))
    shutil.copytree(bags, tmp_path / "demos")
    prepare_recorded(parameters(demo_dir=str(tmp_path / "demos")), [bags], print)
    assert len(loaded) == 1
