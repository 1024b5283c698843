"""By the clock: rates, holding when actions stop, faults that latch."""

import signal

import numpy as np
import pytest
from std_srvs.srv import SetBool

from resfit_ros import graphs
from resfit_ros.bringup import with_timing
from resfit_ros.msg import Action, ExecutedAction
from resfit_ros.ros.qos import STEPS


@pytest.fixture
def probe(start, config, policy_dir):
    """The control graph in realtime, in the middle of an episode."""
    config = with_timing(config, "realtime")
    sections = {
        **config.sections,
        "episode_manager": {"max_steps": 2000},
        # A shared machine may stop a process for longer than a robot's bus would.
        "safety_filter": {"auto_arm": True, "action_timeout_s": 0.4, "state_timeout_s": 1.0},
    }
    config = type(config)(config.path, sections)
    probe = start(graphs.deploy_graph(config, policy_dir, None))
    probe.wait(lambda: len(probe.seen["executed_action"]) > 10)
    return probe


def stamp_s(message) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def last_position(probe) -> np.ndarray:
    return np.array(probe.seen["/joint_command"][-1].points[0].positions)


def test_when_running_by_the_clock_expect_steps_without_gaps_near_the_control_rate(probe):
    skipped, commands = len(probe.seen["observation"]), len(probe.seen["/joint_command"])
    probe.spin(3.0)
    observations = probe.seen["observation"][skipped:]
    steps = [o.step for o in observations]
    assert steps == list(range(steps[0], steps[0] + len(steps)))
    # Stamps are of the simulation's clock, which ticks every 10 ms.
    times = np.array([stamp_s(o) for o in observations])
    assert np.mean(np.diff(times)) == pytest.approx(0.05, rel=0.2)
    # The filter interpolates: several set points per action.
    assert len(probe.seen["/joint_command"]) - commands > 2 * len(steps)


def test_when_the_residual_node_is_killed_expect_hold_with_a_steady_set_point(probe):
    probe.supervisor.send_signal("residual", signal.SIGKILL)
    probe.wait(lambda: probe.seen["safety_status"][-1].state == ExecutedAction.STATE_HOLD, 15.0)
    probe.spin(0.3)
    position = last_position(probe)
    commands = len(probe.seen["/joint_command"])
    probe.spin(0.5)
    assert len(probe.seen["/joint_command"]) > commands  # holding is not falling silent
    assert np.array_equal(last_position(probe), position)
    assert probe.seen["safety_status"][-1].reasons & ExecutedAction.REASON_STALE_ACTION



def test_when_a_base_action_holds_nan_expect_a_latched_fault_and_no_such_command(probe):
    publisher = probe.node.create_publisher(Action, "action", STEPS)
    probe.wait(lambda: publisher.get_subscription_count() > 0)
    bad = probe.seen["action"][-1]
    bad.step += 1
    bad.base[3] = bad.command[3] = float("nan")
    publisher.publish(bad)
    probe.wait(lambda: probe.seen["safety_status"][-1].state == ExecutedAction.STATE_FAULT, 15.0)
    probe.spin(0.3)
    assert probe.seen["safety_status"][-1].reasons & ExecutedAction.REASON_NON_FINITE
    assert np.all(np.isfinite(last_position(probe)))
    assert probe.call(SetBool, "arm", SetBool.Request(data=True)).success
    probe.wait(lambda: probe.seen["safety_status"][-1].state == ExecutedAction.STATE_ARMED, 15.0)


def test_when_the_estop_is_pressed_expect_arming_refused_until_it_is_released(probe):
    probe.call(SetBool, "estop", SetBool.Request(data=True))
    refused = probe.call(SetBool, "arm", SetBool.Request(data=True))
    assert not refused.success
    assert "e-stop" in refused.message
    probe.call(SetBool, "estop", SetBool.Request(data=False))
    assert probe.call(SetBool, "arm", SetBool.Request(data=True)).success


def test_when_an_action_comes_from_a_stranger_expect_it_unused(probe):
    publisher = probe.node.create_publisher(Action, "action", STEPS)
    probe.wait(lambda: publisher.get_subscription_count() > 0)
    foreign = probe.seen["action"][-1]
    foreign.step += 3
    foreign.source_id = "/somebody/else"
    foreign.command[0] += 0.5
    before = probe.seen["safety_status"][-1].actions_rejected
    publisher.publish(foreign)
    probe.wait(lambda: probe.seen["safety_status"][-1].actions_rejected > before, 15.0)
    assert probe.seen["safety_status"][-1].state == ExecutedAction.STATE_ARMED
