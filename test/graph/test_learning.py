"""Learning over the graph: data in, weights out, resumed from its run directory."""

import dataclasses
from pathlib import Path

import pytest

from resfit_ros import graphs, phases
from resfit_ros.core import run_layout
from resfit_ros.learning.checkpoint import checkpoints
from resfit_ros.msg import Action, LearnerStatus
from resfit_ros.sim import HumanoidSim
from resfit_ros.sim.errors import RenderError

TINY = {
    "total_steps": 250,
    "warmup_steps": 60,
    "critic_only_updates": 20,
    "critic_ensemble": 2,
    "hidden_width": 32,
    "batch_size": 32,
    "utd": 1.0,
    "publish_every": 5,
    "actor_delay": 2,
}


def quiet(done: float, total: float, words: str) -> None:
    """No progress bar."""


@pytest.fixture
def demos(config, domain, tmp_path) -> Path:
    """Bags of two successful episodes of the scripted expert."""
    directory = tmp_path / "demos"
    phases.record(config, tmp_path, directory, 2, 0, quiet)
    return directory


def test_when_learning_over_the_graph_expect_weights_in_use_no_step_lost_and_resumption(
    start, config, policy_dir, demos, tmp_path
):
    assert phases.count_successes(demos) == 2
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    specs = graphs.finetune_graph(config, run_dir, policy_dir, demos, seed=0, learner=TINY)
    # Hardly any lag allowed: the episodes of so short a run must see what was learned before them.
    next(s for s in specs if s.name == "episode_manager").parameters["max_owed_updates"] = 5
    probe = start(specs)
    probe.wait(
        lambda: probe.seen["learner_status"]
        and probe.seen["learner_status"][-1].phase == LearnerStatus.PHASE_DONE,
        120.0,
    )
    status = probe.seen["learner_status"][-1]
    assert status.env_steps >= 250
    assert status.steps_lost == 0
    assert status.demo_size > 40
    assert status.gradient_updates == 20 + 250 - 60
    modes = {a.mode for a in probe.seen["action"]}
    assert modes == {Action.MODE_EXPLORE}
    assert max(a.actor_version for a in probe.seen["action"]) > 1
    assert checkpoints(run_dir / run_layout.CHECKPOINTS)
    probe.supervisor.stop()

    # Steps that were learned from are all in bags: going on starts where it stopped.
    more = TINY | {"total_steps": 330}
    result = phases.finetune(config, run_dir, policy_dir, demos, 0, quiet, learner=more)
    assert result.env_steps >= 330
    assert result.gradient_updates == 20 + 330 - 60
    ids = phases.bag_ids(run_dir / run_layout.FINETUNE_BAGS)
    assert ids == list(range(1, len(ids) + 1))


def test_when_the_residual_sees_a_camera_expect_it_learnt_and_acting_over_the_graph(
    start, config, policy_dir, domain, tmp_path
):
    try:
        with HumanoidSim() as sim:
            sim.render(16, 16)
    except RenderError as error:
        pytest.skip(f"no pictures on this machine: {error}")
    cameras = {
        "aggregator": {"camera_names": ["camera"], "image_width": 32, "image_height": 24},
        "sim_robot": {"camera_hz": 20.0, "image_width": 64, "image_height": 48},
        "learner": {"use_images": True, "vit_width": 16, "vit_heads": 2, "image_features": 8},
    }
    merged = {name: {**config.sections.get(name, {}), **more} for name, more in cameras.items()}
    seeing = dataclasses.replace(config, sections={**config.sections, **merged})
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    few = TINY | {"total_steps": 130}
    specs = graphs.finetune_graph(seeing, run_dir, policy_dir, None, seed=0, learner=few)
    probe = start(specs)
    probe.wait(
        lambda: probe.seen["learner_status"]
        and probe.seen["learner_status"][-1].phase == LearnerStatus.PHASE_DONE,
        120.0,
    )
    status = probe.seen["learner_status"][-1]
    assert status.steps_lost == 0
    assert status.gradient_updates == 20 + 130 - 60
    probe.supervisor.stop()
    # A graph that only acts needs nothing but the checkpoint.
    (newest, *_) = checkpoints(run_dir / run_layout.CHECKPOINTS)
    result = phases.evaluate(
        seeing, tmp_path, policy_dir, newest, tmp_path / "seeing.json", 1, 900_000, 0, quiet
    )
    assert result["arms"]["finetuned"]["episodes"] == 1


def test_when_arms_are_evaluated_expect_each_on_every_scene(start, config, policy_dir, domain, tmp_path):
    result = phases.evaluate(
        config, tmp_path, policy_dir, None, tmp_path / "base.json", 2, 900_000, 0, quiet
    )
    assert result["arms"]["base"]["episodes"] == 2
    assert [e["scene_seed"] for e in result["episodes"]] == [900_000, 900_001]
