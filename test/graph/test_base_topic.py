"""An existing controller as the base policy: only its topic is remapped."""

import signal
import time

import numpy as np
import pytest
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from resfit_ros import graphs
from resfit_ros.bringup import with_timing
from resfit_ros.core.observation import JointOrder
from resfit_ros.msg import Action, ActorWeights, Episode, ExecutedAction
from resfit_ros.ros.commands import MESSAGE_TYPES
from resfit_ros.ros.convert import doubles
from resfit_ros.ros.qos import LATCHED, ROBOT

JOINTS = 29
PERIOD_S = 0.02
SPEED = 0.2  # rad/s, of the slow swing


class Controller:
    """Somebody's controller: swings one joint slowly about where the robot stood, at 50 Hz."""

    def __init__(self, probe, kind: str, names: tuple[str, ...]) -> None:
        self._probe, self._kind, self._names = probe, kind, list(names)
        self.sent: list[bytes] = []  # as they cross the wire
        self.targets: list[np.ndarray] = []
        self.extra = np.zeros(JOINTS)
        self._home: np.ndarray | None = None
        order = JointOrder(names)

        def on_state(message: JointState) -> None:
            if self._home is None:
                self._home = np.array(order.pick(message.name, np.array(message.position), "positions"))

        probe.node.create_subscription(JointState, "/joint_states", on_state, ROBOT)
        topic = MESSAGE_TYPES[kind], "/base_command"
        probe.node.create_subscription(*topic, lambda data: self.sent.append(bytes(data)), ROBOT, raw=True)
        self._publisher = probe.node.create_publisher(*topic, ROBOT)
        probe.wait(lambda: self._home is not None and self._publisher.get_subscription_count() >= 3)
        self._started = time.monotonic()
        self.timer = probe.node.create_timer(PERIOD_S, self._publish)

    def _publish(self) -> None:
        elapsed = time.monotonic() - self._started
        target = self._home + self.extra
        target[0] += 0.1 * (1.0 - np.cos(SPEED / 0.1 * elapsed))
        self.targets.append(target)
        self._publisher.publish(self._message(target))

    def _message(self, target: np.ndarray):
        if self._kind == "multi_array":
            return Float64MultiArray(data=doubles(target))
        if self._kind == "joint_state":
            message = JointState(name=self._names[::-1], position=doubles(target[::-1]))
            message.header.frame_id = "somebody's own"
            return message
        point = JointTrajectoryPoint(positions=doubles(target))
        point.time_from_start.nanosec = round(PERIOD_S * 1e9)
        return JointTrajectory(joint_names=self._names, points=[point])


@pytest.fixture
def bring_up(start, config):
    """The control graph around a controller that sends one of the three message types."""

    def run(kind: str):
        realtime = with_timing(config, "realtime")
        robot = {
            **realtime.robot,
            "base_source": "topic",
            "base_command_type": kind,
            "base_timeout_s": 0.5,
            "command_type": kind,
            "base_name": "swing 1.0",
        }
        sections = {
            **realtime.sections,
            "robot": robot,
            "episode_manager": {"max_steps": 5000},
            # A shared machine may stop a process for longer than a robot's bus would.
            "safety_filter": config.section("safety_filter") | {"action_timeout_s": 0.4, "state_timeout_s": 2.0},
        }
        specs = graphs.deploy_graph(type(config)(config.path, sections), None, None)
        assert "base_policy" not in {s.name for s in specs}
        probe = start(specs, whole=False)
        probe.raw = []
        probe.node.create_subscription(MESSAGE_TYPES[kind], "/joint_command", probe.raw.append, ROBOT, raw=True)
        controller = Controller(probe, kind, config.joint_names)
        probe.wait(lambda: len(probe.seen["executed_action"]) > 20)
        return probe, controller

    return run


def passed_on(probe, controller, count: int = 50) -> None:
    """The next commands on the robot's topic are the controller's messages, bit for bit."""
    first_sent, first_raw = len(controller.sent), len(probe.raw)
    probe.wait(lambda: len(controller.sent) >= first_sent + count and len(probe.raw) >= first_raw + count, 20.0)
    ours = set(controller.sent)
    foreign = [data for data in probe.raw[first_raw:] if bytes(data) not in ours]
    assert foreign == []


@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_when_no_residual_acts_expect_the_controllers_bytes_unchanged(bring_up, kind):
    probe, controller = bring_up(kind)
    probe.spin(1.0)
    passed_on(probe, controller)
    assert probe.call(SetBool, "enable_residual", SetBool.Request(data=False)).success
    passed_on(probe, controller)
    # What the learner is told was executed is what the controller commanded.
    newest = probe.seen["executed_action"][-1]
    gaps = [np.abs(np.array(newest.action) - t).max() for t in controller.targets[-30:]]
    assert min(gaps) < SPEED * PERIOD_S
    assert newest.reasons & ~ExecutedAction.REASON_NO_EPISODE == 0


def test_when_a_command_breaks_a_limit_expect_other_commands_within_it(bring_up):
    probe, controller = bring_up("joint_trajectory")
    probe.spin(1.0)
    first = len(probe.raw)
    controller.extra[7] = 0.5  # at once, in 20 ms
    probe.wait(lambda: len(probe.raw) > first + 40, 10.0)
    positions = [deserialize_message(bytes(d), JointTrajectory).points[0].positions[7] for d in probe.raw[first - 1 :]]
    assert np.max(np.abs(np.diff(positions))) < 0.25
    assert probe.supervisor.check() == set()
    probe.spin(1.0)
    passed_on(probe, controller, 20)  # there again, the controller has the robot back


def test_when_the_residual_node_is_killed_expect_the_controller_to_go_on(bring_up):
    probe, controller = bring_up("joint_trajectory")
    probe.supervisor.send_signal("residual", signal.SIGKILL)
    probe.spin(1.0)
    passed_on(probe, controller)
    assert probe.seen["safety_status"][-1].state == ExecutedAction.STATE_ARMED


def test_when_the_controller_falls_silent_expect_hold_and_resumption(bring_up):
    probe, controller = bring_up("joint_trajectory")
    controller.timer.cancel()
    probe.wait(lambda: probe.seen["safety_status"][-1].state == ExecutedAction.STATE_HOLD, 10.0)
    controller.timer.reset()
    probe.wait(lambda: probe.seen["safety_status"][-1].state == ExecutedAction.STATE_ARMED, 10.0)
    probe.spin(1.0)  # the controller went on meanwhile: the way to where it is now is the filter's
    passed_on(probe, controller, 20)


def test_when_a_residual_acts_expect_base_plus_residual_and_the_controllers_command_as_the_base(
    bring_up, config, policy_dir
):
    from resfit_ros.learning.networks import ObservationShape, ResidualActor
    from resfit_ros.core.learning_config import LearningConfig

    probe, controller = bring_up("joint_trajectory")
    publisher = probe.node.create_publisher(ActorWeights, "actor_weights", LATCHED)
    actor = ResidualActor(ObservationShape(65, JOINTS), LearningConfig(hidden_width=16))
    actor.head.bias.data.fill_(0.1)
    publisher.publish(weights_of(actor, policy_dir, scale=0.05))
    assert probe.call(SetBool, "enable_residual", SetBool.Request(data=True)).success
    probe.wait(lambda: probe.seen["action"][-1].mode == Action.MODE_RESIDUAL, 20.0)
    probe.spin(1.0)
    action = probe.seen["action"][-1]
    assert np.abs(np.array(action.residual)).max() > 1e-4
    np.testing.assert_allclose(np.array(action.base) + action.residual, action.command, atol=1e-6)
    gaps = [np.abs(np.array(action.base) - t).max() for t in controller.targets[-40:]]
    assert min(gaps) < 2 * SPEED * 0.05
    executed = {e.step: np.array(e.action) for e in probe.seen["executed_action"]}
    commanded = {a.step: np.array(a.command) for a in probe.seen["action"]}
    steps = sorted(set(executed) & set(commanded))[-10:]
    assert max(np.abs(executed[k] - commanded[k]).max() for k in steps) < 5e-3
    assert probe.seen["episode"][-1].event == Episode.EVENT_STARTED


def weights_of(actor, policy_dir, scale: float) -> ActorWeights:
    """What a learner would send for `actor`, on top of any base policy."""
    import json

    from resfit_ros.learning.hashes import sha256
    from resfit_ros.learning.weights import pack
    from resfit_ros.policies.chunk_policy import load_normaliser

    normaliser, data = load_normaliser(policy_dir), pack(actor)
    return ActorWeights(
        version=1,
        data=data,
        sha256=sha256(data),
        normaliser=json.dumps(normaliser.to_dict()),
        normaliser_sha256=normaliser.sha256,
        residual_scale=scale,
    )
