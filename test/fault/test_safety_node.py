"""FAULTS rows 3, 4, 9, 11, 27 and 34 through ROS: the safety filter's process between a made-up graph and robot."""

import time
from array import array

import numpy as np
import pytest
from geometry_msgs.msg import WrenchStamped
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import JointState
from soak import count
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory

from resfit_ros.bringup import NodeSpec, RunConfig
from resfit_ros.msg import Action, Episode, ExecutedAction, Hold, SafetyStatus
from resfit_ros.ros.convert import doubles, floats, header
from resfit_ros.ros.qos import ROBOT, STEPS

NAMES = [f"j{i}" for i in range(7)]
VELOCITY, ACCELERATION = 2.0, 20.0
FAULT, ARMED, HOLD = ExecutedAction.STATE_FAULT, ExecutedAction.STATE_ARMED, ExecutedAction.STATE_HOLD


def started(episode_id: int, source_id: str = "/resfit/episode_manager") -> Episode:
    return Episode(
        header=header(1), episode_id=episode_id, event=Episode.EVENT_STARTED, source_id=source_id
    )


class Robot:
    """Obeys at once, and sends whatever a test wants as the residual's actions."""

    def __init__(self, probe) -> None:
        node = probe.node
        self.probe, self.position, self.shift = probe, np.zeros(7), np.zeros(7)
        self.silent = False
        self.states = node.create_publisher(JointState, "/joint_states", ROBOT)
        self.actions = node.create_publisher(Action, "action", STEPS)
        self.episodes = node.create_publisher(Episode, "episode", STEPS)
        self.holds = node.create_publisher(Hold, "hold_request", STEPS)
        self.wrenches = node.create_publisher(WrenchStamped, "/wrench", ROBOT)
        self.sent: list[np.ndarray] = []
        node.create_subscription(JointTrajectory, "/joint_command", self._obey, STEPS)
        node.create_timer(0.01, self._publish)
        self.step = 0

    def _obey(self, message: JointTrajectory) -> None:
        self.position = np.frombuffer(message.points[0].positions).copy()
        self.sent.append(self.position)

    def _publish(self) -> None:
        if not self.silent:
            position = doubles(self.position + self.shift)
            self.states.publish(JointState(header=header(time.time_ns()), name=NAMES, position=position))

    def act(self, command, base=None, stamp_ns: int | None = None, source_id: str = "/resfit/residual") -> None:
        command = np.asarray(command, np.float32)
        base = command if base is None else np.asarray(base, np.float32)
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        self.actions.publish(
            Action(header=header(stamp_ns), episode_id=1, step=self.step, base=floats(base),
                   residual=floats(np.zeros(7)), command=floats(command), source_id=source_id)
        )  # fmt: skip
        self.step += 1

    def arm(self) -> None:
        for _ in range(40):
            if self.probe.call(SetBool, "arm", SetBool.Request(data=True)).success:
                self.probe.wait(lambda: self.status.state != ExecutedAction.STATE_DISARMED, 15.0)
                return
            self.probe.spin(0.1)
        pytest.fail("the filter was not armed")

    @property
    def status(self) -> SafetyStatus:
        return self.probe.seen["safety_status"][-1]

    def until(self, state: int) -> None:
        self.probe.wait(lambda: self.status.state == state, 10.0)


@pytest.fixture
def robot(start, tmp_path, request) -> Robot:
    """An armed filter at rest."""
    values = {
        "joint_names": NAMES,
        "lower": [-1.5] * 7,
        "upper": [1.5] * 7,
        "max_velocity": [VELOCITY],
        "max_acceleration": [ACCELERATION],
        "healthy_s": 0.2,
        # A shared machine may stop a process for longer than a robot would.
        "state_timeout_s": 1.0,
        "action_timeout_s": 0.5,
        "max_missed_ticks": 0,
        "max_tracking_error": [0.5],
    } | getattr(request, "param", {})
    config = RunConfig(tmp_path / "robot.yaml", {"robot": values, "safety_filter": values})
    remappings = tuple((n, f"/{n}") for n in ("joint_states", "joint_command", "wrench"))
    probe = start((NodeSpec("safety_filter", config.parameters("safety_filter"), remappings),), whole=False)
    made = Robot(probe)
    probe.wait(lambda: bool(probe.seen["safety_status"]), 30.0)
    made.episodes.publish(started(1))
    made.arm()
    made.until(ARMED)
    return made


def test_when_commands_are_wild_expect_every_set_point_within_the_limits(robot, measured):
    rng = np.random.default_rng(0)
    wanted = count(10_000, 500)
    while len(robot.sent) < wanted:
        robot.act(rng.uniform(-1, 1, 7) * 10.0 ** rng.uniform(-2, 20))
        robot.probe.spin(0.02)
    sent = np.array(robot.sent)
    velocity = np.diff(sent, axis=0) / 0.01
    acceleration = np.diff(velocity, axis=0) / 0.01
    assert np.abs(sent).max() <= 1.5
    assert np.abs(velocity).max() <= VELOCITY * (1 + 1e-9)
    assert np.abs(acceleration).max() <= ACCELERATION * (1 + 1e-6)
    assert robot.status.actions_clamped > 0
    measured(4, f"0 violations in {len(sent)} commands on the robot's topic")


def test_when_a_thousand_actions_have_wrong_sizes_expect_fault_and_the_node_alive(robot, measured):
    for k in range(1000):
        robot.act(np.zeros(k % 7))
        if k % 50 == 0:
            robot.probe.spin(0.02)
    robot.probe.wait(lambda: robot.status.actions_rejected == 1000, 20.0)
    assert robot.status.state == FAULT
    assert robot.status.reasons & ExecutedAction.REASON_WRONG_SIZE
    robot.arm()
    robot.until(ARMED)
    measured(3, "1000 of 1000 rejected through ROS, fault, armed again by hand")


def test_when_a_thousand_stamps_are_wrong_expect_all_rejected_and_no_fault(robot, measured):
    for k in range(1000):
        stamp_ns = (0, time.time_ns() + 10**9, time.time_ns() - 10**9)[k % 3]
        robot.act(np.full(7, 1.0), stamp_ns=stamp_ns)
        if k % 50 == 0:
            robot.probe.spin(0.02)
    robot.probe.wait(lambda: robot.status.actions_bad_stamp == 1000, 20.0)
    assert np.abs(robot.sent[-1]).max() < 1e-9
    measured(9, f"{robot.status.actions_bad_stamp} of 1000 rejected and counted")


def test_when_strangers_send_actions_expect_none_used(robot, measured):
    for _ in range(200):
        robot.act(np.full(7, 1.0), source_id="/somebody/residual")
    robot.probe.wait(lambda: robot.status.actions_foreign == 200, 20.0)
    assert np.abs(robot.sent[-1]).max() < 1e-9
    assert robot.status.state == ARMED
    measured(29, "0 of 200 foreign actions used")


def test_when_a_stranger_begins_another_episode_expect_ours_to_go_on(robot, measured):
    for number in range(2, 22):
        robot.episodes.publish(started(number, "/somebody/episode_manager"))
    robot.probe.spin(0.3)
    accepted = robot.status.actions_accepted
    for _ in range(10):
        robot.act(np.full(7, 0.1))
        robot.probe.spin(0.05)
    robot.probe.wait(lambda: robot.status.actions_accepted == accepted + 10, 15.0)
    measured(29, "0 of 20 foreign episodes begun")


def test_when_the_measured_joints_are_far_off_expect_a_latched_fault(robot, measured):
    robot.shift = np.full(7, 0.6)
    begin = time.monotonic()
    robot.until(FAULT)
    measured(34, f"fault {1e3 * (time.monotonic() - begin):.0f} ms after the robot was elsewhere")
    assert robot.status.reasons & ExecutedAction.REASON_TRACKING


@pytest.mark.parametrize("robot", [{"state_timeout_s": 0.05}], indirect=True)
def test_when_joint_states_stop_expect_a_latched_fault(robot, measured):
    robot.silent = True
    begin = time.monotonic()
    robot.until(FAULT)
    measured(11, f"fault {1e3 * (time.monotonic() - begin):.0f} ms after the last joint state, through ROS")
    robot.silent = False
    robot.probe.spin(0.5)
    assert robot.status.state == FAULT


def scaled(robot, value: float):
    wanted = Parameter(name="speed_scale", value=ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value))
    answer = robot.probe.call(
        SetParameters, "safety_filter/set_parameters", SetParameters.Request(parameters=[wanted])
    )
    return answer.results[0]


def test_when_a_limit_would_be_widened_while_armed_expect_it_refused(robot, measured):
    assert scaled(robot, 0.5).successful
    refused = scaled(robot, 0.9)
    assert "may not rise to 0.9 while armed; disarm first" in refused.reason
    assert not scaled(robot, float("nan")).successful
    assert not scaled(robot, 0.0).successful
    robot.probe.wait(lambda: robot.status.speed_scale == 0.5, 15.0)
    assert robot.probe.call(SetBool, "arm", SetBool.Request(data=False)).success
    robot.until(ExecutedAction.STATE_DISARMED)
    assert scaled(robot, 0.9).successful
    measured(27, "widening refused while armed, NaN and 0 refused, value unchanged")


def test_when_a_limit_itself_is_set_expect_it_refused(robot):
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE_ARRAY, double_array_value=[9.0])
    request = SetParameters.Request(parameters=[Parameter(name="max_velocity", value=value)])
    answer = robot.probe.call(SetParameters, "safety_filter/set_parameters", request)
    assert not answer.results[0].successful


def test_when_hold_is_asked_for_expect_it_until_released_by_the_same_source(robot):
    assert robot.probe.call(SetBool, "hold", SetBool.Request(data=True)).success
    robot.until(HOLD)
    assert robot.status.reasons & ExecutedAction.REASON_OPERATOR
    ask = Hold(request=Hold.REQUEST_HOLD, reasons=ExecutedAction.REASON_STALE_SENSOR, why="a", source_id="/a")
    robot.holds.publish(ask)
    robot.probe.wait(lambda: robot.status.reasons & ExecutedAction.REASON_STALE_SENSOR, 15.0)
    assert robot.probe.call(SetBool, "hold", SetBool.Request(data=False)).success
    robot.act(robot.position)
    robot.probe.spin(0.2)
    assert robot.status.state == HOLD
    robot.holds.publish(Hold(request=Hold.REQUEST_RELEASE, source_id="/a"))
    robot.probe.spin(0.1)
    robot.act(robot.position)
    robot.until(ARMED)


@pytest.mark.parametrize("robot", [{"max_force": 30.0, "wrench_timeout_s": 0.0}], indirect=True)
def test_when_the_wrist_meets_force_expect_a_latched_fault(robot):
    message = WrenchStamped(header=header(time.time_ns()))
    message.wrench.force.z = 29.0
    robot.wrenches.publish(message)
    robot.probe.spin(0.3)
    assert robot.status.state == ARMED
    message.wrench.force.z = 31.0
    robot.probe.wait(lambda: robot.wrenches.publish(message) or robot.status.state == FAULT, 15.0)
    assert robot.status.reasons & ExecutedAction.REASON_FORCE


@pytest.mark.parametrize("robot", [{"command_fields": "position_velocity", "command_lead_s": 0.03}], indirect=True)
def test_when_velocities_are_asked_for_expect_them_beside_each_set_point(robot):
    robot.act(np.full(7, 0.05))
    robot.probe.spin(0.3)
    points = [m.points[0] for m in robot.probe.seen["/joint_command"]]
    moving = [p for p in points if abs(p.velocities[0]) > 1e-6]
    assert len(moving) > 3
    assert {p.time_from_start.nanosec for p in points} == {30_000_000}
    sent = np.array([p.positions[0] for p in points])
    velocities = array("d", [p.velocities[0] for p in points])
    np.testing.assert_allclose(velocities[1:], np.diff(sent) / 0.01, atol=1e-9)
