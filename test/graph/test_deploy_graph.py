"""An exported policy runs on the graph as deploy.launch.py starts it: no learner, no exploration, by the clock."""

from pathlib import Path

import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray

from resfit_ros import deploying, launching
from resfit_ros.bringup import NodeSpec, load_config, node_parameters
from resfit_ros.cli.what_to_run import look_at
from resfit_ros.core.actor_settings import actor_settings
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.data.read_bags import bag_paths
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.export import export_residual
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.trainer import Trainer
from resfit_ros.msg import Action
from resfit_ros.paths import find_config

OTHER_POLICY = "b" * 64


@pytest.fixture
def patient(tmp_path) -> Path:
    """The shipped configuration for a shared machine, which may stop a process for longer than a robot's bus would."""
    path = tmp_path / "patient.yaml"
    path.write_text(
        f"include: {find_config('bimanual_lift')}\nsafety_filter: {{action_timeout_s: 0.4, state_timeout_s: 2.0}}\n"
    )
    return path


@pytest.fixture
def export(tmp_path, policy_dir, patient):
    """Exports an actor that always corrects, learnt on top of `identity` or of the policy at hand."""

    def make(identity: str = "") -> Path:
        config = load_config(patient)
        scaling, ours = look_at(config, str(policy_dir))
        trainer = Trainer(LearningConfig(hidden_width=16, residual_scale=0.05), scaling, "cpu", (), identity or ours)
        torch.manual_seed(3)
        torch.nn.init.normal_(trainer.agent.average_actor.head.bias)
        checkpoint = save_checkpoint(tmp_path / "run" / "checkpoints", trainer, {})
        settings = actor_settings(*(node_parameters(config, name) for name in ("aggregator", "residual")))
        return export_residual(checkpoint, tmp_path / "lift.resfit", settings, "torch-export").path

    return make


def launched(tmp_path: Path, policy: Path, checkpoint: Path, config: Path) -> tuple[NodeSpec, ...]:
    texts = dict(policy=str(policy), checkpoint=str(checkpoint), config=str(config), timing="realtime", robot="false")
    return deploying.deployment(launching.Values("deploy", texts)).specs(True, tmp_path / "bags")


def test_when_an_exported_file_is_deployed_expect_its_correction_on_every_action(
    start, export, policy_dir, patient, tmp_path
):
    file = export()
    probe = start(launched(tmp_path, policy_dir, file, patient))
    (ended, *_) = probe.ended()
    observed = {(m.episode_id, m.step, m.header.stamp.nanosec): m for m in probe.seen["observation"]}
    residual, compared = ExportedResidual(file), 0
    for action in probe.of_episode("action", ended.episode_id):
        seen = observed.get((action.episode_id, action.step, action.header.stamp.nanosec))
        if seen is None:
            continue
        expected = residual.command(np.array(seen.state), np.array(action.base), action.chunk_phase)
        assert (action.mode, action.actor_version) == (Action.MODE_RESIDUAL, 1)
        assert np.abs(np.array(action.command) - expected).max() < 1e-6
        assert np.abs(np.array(action.residual)).max() > 1e-4
        compared += 1
    assert compared >= 20
    probe.supervisor.stop()
    assert len(bag_paths(tmp_path / "bags")) >= 1


def test_when_another_base_policy_runs_expect_it_alone_and_both_named(start, export, policy_dir, patient, tmp_path):
    file = export(OTHER_POLICY)
    # As with a policy server that was not up yet when the graph was launched.
    specs = launched(tmp_path, "ws://127.0.0.1:1", file, patient)
    changed = {s.name: s for s in specs}
    changed["base_policy"] = deploying.changed(changed["base_policy"], policy=str(policy_dir))
    probe = start(tuple(changed.values()))
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    probe.wait(lambda: len(probe.seen["action"]) > 10)
    assert {m.mode for m in probe.seen["action"]} == {Action.MODE_BASE}
    _, ours = look_at(load_config(patient), str(policy_dir))
    probe.wait(lambda: "learnt on top of" in probe.said("residual")[1], 10.0)
    _, words, _ = probe.said("residual")
    assert OTHER_POLICY[:12] in words and ours[:12] in words
