"""FAULTS rows 13 to 17, 31 to 33: processes of the control path that die, stand still, or get no CPU."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from std_srvs.srv import SetBool

from resfit_ros.msg import ExecutedAction
from resfit_ros.ros.node import ERROR

STAND_STILL = "python:odd_policies:StandStill"
PROMPT = {"action_timeout_s": 0.1}  # as on a robot
ARMED, DISARMED = ExecutedAction.STATE_ARMED, ExecutedAction.STATE_DISARMED


def seconds_until(probe, condition, limit_s: float = 10.0) -> float:
    """Waits for it; how long that took."""
    begin = time.monotonic()
    probe.wait(condition, limit_s)
    return time.monotonic() - begin


def positions(probe, first: int = 0) -> np.ndarray:
    """What has been sent to the robot, (N, 29)."""
    return np.array([m.points[0].positions for m in probe.seen["/joint_command"][first:]])


@pytest.mark.parametrize(("number", "row"), [(signal.SIGKILL, 13), (signal.SIGSTOP, 14)])
def test_when_the_residual_node_is_gone_expect_hold(bring_up, switch, measured, number, row):
    probe = bring_up(STAND_STILL, safety=PROMPT)
    probe.wait(lambda: probe.state() == ARMED, 10.0)
    probe.supervisor.send_signal("residual", number)
    held_s = seconds_until(probe, probe.holds)
    measured(row, f"hold {1e3 * held_s:.0f} ms after the signal (aim 120 ms)")
    assert held_s < 1.0
    assert probe.seen["safety_status"][-1].reasons & ExecutedAction.REASON_STALE_ACTION
    if number == signal.SIGSTOP:
        first = len(probe.seen["/joint_command"])
        probe.supervisor.send_signal("residual", signal.SIGCONT)
        probe.wait(lambda: probe.state() == ARMED, 20.0)  # and it goes on by itself
        assert np.all(np.isfinite(positions(probe, first)))


def test_when_the_base_policy_node_is_killed_expect_hold_before_its_chunk_is_used_up(bring_up, switch, measured):
    probe = bring_up(STAND_STILL, safety=PROMPT, execute_steps=29, prefetch_steps=1)
    probe.wait(lambda: probe.state() == ARMED, 10.0)
    probe.wait(lambda: probe.seen["action"][-1].step % 29 == 2, 20.0)  # a chunk of 1.3 s has just begun
    probe.supervisor.send_signal("base_policy", signal.SIGKILL)
    held_s = seconds_until(probe, probe.holds)
    measured(15, f"hold {1e3 * held_s:.0f} ms after SIGKILL (aim 520 ms)")
    assert held_s < 1.1
    probe.wait(lambda: "base_policy is not heard" in probe.said("residual")[1], 15.0)


def test_when_an_inference_hangs_expect_its_late_chunk_unused(bring_up, switch, measured):
    probe = bring_up(STAND_STILL, execute_steps=5, prefetch_steps=0)
    switch("hang")
    probe.wait(lambda: probe.said("base_policy")[0] == ERROR and probe.holds(), 10.0)
    hung_on = probe.seen["action"][-1].step
    stamp = probe.seen["observation"][-1].header.stamp
    switch("")
    probe.wait(lambda: probe.seen["action"][-1].step > hung_on + 5, 10.0)
    used = [c for c in probe.seen["action_chunk"] if c.step > hung_on]
    late = [c for c in used if (c.header.stamp.sec, c.header.stamp.nanosec) < (stamp.sec, stamp.nanosec)]
    measured(16, f"{len(late)} chunks of an old observation used")
    assert late == []


def test_when_the_safety_filter_is_killed_expect_the_robot_to_stop_and_the_next_one_disarmed(
    bring_up, switch, measured
):
    probe = bring_up(STAND_STILL, safety={"auto_arm": False}, wait=False)
    arm(probe)
    probe.wait(lambda: len(probe.seen["executed_action"]) > 10, 30.0)
    probe.supervisor.send_signal("safety_filter", signal.SIGKILL)
    killed = len(probe.seen["safety_status"])
    del probe.seen["/diagnostics"][:]
    stopped_s = seconds_until(probe, lambda: "standing still" in probe.said("sim_robot")[1])
    measured(17, f"the robot stops by itself {1e3 * stopped_s:.0f} ms after SIGKILL (aim 120 ms)")
    assert stopped_s < 1.0

    def respawned() -> bool:
        probe.supervisor.check()
        return len(probe.seen["safety_status"]) > killed + 3

    probe.wait(respawned, 20.0)
    assert {s.state for s in probe.seen["safety_status"][killed + 1 :]} == {DISARMED}
    arm(probe)
    probe.wait(lambda: probe.state() == ARMED, 10.0)


def arm(probe) -> None:
    """Asks until the filter is content with its inputs."""
    refusals = []
    for _ in range(60):
        answer = probe.call(SetBool, "arm", SetBool.Request(data=True))
        if answer.success:
            return
        refusals.append(answer.message)
        probe.spin(0.5)
    pytest.fail(f"not armed: {refusals[-1]}")


def test_when_the_graph_was_cut_off_expect_no_command_from_before(bring_up, switch, measured):
    probe = bring_up(STAND_STILL, safety=PROMPT)
    for name in ("aggregator", "residual"):  # what waits in their queues is as old as after a network cut
        probe.supervisor.send_signal(name, signal.SIGSTOP)
    probe.wait(probe.holds, 10.0)
    probe.spin(1.0)
    first = len(probe.seen["executed_action"])
    cut_ns = int(probe.seen["observation"][-1].header.stamp.sec * 1e9 + probe.seen["observation"][-1].header.stamp.nanosec)
    for name in ("residual", "aggregator"):
        probe.supervisor.send_signal(name, signal.SIGCONT)
    probe.wait(lambda: probe.state() == ARMED, 20.0)
    probe.wait(lambda: len(probe.seen["executed_action"]) > first + 5, 10.0)
    clean = [e for e in probe.seen["executed_action"][first:] if not e.tainted]
    aged = [e for e in clean if e.header.stamp.sec * 1e9 + e.header.stamp.nanosec <= cut_ns]
    measured(31, f"{len(aged)} commands from before the cut executed as clean")
    assert aged == []


def test_when_the_cpus_are_overloaded_expect_missed_ticks_counted_and_commands_within_the_limits(
    bring_up, switch, measured
):
    probe = bring_up(STAND_STILL, safety={"max_missed_ticks": 3})
    switch("swing")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        first, begin = len(probe.seen["/joint_command"]), time.monotonic()
        probe.spin(4.0)
        seconds = time.monotonic() - begin
    finally:
        for process in busy:
            process.kill()
            process.wait()
    sent = positions(probe, first)
    probe.wait(lambda: probe.state() == ARMED, 20.0)
    missed = probe.seen["safety_status"][-1].ticks_missed
    measured(32, f"{missed} ticks missed since start, {len(sent) / seconds:.0f} commands per second under load")
    assert len(sent) > 50
    assert np.all(np.abs(np.diff(sent, axis=0)) <= 6.0 * 0.01 + 1e-9)


def test_when_the_safety_filter_is_interrupted_in_motion_expect_braking_and_status_0(bring_up, switch, measured):
    probe = bring_up(STAND_STILL)
    switch("swing")
    probe.wait(lambda: np.ptp(positions(probe)[-20:, 0]) > 0.03, 20.0)
    first = len(probe.seen["/joint_command"]) - 3
    begin = time.monotonic()
    probe.supervisor.send_signal("safety_filter", signal.SIGINT)
    ended_s = seconds_until(probe, lambda: "safety_filter" in probe.supervisor.check())
    probe.spin(0.3)
    measured(33, f"exit status 0 after {ended_s:.2f} s (aim 1 s)")
    assert time.monotonic() - begin < 5.0
    sent = positions(probe, first)
    velocity = np.diff(sent, axis=0) / 0.01
    np.testing.assert_array_equal(velocity[-1], 0.0)
    assert np.all(np.abs(np.diff(velocity, axis=0)) / 0.01 <= 120.0 * (1 + 1e-6))
