"""What `deploy.launch.py` starts, and what it refuses before anything is started."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import shipped_config

from resfit_ros.bringup import node_parameters
from resfit_ros.core.actor_settings import actor_settings, settings_difference
from resfit_ros.core.errors import ConfigError, MismatchError
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.launching import Values
from resfit_ros.learning.actor_record import read_actor
from resfit_ros.learning.bc import build_network
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.export import export_residual
from resfit_ros.learning.trainer import Trainer
from resfit_ros.paths import find_config
from resfit_ros.policies.chunk_policy import save_chunk_policy
from resfit_ros.cli.what_to_run import look_at
from builders import small_config

ROOT = Path(__file__).resolve().parents[2]


def launch_file() -> dict:
    names: dict = {}
    path = ROOT / "launch" / "deploy.launch.py"
    exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102  as launch itself does
    return names


def plan(**given: object):
    names = launch_file()
    texts = {a.name: a.default for a in names["ARGUMENTS"]} | {k: str(v) for k, v in given.items()}
    return names["plan"](Values("deploy", texts))


def nodes(**given: object) -> dict[str, dict]:
    return {spec.name: dict(spec.parameters) for spec in plan(**given).specs}


def make_policy(directory: Path, seed: int) -> Path:
    config = shipped_config()
    states = config.state_dim
    bc = BCConfig(horizon=12, hidden_width=8, seed=seed)
    torch.manual_seed(seed)
    network = build_network(states, len(config.joint_names), bc)
    ones, zeros = np.ones, np.zeros
    joints = len(config.joint_names)
    scaling = Normaliser(config.joint_names, zeros(joints), ones(joints), zeros(states), ones(states))
    save_chunk_policy(directory, network, scaling, bc)
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> SimpleNamespace:
    """A run of the simulated robot: its base policy, its checkpoint, the exported file, and another base policy."""
    place = tmp_path_factory.mktemp("run")
    config = shipped_config()
    policy = make_policy(place / "base_policy", 1)
    scaling, identity = look_at(config, str(policy))
    trainer = Trainer(small_config(), scaling, "cpu", (), identity)
    about = {"base_policy": {"name": "mlp", "sha256": identity, "config": {"location": str(policy)}}}
    checkpoint = save_checkpoint(place / "checkpoints", trainer, about)
    settings = actor_settings(*(node_parameters(config, name) for name in ("aggregator", "residual")))
    exported = export_residual(checkpoint, place / "lift.resfit", settings, "torch-export").path
    other = make_policy(place / "other", 2)
    return SimpleNamespace(place=place, policy=policy, checkpoint=checkpoint, exported=exported, other=other)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no runs/latest is


@pytest.mark.parametrize("what", ["place", "checkpoint", "exported"])
def test_when_a_checkpoint_is_given_alone_expect_its_own_base_policy_and_no_learning(run, what):
    given = getattr(run, what)
    started = nodes(checkpoint=given)
    assert not {"learner", "recorder"} & set(started)
    assert started["base_policy"]["policy"] == str(run.policy)
    expected = run.exported if what == "exported" else run.checkpoint
    assert started["residual"]["actor_path"] == str(expected)
    assert (started["residual"]["enabled"], started["residual"]["explore"]) == (True, False)
    assert started["residual"]["timing"] == "realtime"


def test_when_deploying_expect_base_policy_and_checkpoint_named_at_the_start(run):
    words = plan(checkpoint=run.exported).words
    _, identity = look_at(shipped_config(), str(run.policy))
    assert f"base policy {run.policy} ({identity[:12]})" in words
    assert run.checkpoint.name in words and f"learnt on {identity[:12]}" in words


@pytest.mark.parametrize("what", ["checkpoint", "exported"])
def test_when_the_base_policy_is_another_expect_both_named_and_nothing_started(run, what):
    theirs, ours = (look_at(shipped_config(), str(p))[1][:12] for p in (run.policy, run.other))
    with pytest.raises(MismatchError, match=f"{theirs}.*{ours}"):
        plan(checkpoint=getattr(run, what), policy=run.other)


@pytest.mark.parametrize("what", ["checkpoint", "exported"])
def test_when_the_robot_is_another_expect_both_joints_named(run, what):
    with pytest.raises(MismatchError, match="joint 0 is 'torso_yaw' there and"):
        plan(checkpoint=getattr(run, what), config="robots/franka_like", robot="true")


def test_when_chunks_are_executed_otherwise_than_in_training_expect_the_exported_file_refused(run, tmp_path):
    changed = tmp_path / "changed.yaml"
    changed.write_text(f"include: {find_config('bimanual_lift')}\nrobot: {{execute_steps: 5}}\n")
    with pytest.raises(MismatchError, match="execute_steps is 8 there and 5 here"):
        plan(checkpoint=run.exported, config=changed)


def test_when_exploration_is_configured_expect_none_in_deployment(run, tmp_path):
    exploring = tmp_path / "exploring.yaml"
    exploring.write_text(f"include: {find_config('bimanual_lift')}\nresidual: {{explore: true}}\n")
    assert nodes(checkpoint=run.exported, config=exploring)["residual"]["explore"] is False


def test_when_recording_expect_bags_below_out_and_the_first_episode_waiting_for_them(run, tmp_path):
    started = nodes(checkpoint=run.exported, record="true", out=tmp_path / "out")
    assert started["recorder"]["bag_dir"] == str(tmp_path / "out" / "bags")
    assert started["recorder"]["use_sim_time"] is True
    assert "recorder" in started["episode_manager"]["wait_for_nodes"]


def test_when_no_checkpoint_is_given_expect_the_base_policy_alone(run):
    found = plan(policy=run.policy)
    assert "without a residual" in found.words
    assert {s.name: s for s in found.specs}["residual"].parameters["enabled"] is False


def test_when_the_base_policy_cannot_be_asked_yet_expect_the_graph_and_the_reason(run):
    found = plan(checkpoint=run.exported, policy="ws://127.0.0.1:1")
    assert "cannot be asked who it is yet" in found.words


def test_when_the_checkpoint_is_not_there_expect_what_to_give():
    with pytest.raises(ConfigError, match="checkpoint:=x.resfit: no such directory or file"):
        plan(checkpoint="x.resfit")


def test_when_an_actor_is_read_from_file_and_checkpoint_expect_the_same_base_policy(run):
    assert read_actor(run.exported).base_policy == read_actor(run.checkpoint).base_policy


# -- settings -------------------------------------------------------------------------------------


def test_when_settings_make_no_difference_expect_them_left_out():
    blind = actor_settings(SimpleNamespace(control_hz=20.0, camera_names=(), image_width=84, ensemble_decay=0.1))
    assert blind == {"control_hz": 20.0}
    controller = SimpleNamespace(control_hz=20.0, base_source="topic", execute_steps=8, temporal_ensembling=True)
    assert actor_settings(controller) == {"control_hz": 20.0}


@pytest.mark.parametrize(
    ("theirs", "ours", "difference"),
    [
        ({"control_hz": 20.0}, {"control_hz": 20.0}, ""),
        ({"control_hz": 20.0}, {"state": ["a"]}, ""),
        ({"camera_names": []}, {"camera_names": ["left"]}, "camera_names is nothing there and left here"),
        ({"joint_names": ["a"]}, {"joint_names": ["a", "b"]}, "1 joints there against 2 here"),
    ],
)
def test_when_settings_are_compared_expect_the_first_difference(theirs, ours, difference):
    assert settings_difference(theirs, ours) == difference
