"""Base policies that are slow, wrong or silent: control goes on, or holds and says why, and recovers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from std_srvs.srv import SetBool

from resfit_ros.msg import ExecutedAction
from resfit_ros.ros.node import ERROR, OK
from resfit_ros.srv import GetActionChunk

LATCHED = ("nan", "wide")  # a policy that gives what no robot may get: a person has to arm again


def steps_go_on(probe, count: int = 15) -> None:
    """The next `count` actions come, each of the step after the one before."""
    before = len(probe.seen["action"])
    probe.wait(lambda: len(probe.seen["action"]) >= before + count, 30.0)
    steps = sorted({a.step for a in probe.seen["action"][before:]})
    assert steps == list(range(steps[0], steps[0] + len(steps)))


def test_when_inference_takes_300_ms_expect_no_step_without_its_action(bring_up, switch):
    switch("sleep 0.3")
    probe = bring_up("python:odd_policies:StandStill")
    begun = len(probe.seen["action"])
    probe.wait(lambda: len(probe.seen["action"]) >= begun + 100, 30.0)
    # A step asked for twice, as after a pause of the whole computer, is answered twice.
    steps = list(dict.fromkeys(a.step for a in probe.seen["action"]))
    assert steps == list(range(len(steps)))
    probe.spin(0.6)
    figures = probe.said("residual")[2]
    assert figures["steps without a base action"] == "0"
    # Waiting for each chunk instead would hold for two fifths of the time.
    held = [s.state == ExecutedAction.STATE_HOLD for s in probe.seen["safety_status"]]
    assert sum(held) < 0.2 * len(held)


def test_when_inference_takes_two_seconds_expect_hold_the_reason_and_resumption(bring_up, switch):
    probe = bring_up("python:odd_policies:StandStill")
    switch("sleep 2.0")
    probe.wait(lambda: probe.holds(), 20.0)
    probe.wait(lambda: probe.said("base_policy")[0] == ERROR, 15.0)
    assert "'stand_still' has not answered for" in probe.said("base_policy")[1]
    probe.wait(lambda: not probe.holds(), 10.0)
    switch("")
    steps_go_on(probe, 40)
    resumed = [e for e in probe.seen["executed_action"] if e.tainted]
    assert resumed  # the step that ended the hold is not learned from as clean


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("raise", "'stand_still' failed: KeyError: 'the gripper is not in the dictionary'"),
        ("nan", "'stand_still' failed: its chunk holds NaN or Inf, first in row 3, joint 1"),
        ("wide", "'stand_still' failed: it gave a chunk of shape (30, 30), expected (horizon, 29)"),
        ("short", "'stand_still' failed: it gave a chunk of 1 actions, execute_steps + prefetch_steps + blend_steps needs 5"),
        ("hang", "'stand_still' has not answered for"),
    ],
)
def test_when_the_policy_misbehaves_expect_hold_the_reason_and_recovery_without_restart(
    bring_up, switch, what, reason
):
    probe = bring_up("python:odd_policies:StandStill", execute_steps=5, prefetch_steps=0)
    switch(what)
    probe.wait(lambda: reason in probe.said("base_policy")[1], 10.0)
    assert probe.said("base_policy")[0] == ERROR
    probe.wait(lambda: probe.holds(), 10.0)
    assert probe.supervisor.check() == set()  # every node is alive
    switch("")
    if what in LATCHED:
        probe.wait(lambda: probe.state() == ExecutedAction.STATE_FAULT, 15.0)
        probe.wait(lambda: probe.said("base_policy")[0] == OK, 15.0)
        assert probe.call(SetBool, "arm", SetBool.Request(data=True)).success
    probe.wait(lambda: not probe.holds(), 10.0)
    steps_go_on(probe)
    probe.wait(lambda: probe.said("base_policy")[0] == OK, 15.0)


def test_when_the_policy_directory_is_missing_expect_the_node_alive_and_recovery_once_it_is_there(
    bring_up, policy_dir, tmp_path
):
    missing = tmp_path / "later"
    probe = bring_up(str(missing), wait=False, execute_steps=8, prefetch_steps=0)
    probe.wait(lambda: "policy.json: no such file" in probe.said("base_policy")[1], 30.0)
    assert probe.said("base_policy")[0] == ERROR
    assert probe.seen["observation"] == []  # no episode starts without a base policy
    assert probe.supervisor.check() == set()
    shutil.copytree(policy_dir, tmp_path / "partial")
    (tmp_path / "partial").rename(missing)
    probe.wait(lambda: len(probe.seen["executed_action"]) > 10, 30.0)


def test_when_asked_by_service_expect_a_chunk_of_that_observation(bring_up, switch):
    probe = bring_up("python:odd_policies:StandStill")
    request = GetActionChunk.Request(observation=probe.seen["observation"][-1])
    answer = probe.call(GetActionChunk, "base/get_action_chunk", request)
    assert answer.success, answer.message
    assert (answer.chunk.horizon, answer.chunk.action_dim) == (30, 29)
    assert answer.chunk.policy_sha256 == "0123456789abcdef"


def test_when_the_policy_server_dies_and_comes_back_expect_hold_the_reason_and_recovery(bring_up, policy_dir, tmp_path):
    with policy_server(policy_dir, tmp_path) as (process, address):
        probe = bring_up(address, execute_steps=5, prefetch_steps=0)
        os.killpg(process.pid, signal.SIGKILL)
        probe.wait(lambda: probe.holds(), 10.0)
        probe.wait(lambda: probe.said("base_policy")[0] == ERROR, 15.0)
        assert f"policy server {address}: " in probe.said("base_policy")[1]
    with policy_server(policy_dir, tmp_path, address.rpartition(":")[2]):
        probe.wait(lambda: not probe.holds(), 30.0)
        steps_go_on(probe)


def test_when_the_policy_server_never_answers_expect_hold_the_reason_and_recovery(bring_up, policy_dir, tmp_path):
    with policy_server(policy_dir, tmp_path) as (process, address):
        probe = bring_up(address, execute_steps=5, prefetch_steps=0)
        os.killpg(process.pid, signal.SIGSTOP)
        probe.wait(lambda: "no answer within 1 s" in probe.said("base_policy")[1], 10.0)
        assert probe.holds()
        os.killpg(process.pid, signal.SIGCONT)
        probe.wait(lambda: not probe.holds(), 30.0)
        steps_go_on(probe)


@contextmanager
def policy_server(policy_dir: Path, tmp_path: Path, port: str = "0"):
    """`resfit serve-policy` in a process of its own; gives it and its address."""
    command = [sys.executable, "-m", "resfit_ros", "serve-policy", "--policy", str(policy_dir), "--port", port]
    log = tmp_path / "server.txt"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process, _address(log, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGCONT)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(20.0) == 0, log.read_text()


def _address(log: Path, process: subprocess.Popen) -> str:
    for _ in range(600):
        found = re.search(r"at\s+(ws://[0-9.]+:[0-9]+)", log.read_text())
        if found:
            return found.group(1)
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    pytest.fail(f"the server did not come up: {log.read_text()}")
