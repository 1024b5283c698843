"""`resfit check-robot --live` against nodes that run: what is there, missing or wrong."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from resfit_ros.bringup import RunConfig, describe, load_config
from resfit_ros.cli.check_robot import run_check
from resfit_ros.paths import find_config
from resfit_ros.robot.check import OK, PROBLEM, RobotReport
from resfit_ros.ros.qos import LATCHED, SENSORS
from resfit_ros.supervise import Supervisor

URDF = (Path(__file__).parents[1] / "unit" / "robots" / "ur_like.urdf").read_text()
JOINTS = ["elbow_joint", "wrist_1_joint"]
LISTEN_S = 1.0


class Robot:
    """A driver in a thread of its own, in the test's ROS domain."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("driver", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin)

    def publish(self, topic: str, message, period_s: float = 0.02, qos=SENSORS, stamped: bool = True) -> None:
        """Sends a message again and again, stamped with the time."""
        publisher = self.node.create_publisher(type(message), topic, qos)

        def send() -> None:
            if stamped:
                message.header.stamp = self.node.get_clock().now().to_msg()
            publisher.publish(message)

        self.node.create_timer(period_s, send)

    def start(self) -> None:
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def robot(domain: int) -> Iterator[Robot]:
    robot = Robot(domain)
    yield robot
    robot.stop()


@pytest.fixture
def my_robot(tmp_path: Path) -> RunConfig:
    sections = {
        "robot": {"joint_names": JOINTS, "urdf": "topic", "max_acceleration": [5.0]},
        "aggregator": {"camera_names": ["wrist"], "max_source_age_s": 5.0},
        # A shared machine may stop a process for longer than a robot's bus would.
        "safety_filter": {"state_timeout_s": 5.0},
        "episode_manager": {"seeded_reset": False},
    }
    path = tmp_path / "my_robot.yaml"
    path.write_text(yaml.safe_dump(sections))
    return load_config(path)


def joint_state(*names: str) -> JointState:
    zeros = [0.0] * len(names)
    return JointState(name=list(names), position=zeros, velocity=zeros)


def picture(encoding: str = "bgr8") -> Image:
    return Image(width=96, height=96, step=288, encoding=encoding, data=bytes(96 * 288))


def levels(report: RobotReport) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for f in report.findings:
        found.setdefault(f.item, []).append(f.level)
    return found


def words(report: RobotReport, item: str, level: str = PROBLEM) -> str:
    return " ".join(f"{f.found}; {f.advice}" for f in report.findings if (f.item, f.level) == (item, level))


def test_when_everything_is_there_expect_it_ok_and_limits_from_the_description(robot, my_robot):
    robot.publish("/joint_states", joint_state("gripper", *reversed(JOINTS)))
    robot.publish("/wrist/image_raw", picture())
    robot.node.create_publisher(String, "/robot_description", LATCHED).publish(String(data=URDF))
    robot.node.create_subscription(JointTrajectory, "/joint_command", lambda m: None, 10)
    robot.node.create_service(Trigger, "/resfit/reset_scene", lambda request, response: response)
    robot.start()
    report = run_check(my_robot, None, live=True, seconds=LISTEN_S)
    assert report.ok, report.findings
    assert set(levels(report)) == {"joint states", "camera 'wrist'", "commands", "reset service", "robot description"}
    assert all(found[0] == OK for found in levels(report).values())
    assert "96 x 96 bgr8" in words(report, "camera 'wrist'", OK)
    assert report.limits.sources["lower"] == "URDF"
    assert "the same to the last bit" in words(report, "camera 'wrist'", "warning")


def test_when_nothing_fits_expect_each_fault_by_name(robot, my_robot):
    best_effort = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    robot.publish("/joint_states", joint_state("elbow_joint", "wrist_2_joint"))
    robot.publish("/wrist/image_raw", picture("yuv411"))
    robot.publish("/robot_description", String(data=URDF), 0.2, best_effort, stamped=False)
    robot.node.create_subscription(Float64MultiArray, "/joint_command", lambda m: None, 10)
    robot.node.create_service(Trigger, "/arm/reset_scene", lambda request, response: response)
    robot.start()
    report = run_check(my_robot, None, live=True, seconds=LISTEN_S)
    assert "1 joints are missing (wrist_1_joint)" in words(report, "joint states")
    assert "'yuv411'" in words(report, "camera 'wrist'")
    assert "reliability: publisher BEST_EFFORT, subscription RELIABLE" in words(report, "robot description")
    assert "/driver has type std_msgs/msg/Float64MultiArray" in words(report, "commands")
    assert "there is /arm/reset_scene; remap it to /resfit/reset_scene" in words(report, "reset service")


def test_when_messages_are_slow_or_not_stamped_expect_it_measured(robot, my_robot):
    robot.publish("/joint_states", joint_state(*JOINTS), 0.2)
    robot.publish("/arm/image_raw", picture(), stamped=False)
    robot.publish("/wrist/image_raw", picture(), stamped=False)
    robot.start()
    report = run_check(my_robot, None, live=True, seconds=2.0)
    assert "is slower than control_hz 20" in words(report, "joint states", "warning")
    assert "carry no stamp" in words(report, "camera 'wrist'")


def test_when_the_simulated_robot_runs_expect_its_own_file_to_agree(domain, tmp_path):
    config = load_config(find_config("robots/simulated_humanoid"))
    with Supervisor(describe(config, ("sim_robot",)), tmp_path / "config", tmp_path / "logs"):
        report = run_check(config, None, live=True, seconds=LISTEN_S)
    connected = {item: found[0] for item, found in levels(report).items()}
    assert connected == {
        "joint states": OK,
        "state block 'pose/box'": OK,
        "commands": OK,
        "reset service": OK,
        "robot description": "warning",
    }
