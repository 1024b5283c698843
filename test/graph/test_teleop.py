"""A human takes the robot over and hands it back."""

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from std_msgs.msg import UInt64MultiArray

from resfit_ros import graphs
from resfit_ros.bringup import with_timing
from resfit_ros.core.observation import JointOrder
from resfit_ros.msg import Action, ExecutedAction
from resfit_ros.ros.commands import MESSAGE_TYPES
from resfit_ros.ros.convert import doubles
from resfit_ros.ros.qos import ROBOT, STEPS

PERIOD_S = 0.02
KIND = "joint_state"


class Teleop:
    """A human who holds the arm a little off where it was taken over."""

    def __init__(self, probe, names: tuple[str, ...]) -> None:
        self._names, self._here = list(names), None
        self.target: np.ndarray | None = None
        order = JointOrder(names)

        def on_state(message: JointState) -> None:
            self._here = np.array(order.pick(message.name, np.array(message.position), "positions"))

        probe.node.create_subscription(JointState, "/joint_states", on_state, ROBOT)
        self._publisher = probe.node.create_publisher(MESSAGE_TYPES[KIND], "/teleop_command", ROBOT)
        probe.wait(lambda: self._here is not None and self._publisher.get_subscription_count() > 0)
        self.timer = probe.node.create_timer(PERIOD_S, self._publish)
        self.timer.cancel()

    def take_over(self) -> None:
        self.target = self._here.copy()
        self.target[0] += 0.05
        self.timer.reset()

    def let_go(self) -> None:
        self.timer.cancel()

    def _publish(self) -> None:
        self._publisher.publish(JointState(name=self._names, position=doubles(self.target)))


@pytest.fixture
def probe(start, config, policy_dir):
    """The control graph in realtime, in the middle of an episode, open to teleoperation."""
    config = with_timing(config, "realtime")
    sections = {
        **config.sections,
        "robot": {**config.robot, "teleop": True, "teleop_command_type": KIND},
        "episode_manager": {"max_steps": 5000},
        # A shared machine may stop a process for longer than a robot's bus would.
        "safety_filter": {"auto_arm": True, "action_timeout_s": 0.5, "state_timeout_s": 2.0},
        "sim_robot": {"label_success": False},
    }
    probe = start(graphs.deploy_graph(type(config)(config.path, sections), policy_dir, None))
    probe.watch(UInt64MultiArray, "flush_chunks", STEPS)
    probe.wait(lambda: len(probe.seen["executed_action"]) > 10)
    return probe


def test_when_a_human_drives_and_hands_back_expect_marked_actions_and_then_a_fresh_chunk(probe, config):
    teleop = Teleop(probe, config.joint_names)
    teleop.take_over()
    probe.wait(lambda: sum(a.mode == Action.MODE_INTERVENTION for a in probe.seen["action"]) > 10, 20.0)
    driven = [a for a in probe.seen["action"] if a.mode == Action.MODE_INTERVENTION]
    for action in driven:
        np.testing.assert_array_equal(np.array(action.command), teleop.target.astype(np.float32))
        assert not np.any(action.residual)
        assert np.abs(np.array(action.base) - action.command).max() > 1e-4
    first, marked = driven[0].step, ExecutedAction.REASON_INTERVENTION
    probe.wait(lambda: probe.seen["executed_action"][-1].step > first + 5, 15.0)
    sent = [e for e in probe.seen["executed_action"] if first < e.step < first + 5]
    assert all(e.reasons & marked and not e.tainted for e in sent)
    teleop.let_go()
    probe.wait(lambda: probe.seen["action"][-1].mode == Action.MODE_BASE, 20.0)
    driven = [a for a in probe.seen["action"] if a.mode == Action.MODE_INTERVENTION]
    after = [a for a in probe.seen["action"] if a.step > driven[-1].step and a.episode_id == driven[-1].episode_id]
    hand_back = after[0].step
    assert hand_back == driven[-1].step + 1
    assert [list(m.data) for m in probe.seen["flush_chunks"]] == [[after[0].episode_id, hand_back]]
    fresh = [c for c in probe.seen["action_chunk"] if c.step >= hand_back and c.episode_id == after[0].episode_id]
    assert fresh[0].step == hand_back
    first = np.array(fresh[0].actions).reshape(fresh[0].horizon, -1)[0]
    np.testing.assert_array_equal(np.array(after[0].base), first)
    probe.wait(lambda: probe.seen["action"][-1].step > hand_back + 10, 20.0)
