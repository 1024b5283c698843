"""The shipped robots load, and every graph can be built from each; including one file in another."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig, load_config, node_parameters
from resfit_ros.core.errors import ConfigError
from resfit_ros.paths import find_config, shipped_configs
from resfit_ros.robot.limits import limits_of

ROBOTS = ("simulated_humanoid", "franka_like", "ur_like", "bimanual_hands")
DESCRIPTIONS = Path(__file__).parent / "robots"
OUT = Path("/run")


@pytest.fixture(params=ROBOTS)
def config(request) -> RunConfig:
    return load_config(find_config(f"robots/{request.param}"))


def test_when_robots_are_listed_expect_all_of_them():
    assert {f"robots/{name}" for name in ROBOTS} <= set(shipped_configs())


@pytest.mark.parametrize(
    ("name", "joints"), [("simulated_humanoid", 29), ("franka_like", 7), ("ur_like", 6), ("bimanual_hands", 26)]
)
def test_when_a_robot_is_loaded_expect_limits_for_each_joint(name, joints):
    limits = node_parameters(load_config(find_config(f"robots/{name}")), "safety_filter").limits
    assert len(limits.joint_names) == len(limits.lower) == joints


def test_when_a_robot_is_loaded_expect_it_to_run_by_the_clock(config):
    assert config.parameters("aggregator")["timing"] == "realtime"


@pytest.mark.parametrize("graph", ["record", "finetune", "evaluate", "deploy"])
def test_when_a_graph_is_built_expect_the_robots_joints_in_it(config, graph):
    specs = {
        "record": lambda: graphs.record_graph(config, OUT, 0),
        "finetune": lambda: graphs.finetune_graph(config, OUT, OUT, None, 0, simulate=False),
        "evaluate": lambda: graphs.evaluate_graph(config, OUT, OUT, OUT, OUT, 5, 0, 0, simulate=False),
        "deploy": lambda: graphs.deploy_graph(config, OUT, OUT, simulate=False),
    }[graph]()
    names = {tuple(s.parameters["joint_names"]) for s in specs if "joint_names" in s.parameters}
    assert names == {config.joint_names}


@pytest.mark.parametrize("name", ["franka_like", "ur_like"])
def test_when_a_robot_has_a_description_expect_its_limits_within(name):
    parameters = node_parameters(load_config(find_config(f"robots/{name}")), "safety_filter")
    limits = limits_of(parameters, (DESCRIPTIONS / f"{name}.urdf").read_text())
    np.testing.assert_array_equal(limits.lower, parameters.lower)


def test_when_the_simulated_humanoid_is_loaded_expect_the_shipped_tasks_joints():
    humanoid = load_config(find_config("robots/simulated_humanoid"))
    assert humanoid.joint_names == load_config(find_config("bimanual_lift")).joint_names


@pytest.mark.parametrize("name", ["robots/ur_like", "robots/ur_like.yaml", "bimanual_lift.yaml"])
def test_when_a_shipped_file_is_named_expect_it_found(name):
    assert find_config(name).is_file()


def test_when_no_such_robot_is_shipped_expect_the_names_of_those_that_are():
    with pytest.raises(ConfigError, match="robots/franka_like"):
        find_config("robots/none")


# -- include --------------------------------------------------------------------------------------


def write(path: Path, **sections) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(sections))
    return path


@pytest.fixture
def arm(tmp_path) -> Path:
    robot = {"joint_names": ["a"], "lower": [-1.0], "upper": [1.0], "max_velocity": [1.0], "max_acceleration": [5.0]}
    return write(tmp_path / "robots" / "arm.yaml", robot=robot, episode_manager={"max_steps": 40})


def test_when_a_file_is_included_expect_its_values_unless_overridden_key_by_key(tmp_path, arm):
    task = write(tmp_path / "task.yaml", include="robots/arm.yaml", robot={"upper": [0.5]}, train_bc={"horizon": 4})
    config = load_config(task)
    assert config.robot["upper"] == [0.5]
    assert config.robot["lower"] == [-1.0]
    assert config.section("episode_manager") == {"max_steps": 40}
    assert config.section("train_bc") == {"horizon": 4}


def test_when_an_included_file_is_missing_expect_its_path(tmp_path):
    task = write(tmp_path / "task.yaml", include="none.yaml")
    with pytest.raises(ConfigError, match="none.yaml: cannot be read"):
        load_config(task)


def test_when_an_included_file_has_a_wrong_key_expect_that_file_named(tmp_path, arm):
    write(arm, robot={"joint_nam": ["a"]})
    with pytest.raises(ConfigError, match="arm.yaml, section 'robot': unknown key 'joint_nam'"):
        load_config(write(tmp_path / "task.yaml", include="robots/arm.yaml"))


def test_when_files_include_each_other_expect_them_refused(tmp_path):
    first = write(tmp_path / "first.yaml", include="second.yaml")
    write(tmp_path / "second.yaml", include="first.yaml")
    with pytest.raises(ConfigError, match="second.yaml: include: first.yaml includes this file in turn"):
        load_config(first)


def test_when_include_is_not_a_name_expect_it_refused(tmp_path):
    with pytest.raises(ConfigError, match="include: expected one file name, got \\['a', 'b'\\]"):
        load_config(write(tmp_path / "task.yaml", include=["a", "b"]))
