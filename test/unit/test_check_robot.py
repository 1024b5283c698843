"""`resfit check-robot`: what a file says, and what was seen of a robot, judged."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from resfit_ros.bringup import load_config, node_parameters
from resfit_ros.cli.check_robot import run_check
from resfit_ros.cli.main import app
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.paths import find_config
from resfit_ros.robot.check import OK, PROBLEM, WARNING
from resfit_ros.robot.interfaces import Interface
from resfit_ros.robot.live import Endpoint, Heard, SeenGraph, judge

UR = Path(__file__).parent / "robots" / "ur_like.urdf"
JOINTS = ["shoulder_pan_joint", "elbow_joint"]
runner = CliRunner()


def write(tmp_path: Path, robot: dict, **sections) -> str:
    path = tmp_path / "my_robot.yaml"
    path.write_text(yaml.safe_dump({"robot": {"joint_names": JOINTS, **robot}, **sections}))
    return str(path)


def check(*arguments: str) -> tuple[int, dict]:
    result = runner.invoke(app, ["check-robot", *arguments, "--json"])
    return result.exit_code, json.loads(result.output)


def problems(report: dict) -> list[str]:
    return [f["found"] for f in report["findings"] if f["level"] == PROBLEM]


@pytest.mark.parametrize("name", ["simulated_humanoid", "franka_like", "ur_like", "bimanual_hands"])
def test_when_a_shipped_robot_is_checked_expect_no_problem(name):
    status, report = check(f"robots/{name}")
    assert (status, report["ok"], report["findings"]) == (0, True, [])


def test_when_people_read_it_expect_joints_sources_and_the_verdict():
    result = runner.invoke(app, ["check-robot", "robots/ur_like", "--urdf", str(UR)])
    assert result.exit_code == 0
    for words in ("elbow_joint", "limits: lower, upper, velocity, acceleration from the file", "= 12 values", "wrist"):
        assert words in result.output
    assert result.output.endswith("0 problems, 0 warnings: the file can be used\n")


def test_when_limits_come_from_the_urdf_expect_them_and_their_source(tmp_path):
    file = write(tmp_path, {"urdf": str(UR), "max_acceleration": [5.0]})
    status, report = check(file)
    assert status == 0
    assert report["limits_from"] == {
        "lower": "URDF", "upper": "URDF", "max_velocity": "URDF", "max_acceleration": "YAML"
    }  # fmt: skip
    assert report["joints"][1] == {
        "name": "elbow_joint", "lower": pytest.approx(-3.14159, abs=1e-4), "upper": pytest.approx(3.14159, abs=1e-4),
        "max_velocity": pytest.approx(3.14159, abs=1e-4), "max_acceleration": 5.0, "unit": "rad",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("robot", "words"),
    [
        ({}, "joint 'shoulder_pan_joint' (and 1 more): no max_acceleration"),
        ({"max_velocity": [1.0, 9.0]}, "joint 'elbow_joint': max_velocity 9 rad/s is above"),
        ({"joint_names": ["elbow_joint", "elbo"]}, "joint 'elbo' is not in"),
        ({"lower": [1.0], "upper": [1.0]}, "joint 'elbow_joint': lower 1 must be below upper 1"),
    ],
)
def test_when_limits_are_wrong_expect_the_joint_named_and_status_1(tmp_path, robot, words):
    status, report = check(write(tmp_path, {"urdf": str(UR), **robot}))
    assert status == 1
    assert any(words in p for p in problems(report))


def test_when_there_is_no_urdf_and_lower_is_not_below_upper_expect_the_joint_named(tmp_path):
    limits = {"lower": [0.0, 1.0], "upper": [1.0, 1.0], "max_velocity": [1.0], "max_acceleration": [5.0]}
    status, report = check(write(tmp_path, limits))
    assert status == 1
    assert "joint 'elbow_joint'" in problems(report)[0]


def test_when_limits_wait_for_the_topic_expect_a_warning_alone(tmp_path):
    status, report = check(write(tmp_path, {"urdf": "topic", "max_acceleration": [5.0]}))
    assert status == 0
    assert [f["level"] for f in report["findings"]] == [WARNING]


def test_when_sources_may_be_no_older_than_a_step_expect_a_warning(tmp_path):
    robot = {"urdf": str(UR), "max_acceleration": [5.0], "max_source_age_s": 0.03}
    status, report = check(write(tmp_path, robot))
    assert status == 0
    (finding,) = report["findings"]
    assert finding["found"] == "max_source_age_s 0.03 is shorter than a control period, 0.05 s"


def test_when_the_file_is_broken_expect_json_all_the_same(tmp_path):
    status, report = check(str(tmp_path / "none.yaml"))
    assert (status, report["ok"]) == (1, False)
    assert "no such configuration file" in problems(report)[0]


def test_when_cameras_and_poses_are_configured_expect_their_topics(tmp_path):
    state = ["joint_positions", "pose/cup", "wrench/tool", "array/touch/3", "tf/base/tool"]
    robot = {"urdf": str(UR), "max_acceleration": [5.0], "state": state, "teleop": True}
    cameras = {"camera_names": ["wrist", "head"], "camera_transports": ["raw", "compressed"]}
    file = write(tmp_path, robot, aggregator=cameras, safety_filter={"max_force": 30.0})
    report = check(file)[1]
    names = {i["source"] or i["what"]: i["name"] for i in report["interfaces"]}
    assert {k: names[k] for k in ("pose/cup", "wrench/tool", "array/touch/3", "wrist", "head", "transforms")} == {
        "pose/cup": "/cup_pose",
        "wrench/tool": "/tool_wrench",
        "array/touch/3": "/touch_array",
        "wrist": "/wrist/image_raw",
        "head": "/head/image_raw/compressed",
        "transforms": "/tf",
    }
    assert {"teleop", "commands", "reset service", "robot description"} <= set(names)
    assert report["state_size"] == 2 + 7 + 6 + 3 + 7


def test_when_a_controller_is_the_base_expect_its_topic():
    report = run_check(load_config(find_config("arm_with_controller")), None, live=False)
    assert ("/base_command", "publishes") in {(i.name, i.robot) for i in report.interfaces}


# -- judging what was seen ------------------------------------------------------------------------

STATES = Interface(
    "joint states", "publishes", "/joint_states", "sensor_msgs/msg/JointState",
    control_hz=20.0, max_gap_s=0.05, limit="state_timeout_s", max_future_s=0.02,
)  # fmt: skip
RESET = Interface("reset service", "offers", "/resfit/reset_scene", "std_srvs/srv/Trigger")
COMMANDS = Interface("commands", "takes", "/joint_command", "trajectory_msgs/msg/JointTrajectory", reliable=True)
DESCRIPTION = Interface("robot description", "publishes", "/robot_description", "std_msgs/msg/String", latched=True)
DRIVER = Endpoint("/driver", STATES.type)
GOOD = Heard(usable=300, rate_hz=100.0, longest_gap_s=0.012, stamp_age_s=0.001)


@pytest.fixture
def safety(tmp_path) -> SafetyParameters:
    file = write(tmp_path, {"urdf": "topic", "max_acceleration": [5.0]})
    return node_parameters(load_config(Path(file)), "safety_filter")


def seen(interface: Interface = STATES, others=(DRIVER,), heard: Heard | None = GOOD, **names) -> SeenGraph:
    return SeenGraph(3.0, 5, {interface.name: others}, {interface.name: heard} if heard else {}, **names)


def verdict(interface: Interface, graph: SeenGraph, safety: SafetyParameters) -> list[tuple[str, str]]:
    return [(f.level, f"{f.found}; {f.advice}") for f in judge([interface], graph, safety)]


def test_when_a_sensor_is_fine_expect_ok_with_rate_and_gap(safety):
    ((level, words),) = verdict(STATES, seen(), safety)
    assert level == OK
    assert "100 Hz, longest gap 12 ms" in words


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        ({"longest_gap_s": 0.08}, PROBLEM, "silent for 80 ms, state_timeout_s allows 50"),
        ({"rate_hz": 10.0}, WARNING, "10.0 Hz is slower than control_hz 20"),
        ({"unstamped": True}, PROBLEM, "carry no stamp"),
        ({"stamp_age_s": -3.0}, PROBLEM, "stamps are 3.00 s in the future"),
        ({"stamp_age_s": 3.0}, PROBLEM, "stamps are 3.00 s old"),
        ({"refused": 50, "why_refused": "1 joints are missing"}, WARNING, "50 of 350 messages cannot be used"),
        ({"notices": (("joint 'a' is at 3", "move it"),)}, WARNING, "joint 'a' is at 3; move it"),
    ],
)
def test_when_messages_are_not_as_needed_expect_what_and_how_much(safety, change, level, words):
    graph = seen(heard=dataclasses.replace(GOOD, **change))
    assert [(lv, words in said) for lv, said in verdict(STATES, graph, safety)[1:]] == [(level, True)]


def test_when_no_message_can_be_used_expect_the_reason(safety):
    ((level, words),) = verdict(STATES, seen(heard=Heard(refused=9, why_refused="2 joints are missing")), safety)
    assert level == PROBLEM
    assert "2 joints are missing" in words


def test_when_a_topic_is_silent_expect_a_problem(safety):
    ((level, words),) = verdict(STATES, seen(heard=Heard()), safety)
    assert (level, "was silent for 3 s" in words) == (PROBLEM, True)


def test_when_a_topic_is_missing_expect_the_nearest_of_its_type(safety):
    published = {"/arm/joint_states": STATES.type, "/joint_state": "std_msgs/msg/String"}
    ((level, words),) = verdict(STATES, seen(others=(), published=published), safety)
    assert level == PROBLEM
    assert "nothing publishes /joint_states; there is /arm/joint_states; remap it" in words


def test_when_only_another_type_looks_alike_expect_it_with_its_type(safety):
    published = {"/joint_state": "std_msgs/msg/String"}
    ((_, words),) = verdict(STATES, seen(others=(), published=published), safety)
    assert "/joint_state (std_msgs/msg/String)" in words


def test_when_the_type_is_another_expect_both_types(safety):
    wrong = Endpoint("/driver", "std_msgs/msg/Float64MultiArray")
    ((level, words),) = verdict(COMMANDS, seen(COMMANDS, (wrong,), None), safety)
    assert level == PROBLEM
    assert "/driver has type std_msgs/msg/Float64MultiArray; trajectory_msgs/msg/JointTrajectory is needed" in words


def test_when_qualities_of_service_do_not_connect_expect_the_policy_named(safety):
    why = "reliability: publisher BEST_EFFORT, subscription RELIABLE"
    apart = Endpoint("/driver", COMMANDS.type, why)
    ((level, words),) = verdict(COMMANDS, seen(COMMANDS, (apart,), None), safety)
    assert level == PROBLEM
    assert f"/driver does not connect: {why}" in words


def test_when_the_reset_service_has_another_type_expect_seeded_reset_named(safety):
    server = Endpoint("/scene", "resfit_ros/srv/ResetScene")
    ((level, words),) = verdict(RESET, seen(RESET, (server,), None), safety)
    assert (level, "set seeded_reset" in words) == (PROBLEM, True)


def test_when_nobody_else_is_there_expect_the_domain_named(safety):
    ((level, words),) = verdict(STATES, SeenGraph(3.0, 0, {}), safety)
    assert (level, "ROS_DOMAIN_ID" in words) == (PROBLEM, True)


def test_when_the_description_agrees_expect_ok(safety):
    graph = seen(DESCRIPTION, (Endpoint("/rsp", DESCRIPTION.type),), Heard(usable=1, text=UR.read_text()))
    assert [level for level, _ in verdict(DESCRIPTION, graph, safety)] == [OK]


def test_when_the_description_allows_less_than_yaml_expect_the_joint_named(safety):
    wide = dataclasses.replace(safety, max_velocity=(9.0,))
    graph = seen(DESCRIPTION, (Endpoint("/rsp", DESCRIPTION.type),), Heard(usable=1, text=UR.read_text()))
    level, words = verdict(DESCRIPTION, graph, wide)[0]
    assert level == PROBLEM
    assert words.startswith("joint 'shoulder_pan_joint' (and 1 more): max_velocity 9 rad/s is above the 3.14159")
    assert "of /robot_description" in words
