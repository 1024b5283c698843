"""The graphs people run."""

from itertools import pairwise
from pathlib import Path

import pytest

from resfit_ros import graphs
from resfit_ros.bringup import CONTROL_NODES, NodeSpec, RunConfig, load_config

CONFIG = Path(__file__).resolve().parents[2] / "config" / "bimanual_lift.yaml"
RUN, POLICY = Path("/run"), Path("/run/base_policy")


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return load_config(CONFIG)


def by_name(specs: tuple[NodeSpec, ...]) -> dict[str, dict]:
    return {spec.name: dict(spec.parameters) for spec in specs}


def finetune(config: RunConfig, **fields) -> dict[str, dict]:
    return by_name(graphs.finetune_graph(config, RUN, POLICY, RUN / "demos", 3, **fields))


def evaluate(config: RunConfig, actor: Path | None, bags: Path | None = None) -> dict[str, dict]:
    specs = graphs.evaluate_graph(config, POLICY, actor, RUN / "e.json", bags, 10, 500, 3)
    return by_name(specs)


def test_when_recording_expect_the_expert_step_by_step_without_residual(config):
    nodes = by_name(graphs.record_graph(config, RUN / "bags", 3))
    assert (nodes["base_policy"]["policy"], nodes["base_policy"]["execute_steps"]) == ("expert:3", 1)
    assert nodes["residual"]["enabled"] is False
    assert nodes["recorder"]["bag_dir"] == "/run/bags"


def test_when_finetuning_expect_every_node_it_needs(config):
    assert set(finetune(config)) == {*CONTROL_NODES, "recorder", "learner", "sim_robot"}


def test_when_finetuning_a_robot_expect_no_simulation_and_unseeded_scenes(config):
    nodes = finetune(config, simulate=False)
    assert "sim_robot" not in nodes
    assert nodes["episode_manager"]["scene_seed"] == -1


def test_when_finetuning_expect_learner_and_policy_to_agree_on_chunks(config):
    nodes = finetune(config)
    steps = {nodes[name]["execute_steps"] for name in ("base_policy", "residual", "learner")}
    assert len(steps) == 1


def test_when_finetuning_expect_residual_and_learner_to_agree_on_noise(config):
    nodes = finetune(config)
    assert (
        nodes["residual"]["exploration_correlation"] == nodes["learner"]["exploration_correlation"]
    )


def test_when_learner_settings_are_given_expect_them_to_win(config):
    assert finetune(config, learner={"total_steps": 7777})["learner"]["total_steps"] == 7777


def test_when_evaluating_expect_both_arms_without_exploration(config):
    nodes = evaluate(config, RUN / "checkpoints")
    assert nodes["evaluator"]["arms"] == ["base", "finetuned"]
    assert nodes["residual"]["explore"] is False
    assert nodes["residual"]["actor_path"] == "/run/checkpoints"


def test_when_evaluating_without_actor_expect_the_base_alone(config):
    assert evaluate(config, None)["evaluator"]["arms"] == ["base"]


@pytest.mark.parametrize(("bags", "expected"), [(None, False), (RUN / "bags", True)])
def test_when_evaluating_expect_recorder_only_with_a_bag_directory(config, bags, expected):
    assert ("recorder" in evaluate(config, None, bags)) is expected


@pytest.mark.parametrize(("actor", "enabled"), [(None, False), (RUN / "checkpoints", True)])
def test_when_deploying_expect_residual_only_with_an_actor(config, actor, enabled):
    nodes = by_name(graphs.deploy_graph(config, POLICY, actor))
    assert nodes["residual"]["enabled"] is enabled


def test_when_the_manager_starts_expect_it_to_wait_for_every_other_node(config):
    nodes = finetune(config)
    assert set(nodes["episode_manager"]["wait_for_nodes"]) == set(nodes) - {"episode_manager"}


def test_when_phases_and_seeds_differ_expect_scenes_that_never_meet():
    firsts = sorted(
        graphs.scenes(seed, phase)
        for seed in (0, 1)
        for phase in (
            graphs.RECORD_SCENES,
            graphs.FINETUNE_SCENES,
            graphs.BASE_SCENES,
            graphs.FINAL_SCENES,
        )
    )
    assert min(b - a for a, b in pairwise(firsts)) >= 100_000
