"""Configuration files and the description of the graph."""

from pathlib import Path

import pytest
import yaml

from resfit_ros.bringup import NodeSpec, RunConfig, describe, load_config, remappings, with_timing
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import NODE_PARAMETERS

SHIPPED = Path(__file__).resolve().parents[2] / "config" / "bimanual_lift.yaml"
WHERE = {  # what only the command line knows
    "recorder": {"bag_dir": "bags"},
    "learner": {"run_dir": "run"},
    "evaluator": {"result_path": "result.json"},
}
SMALL = {
    "robot": {
        "joint_names": ["a", "b"],
        "lower": [-1.0],
        "upper": [1.0],
        "max_velocity": [1.0],
        "max_acceleration": [5.0],
    }
}


@pytest.fixture
def shipped() -> RunConfig:
    return load_config(SHIPPED)


def write(tmp_path: Path, sections) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(sections if isinstance(sections, str) else yaml.safe_dump(sections))
    return path


def small(tmp_path: Path, **sections) -> RunConfig:
    return load_config(write(tmp_path, SMALL | sections))


@pytest.mark.parametrize("node", NODE_PARAMETERS)
def test_when_shipped_configuration_is_loaded_expect_every_nodes_parameters_valid(shipped, node):
    values = shipped.parameters(node, WHERE.get(node))
    assert (values["timing"], values["control_hz"]) == ("lockstep", 20.0)


def test_when_shipped_configuration_is_loaded_expect_limits_for_29_joints(shipped):
    values = shipped.parameters("safety_filter")
    assert {len(values[name]) for name in ("joint_names", "lower", "upper")} == {29}


def test_when_shipped_configuration_is_loaded_expect_its_joints_to_be_the_simulations(shipped):
    pytest.importorskip("mujoco")
    from resfit_ros.sim import LiftTask, load_model

    assert shipped.joint_names == load_model(LiftTask()).joint_names


def test_when_a_section_sets_a_value_expect_it_before_the_robots(tmp_path):
    config = small(tmp_path, safety_filter={"max_velocity": [2.0]})
    assert config.parameters("safety_filter")["max_velocity"] == [2.0]


def test_when_overridden_expect_the_override_before_the_file(tmp_path):
    config = small(tmp_path, episode_manager={"max_steps": 30})
    assert config.parameters("episode_manager", {"max_steps": 40})["max_steps"] == 40


def test_when_robot_has_values_of_other_nodes_expect_each_node_to_get_its_own(tmp_path):
    values = small(tmp_path).parameters("residual")
    assert values["joint_names"] == ["a", "b"]
    assert "lower" not in values


def test_when_a_list_is_empty_by_default_expect_it_left_out(tmp_path):
    assert "camera_names" not in small(tmp_path).parameters("aggregator")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (SMALL | {"learnr": {}}, "unknown section 'learnr'; did you mean 'learner'?"),
        (
            {"robot": SMALL["robot"] | {"joint_name": []}},
            "unknown key 'joint_name'; did you mean 'joint_names'?",
        ),
        ({"robot": {"control_hz": 20.0}}, "section 'robot': missing key 'joint_names'"),
        ({"learner": {}}, "section 'robot': missing key 'joint_names'"),
        ({"robot": None}, "expected sections"),
        ({"robot": [1, 2]}, "expected sections"),
        ("", "expected sections"),
        ("- 1\n- 2\n", "expected sections"),
        ("robot: [", "not valid YAML"),
    ],
)
def test_when_file_is_wrong_expect_path_and_reason(tmp_path, sections, message):
    path = write(tmp_path, sections)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))


def test_when_file_is_missing_expect_its_path(tmp_path):
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"tick_hzz": 100.0},
            "section 'safety_filter': unknown key 'tick_hzz'; did you mean 'tick_hz'?",
        ),
        ({"tick_hz": "fast"}, "tick_hz: expected float, got str 'fast'"),
        ({"upper": [1.0, float("nan")]}, r"upper\[1\] must be finite"),
        ({"max_velocity": [1.0, -1.0]}, r"max_velocity\[1\] must be greater than 0"),
    ],
)
def test_when_a_nodes_section_is_wrong_expect_section_and_key_named(tmp_path, section, message):
    with pytest.raises(ConfigError, match=message):
        small(tmp_path, safety_filter=section).parameters("safety_filter")


def test_when_a_required_value_is_missing_expect_it_named(tmp_path):
    with pytest.raises(ConfigError, match="section 'recorder': missing key 'bag_dir'"):
        small(tmp_path).parameters("recorder")


def test_when_described_expect_one_spec_per_node_in_order(shipped):
    specs = describe(shipped, ("aggregator", "recorder"), {"recorder": {"bag_dir": "x"}})
    assert [spec.name for spec in specs] == ["aggregator", "recorder"]
    assert specs[1].parameters["bag_dir"] == "x"


def test_when_written_as_parameter_file_expect_ros_to_find_the_node(shipped):
    (spec,) = describe(shipped, ("safety_filter",))
    loaded = yaml.safe_load(spec.parameter_file_text())
    assert loaded == {"/resfit/safety_filter": {"ros__parameters": dict(spec.parameters)}}


def test_when_namespace_differs_expect_it_in_the_parameter_file():
    spec = NodeSpec("recorder", {"bag_dir": "x"}, namespace="/left")
    assert list(yaml.safe_load(spec.parameter_file_text())) == ["/left/recorder"]


def test_when_node_reads_the_robot_expect_absolute_robot_topics(shipped):
    names = dict(remappings("aggregator", shipped))
    assert names["joint_states"] == "/joint_states"
    assert names["box_pose"] == "/box_pose"


@pytest.mark.parametrize("node", ["residual", "learner", "recorder", "episode_manager"])
def test_when_node_does_not_touch_the_robot_expect_no_remapping(shipped, node):
    assert remappings(node, shipped) == ()


def test_when_cameras_are_configured_expect_their_topics_mapped(tmp_path):
    config = small(tmp_path, aggregator={"camera_names": ["wrist"]})
    assert ("wrist/image_raw", "/wrist/image_raw") in remappings("aggregator", config)


@pytest.mark.parametrize(
    ("timing", "nodes", "expected"),
    [
        ("realtime", ("aggregator", "sim_robot"), True),
        ("realtime", ("aggregator",), False),
        ("lockstep", ("aggregator", "sim_robot"), False),
    ],
)
def test_when_simulated_in_realtime_expect_sim_time_used(shipped, timing, nodes, expected):
    specs = describe(with_timing(shipped, timing), nodes)
    assert {"use_sim_time" in spec.parameters for spec in specs} == {expected}


def test_when_timing_is_changed_expect_the_original_untouched(shipped):
    changed = with_timing(shipped, "realtime")
    assert changed.parameters("aggregator")["timing"] == "realtime"
    assert shipped.parameters("aggregator")["timing"] == "lockstep"
