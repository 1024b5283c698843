"""The graphs people run."""

from itertools import pairwise
from pathlib import Path

import pytest

from resfit_ros import graphs
from resfit_ros.bringup import CONTROL_NODES, NodeSpec, RunConfig, load_config
from resfit_ros.core.errors import ConfigError

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
    assert nodes["residual"]["contenders"] == ["base", "/run/checkpoints"]


def test_when_two_checkpoints_are_evaluated_expect_the_tuned_one_second(config):
    specs = graphs.evaluate_graph(
        config, POLICY, RUN / "a", RUN / "e.json", None, 10, 500, 3, against=RUN / "b", first_episode_id=8
    )
    nodes = by_name(specs)
    assert nodes["evaluator"]["arms"] == ["against", "finetuned"]
    assert nodes["residual"]["contenders"] == ["/run/b", "/run/a"]
    assert nodes["episode_manager"]["first_episode_id"] == 8


@pytest.mark.parametrize("simulate", [True, False])
def test_when_a_person_resets_the_robot_expect_scenes_that_are_not_matched(config, simulate):
    specs = graphs.evaluate_graph(config, POLICY, RUN / "a", RUN / "e.json", None, 10, 500, 3, simulate)
    assert by_name(specs)["evaluator"]["matched"] is simulate


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


# -- base policies --------------------------------------------------------------------------------

ARM = CONFIG.parent / "arm_with_controller.yaml"


def test_when_a_controller_is_the_base_policy_expect_no_node_for_it_and_its_topic_remapped():
    specs = graphs.finetune_graph(load_config(ARM), RUN, None, RUN / "demos", 3, simulate=False)
    names = {spec.name for spec in specs}
    assert "base_policy" not in names
    remapped = {spec.name for spec in specs if ("base_command", "/base_command") in spec.remappings}
    assert remapped == {"residual", "safety_filter"}
    (manager,) = (spec for spec in specs if spec.name == "episode_manager")
    assert set(manager.parameters["wait_for_nodes"]) == names - {"episode_manager"}
    assert {by_name(specs)[n]["base_name"] for n in ("residual", "learner")} == {"my_controller 1.0"}


def test_when_a_controller_is_the_base_policy_expect_another_policy_refused():
    with pytest.raises(ConfigError, match="base_source is topic.*leave policy '/run/base_policy' out"):
        graphs.deploy_graph(load_config(ARM), POLICY, None)


def test_when_no_policy_is_given_expect_where_to_give_one(config):
    with pytest.raises(ConfigError, match="no base policy: give one"):
        graphs.deploy_graph(config, None, None)


def test_when_the_configuration_names_a_policy_expect_it_used_unless_another_is_given(config):
    named = RunConfig(config.path, {**config.sections, "base_policy": {"policy": "ws://gpu:8000"}})
    assert by_name(graphs.deploy_graph(named, None, None))["base_policy"]["policy"] == "ws://gpu:8000"
    assert by_name(graphs.deploy_graph(named, POLICY, None))["base_policy"]["policy"] == str(POLICY)


def test_when_lockstep_and_a_controller_are_asked_for_expect_refusal():
    from resfit_ros.bringup import with_timing

    lockstep = with_timing(load_config(ARM), "lockstep")
    with pytest.raises(ConfigError, match="base_source topic needs timing realtime"):
        graphs.deploy_graph(lockstep, None, None)


@pytest.mark.parametrize("sections", [("safety_filter",), ("residual",), ("residual", "safety_filter", "learner")])
def test_when_a_controller_is_named_in_nodes_sections_alone_expect_where_to_name_it(config, sections):
    odd = RunConfig(config.path, {**config.sections, **{name: {"base_source": "topic"} for name in sections}})
    with pytest.raises(ConfigError, match="base_source is topic, for the other nodes it is chunks.*section 'robot'"):
        graphs.deploy_graph(odd, POLICY, None)


@pytest.mark.parametrize(
    "setting", [{"base_command_type": "multi_array"}, {"base_timeout_s": 0.5}, {"base_name": "my_controller 1.1"}]
)
def test_when_the_controller_is_described_for_one_node_alone_expect_refusal(setting):
    arm = load_config(ARM)
    odd = RunConfig(arm.path, {**arm.sections, "residual": {**arm.section("residual"), **setting}})
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} differs between nodes"):
        graphs.finetune_graph(odd, RUN, None, RUN / "demos", 3, simulate=False)


@pytest.mark.parametrize(
    "setting", [{"execute_steps": 9}, {"prefetch_steps": 3}, {"blend_steps": 2}, {"temporal_ensembling": True}]
)
def test_when_chunks_are_configured_for_one_node_alone_expect_refusal(config, setting):
    odd = RunConfig(config.path, {**config.sections, "residual": setting})
    with pytest.raises(ConfigError, match=f"{next(iter(setting))} differs between nodes"):
        graphs.deploy_graph(odd, POLICY, None)


def test_when_the_aggregator_has_cameras_expect_base_policy_and_learner_to_know_them(config):
    seeing = RunConfig(config.path, {**config.sections, "aggregator": {"camera_names": ["camera"], "image_width": 32}})
    nodes = finetune(seeing)
    assert {tuple(nodes[n]["camera_names"]) for n in ("base_policy", "learner")} == {("camera",)}
    assert {nodes[n]["image_width"] for n in ("base_policy", "learner")} == {32}
