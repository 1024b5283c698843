"""Processes that benchmarks/control_latency.py measures with: a light robot, bare relays, a learner flat out.

Run as `python -m benchmarks.latency_parts robot|relay|learner ...` by that program alone.
"""

import json
import os
import signal
import sys
import threading
import time
from array import array
from pathlib import Path

import numpy as np
import rclpy
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.types import Observation
from resfit_ros.msg import Action, ExecutedAction
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.ros.convert import doubles, floats, header, image_to_msg, observation_to_msg
from resfit_ros.ros.node import make_executor
from resfit_ros.ros.qos import ROBOT, STEPS

JOINTS = tuple(f"joint{i}" for i in range(29))
CAMERAS = ("left", "right")
WIDTH, HEIGHT, SIDE = 640, 480, 84
STATE_HZ, CAMERA_HZ = 100.0, 30.0
SWING = 0.004  # rad; odd and even steps pull joint 0 to either side
HORIZON = 20
LEARNER_NICENESS = 5


class Swing:
    """A base policy that moves joint 0 to and fro at every step, so that each action shows in the commands."""

    def __init__(self, robot: Robot) -> None:
        self.spec = PolicySpec("swing", robot.action_dim, HORIZON, identity="swing")

    def reset(self, episode_id: int) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation) -> np.ndarray:
        chunk = np.zeros((HORIZON, len(JOINTS)), np.float32)
        chunk[:, 0] = SWING * (1 - 2 * ((observation.step + np.arange(HORIZON)) % 2))
        return chunk


def spin(node, path: Path, results) -> None:
    """Until SIGTERM; then `results()` is written to `path` as JSON."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    executor = make_executor()
    executor.add_node(node)
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    path.write_text(json.dumps(results()))


def robot(path: Path) -> None:
    """Sensors out, commands in; writes when each action showed in a command."""
    node = rclpy.create_node("bench_robot")
    position = np.zeros(len(JOINTS))
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    commands: list[tuple[int, float]] = []
    actions: list[tuple[int, int, float]] = []
    executed: list[tuple[int, bool]] = []
    states = node.create_publisher(JointState, "/joint_states", ROBOT)
    cameras = [node.create_publisher(Image, f"/{name}/image_raw", ROBOT) for name in CAMERAS]
    image = image_to_msg(picture, 0)

    def publish_state() -> None:
        stamp = header(time.time_ns())
        states.publish(JointState(header=stamp, name=list(JOINTS), position=doubles(position),
                                  velocity=doubles(np.zeros_like(position))))  # fmt: skip

    def publish_images() -> None:
        image.header = header(time.time_ns())
        image.data[0] = (image.data[0] + 1) % 256  # a camera that repeats itself counts as broken
        for publisher in cameras:
            publisher.publish(image)

    def on_command(message: JointTrajectory) -> None:
        position[:] = np.frombuffer(message.points[-1].positions)
        commands.append((time.time_ns(), float(position[0])))

    def on_action(message: Action) -> None:
        stamp = message.header.stamp
        actions.append((message.step, stamp.sec * 10**9 + stamp.nanosec, float(message.command[0])))

    def on_executed(message: ExecutedAction) -> None:
        executed.append((message.step, message.tainted))

    def on_reset(_request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        return response

    node.create_timer(1.0 / STATE_HZ, publish_state)
    node.create_timer(1.0 / CAMERA_HZ, publish_images)
    node.create_subscription(JointTrajectory, "/joint_command", on_command, ROBOT)
    node.create_subscription(Action, "/resfit/action", on_action, STEPS)
    node.create_subscription(ExecutedAction, "/resfit/executed_action", on_executed, STEPS)
    node.create_service(Trigger, "/resfit/reset_scene", on_reset)
    spin(node, path, lambda: {"commands": commands, "actions": actions, "executed": executed})


def relay(stage: int, rate_hz: float, path: Path) -> None:
    """Stage 0 sends observations, 1 answers with actions, 2 with commands, 3 writes down the ages."""
    node = rclpy.create_node(f"relay{stage}")
    ages_ms: list[float] = []
    images = tuple(np.zeros((SIDE, SIDE, 3), np.uint8) for _ in CAMERAS)
    vector = np.zeros(len(JOINTS), np.float32)

    def send_observation() -> None:
        observation = Observation(time.time_ns(), 1, 0, np.zeros(58, np.float32), images)
        publisher.publish(observation_to_msg(observation))

    def to_action(message: ObservationMsg) -> None:
        publisher.publish(Action(header=message.header, base=floats(vector), residual=floats(vector),
                                 command=floats(vector)))  # fmt: skip

    def to_command(message: Action) -> None:
        point = JointTrajectoryPoint(positions=array("d", message.command))
        publisher.publish(JointTrajectory(header=message.header, joint_names=list(JOINTS), points=[point]))

    def arrive(message: JointTrajectory) -> None:
        stamp = message.header.stamp
        ages_ms.append((time.time_ns() - stamp.sec * 10**9 - stamp.nanosec) * 1e-6)

    topics = ((ObservationMsg, "/relay/observation"), (Action, "/relay/action"), (JointTrajectory, "/relay/command"))
    if stage < 3:
        publisher = node.create_publisher(*topics[stage], STEPS)
    if stage == 0:
        node.create_timer(1.0 / rate_hz, send_observation)
    else:
        callback = (to_action, to_command, arrive)[stage - 1]
        node.create_subscription(*topics[stage - 1], callback, STEPS)
    spin(node, path, lambda: {"ages_ms": ages_ms})


def learner(threads: int) -> None:
    """Critic and actor updates without a pause."""
    import torch

    from resfit_ros.learning.agent import Agent
    from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
    from resfit_ros.learning.networks import ObservationShape

    os.setpriority(os.PRIO_PROCESS, 0, LEARNER_NICENESS)
    torch.set_num_threads(threads)
    agent = Agent(ObservationShape(58, len(JOINTS)), LearningConfig(hidden_width=256))

    def observation() -> ObservationBatch:
        return ObservationBatch.from_vector(torch.randn(256, 58 + len(JOINTS) + 1), 58, ())

    one = torch.ones(256)
    batch = TransitionBatch(observation(), torch.randn(256, len(JOINTS)), one, one, observation())
    while True:
        agent.update(batch)


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "learner":
        learner(int(arguments[0]))
        return
    rclpy.init(signal_handler_options=rclpy.signals.SignalHandlerOptions.NO)
    if what == "robot":
        robot(Path(arguments[0]))
    else:
        relay(int(arguments[0]), float(arguments[1]), Path(arguments[2]))
    rclpy.shutdown()


if __name__ == "__main__":
    main()
