"""`resfit status` in front of a running graph, one that lacks a node, and none."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from std_srvs.srv import SetBool

from resfit_ros import graphs
from resfit_ros.bringup import with_timing


def run_status(*options: str) -> subprocess.CompletedProcess:
    """`resfit status` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "resfit_ros", "status", *options], capture_output=True, text=True, timeout=60
    )


def status(tells=lambda report: True) -> tuple[int, dict]:
    """(exit status, report), asked again where a busy computer found a node late."""
    for _ in range(6):
        done = run_status("--json")
        report = json.loads(done.stdout)
        if tells(report):
            break
    return done.returncode, report


def whole(report: dict) -> bool:
    """Whether every node was found."""
    return all(n["alive"] for n in report.get("nodes", [{"alive": False}]))


@pytest.fixture
def specs(config, tmp_path: Path):
    """The scripted expert in realtime, recorded."""
    return graphs.record_graph(with_timing(config, "realtime"), tmp_path / "bags", seed=0)


def test_when_the_graph_runs_expect_status_0_every_node_ok_and_a_rate(start, specs):
    probe = start(specs)
    probe.wait(lambda: len(probe.seen["executed_action"]) > 5)
    code, report = status(whole)
    assert code == 0, report
    assert {n["name"] for n in report["nodes"]} == {s.name for s in specs}
    assert all(n["alive"] for n in report["nodes"])
    assert report["problems"] == []
    assert report["episode"]["id"] >= 1
    assert report["safety"]["state"] in ("armed", "hold")
    assert report["control"]["wanted_hz"] == 20.0
    assert report["control"]["rate_hz"] is None or 0.0 < report["control"]["rate_hz"] < 40.0


def test_when_the_robot_is_missing_expect_status_1_and_what_to_start(start, specs):
    probe = start([s for s in specs if s.name != "sim_robot"], whole=False)
    probe.call(SetBool, "arm", SetBool.Request(data=False))  # the safety filter is up
    probe.spin(2.0)
    code, report = status(lambda r: sum(not n["alive"] for n in r.get("nodes", [])) == 1)
    assert code == 1
    assert "start node sim_robot" in report["to_start"]
    waiting = {n["name"]: n["waits_for"] for n in report["nodes"]}
    assert "/joint_states" in waiting["aggregator"]
    assert report["episode"]["state"] == "idle"


def test_when_the_robot_is_disarmed_expect_the_call_that_arms_it(start, config, tmp_path: Path):
    held = {**config.sections, "safety_filter": config.section("safety_filter") | {"auto_arm": False}}
    disarmed = type(config)(config.path, held)
    probe = start(graphs.record_graph(with_timing(disarmed, "realtime"), tmp_path / "bags", seed=0))
    probe.spin(2.0)
    code, report = status(whole)
    assert report["to_start"] == [
        "arm the robot: ros2 service call /resfit/arm std_srvs/srv/SetBool '{data: true}'"
    ]
    assert code == 0


def test_when_there_is_no_graph_expect_status_2(domain: int):
    code, report = status()
    assert (code, report["verdict"]) == (2, "no graph")
    said = run_status()
    assert said.returncode == 2
    assert f"ROS domain {os.environ['ROS_DOMAIN_ID']}" in said.stderr
    assert said.stdout == ""


def test_when_it_watches_expect_a_line_a_second_until_ctrl_c_ends_it_with_130(domain: int):
    command = [sys.executable, "-m", "resfit_ros", "status", "--watch", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert [line["verdict"] for line in lines] == ["no graph"] * 2
    assert process.returncode == 130
    assert said == "stopped; nothing finished was lost\n"
