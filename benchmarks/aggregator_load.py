"""What sampling cameras costs: CPU share of the aggregator with three 640 x 480 cameras at 30 Hz.

Publishers run in a process of their own. A bare node that subscribes to the same topics and does
nothing with them is the reference, measured first, in the same run and on the same stream. All of them
run with config/fastdds_cameras.xml, unless FASTRTPS_DEFAULT_PROFILES_FILE is set.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image, JointState

from resfit_ros.core.types import EpisodeStarted
from resfit_ros.msg import Action, Episode, Hold, Observation
from resfit_ros.ros.convert import episode_to_msg, image_to_msg, to_ns, to_time
from resfit_ros.ros.node import make_executor
from resfit_ros.ros.qos import EPISODES, SENSORS, STEPS

WIDTH, HEIGHT, CAMERA_HZ, JOINT_HZ = 640, 480, 30.0, 100.0
JOINTS = [f"joint{i}" for i in range(7)]
SETTLE_S = 3.0
STOPS = 10
PATIENCE_S = 20.0
PROFILES = "FASTRTPS_DEFAULT_PROFILES_FILE"
ROOT = Path(__file__).resolve().parents[1]
STAMP = slice(4, 12)  # of a serialised message that begins with a header


def topics(cameras: int, compressed: bool) -> dict[str, type]:
    end, kind = ("image_raw/compressed", CompressedImage) if compressed else ("image_raw", Image)
    return {f"camera{i}/{end}": kind for i in range(cameras)}


def pictures(compressed: bool) -> list[bytearray]:
    """A few serialised noisy pictures to send in turn."""
    random, sent = np.random.default_rng(0), []
    smooth = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))[:, :, None] * [0.1, 0.15, 0.2]
    for _ in range(8):
        pixels = (smooth + random.integers(0, 30, (HEIGHT, WIDTH, 3))).astype(np.uint8)
        message = image_to_msg(pixels, 0)
        if compressed:
            import cv2

            data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
            message = CompressedImage(format="rgb8; jpeg compressed bgr8", data=data.tobytes())
        sent.append(bytearray(serialize_message(message)))
    return sent


def publish_for_ever(cameras: int, compressed: bool) -> None:
    """The sensors."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("sensors", namespace="/resfit")
    publishers = [node.create_publisher(kind, name, SENSORS) for name, kind in topics(cameras, compressed).items()]
    joints = node.create_publisher(JointState, "joint_states", SENSORS)
    state = JointState(name=JOINTS, position=[0.0] * len(JOINTS), velocity=[0.0] * len(JOINTS))
    frames, sent = pictures(compressed), [0]

    def send(publisher) -> None:
        sent[0] += 1
        frame = frames[sent[0] % len(frames)]
        sec, nanosec = divmod(node.get_clock().now().nanoseconds, 10**9)
        frame[STAMP] = sec.to_bytes(4, "little") + nanosec.to_bytes(4, "little")
        publisher.publish(bytes(frame))

    def send_joints() -> None:
        state.header.stamp = node.get_clock().now().to_msg()
        joints.publish(state)

    for publisher in publishers:
        node.create_timer(1.0 / CAMERA_HZ, lambda p=publisher: send(p))
    node.create_timer(1.0 / JOINT_HZ, send_joints)
    spin(node)


def listen_for_ever(cameras: int, compressed: bool) -> None:
    """The reference: every message is received, none is looked at."""
    rclpy.init()
    node = rclpy.create_node("bare", namespace="/resfit")
    arrived = [0] * cameras

    def count(camera: int) -> None:
        arrived[camera] += 1

    for i, (name, kind) in enumerate(topics(cameras, compressed).items()):
        node.create_subscription(kind, name, lambda _, i=i: count(i), SENSORS, raw=True)
    node.create_subscription(JointState, "joint_states", lambda _: None, SENSORS)
    began = time.monotonic()
    spin(node)
    seconds = time.monotonic() - began
    print("pictures that arrive:", ", ".join(f"{n / seconds:.1f}" for n in arrived), "Hz, the first second included")


def spin(node) -> None:
    executor = make_executor()
    executor.add_node(node)
    with contextlib.suppress(ExternalShutdownException):
        while True:
            executor.spin_once(timeout_sec=0.1)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[int]:
    """A Python process, and its id."""
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        yield process.pid
        if process.poll() is not None:
            raise SystemExit(f"{' '.join(arguments)} ended by itself with status {process.returncode}")
    finally:
        process.terminate()
        process.wait()


def cpu_s(pid: int) -> float:
    """CPU time a process has used, user and system [s]."""
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Residual:
    """Starts an episode and answers each observation, as the residual node would."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("residual", namespace="/resfit")
        self.stamps_s: list[float] = []
        self.held = False
        self._episodes = self.node.create_publisher(Episode, "episode", EPISODES)
        self._actions = self.node.create_publisher(Action, "action", STEPS)
        self.node.create_subscription(Observation, "observation", self._on_observation, STEPS)
        self.node.create_subscription(Hold, "hold_request", self._on_hold, STEPS)
        self._executor = make_executor()
        self._executor.add_node(self.node)

    def _on_observation(self, message: Observation) -> None:
        self.stamps_s.append(to_ns(message.header.stamp) * 1e-9)
        action = Action(episode_id=message.episode_id, step=message.step)
        action.header.stamp = to_time(to_ns(message.header.stamp))
        self._actions.publish(action)

    def _on_hold(self, message: Hold) -> None:
        self.held = message.request == Hold.REQUEST_HOLD

    def wait(self, condition: Callable[[], bool], what: str) -> float:
        """Seconds until the condition holds."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() > began + PATIENCE_S:
                raise SystemExit(f"waited {PATIENCE_S:g} s in vain for {what}")
            self._executor.spin_once(timeout_sec=0.1)
        return time.monotonic() - began

    def spin(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.1)

    def start(self) -> None:
        """Starts an episode once the aggregator listens, and waits for its first observation."""
        self.wait(lambda: self._episodes.get_subscription_count() > 0, "the aggregator")
        self.spin(1.0)
        started = EpisodeStarted(self.node.get_clock().now().nanoseconds, 1)
        self._episodes.publish(episode_to_msg(started, "/resfit/episode_manager"))
        self.wait(lambda: self.stamps_s, "an observation")


def stopped(residual: Residual, sensors: int) -> Iterator[float]:
    """Stops the sensors' process several times; seconds until the aggregator asks for a hold."""
    for _ in range(STOPS):
        os.kill(sensors, signal.SIGSTOP)
        try:
            yield residual.wait(lambda: residual.held, "a hold")
        finally:
            os.kill(sensors, signal.SIGCONT)
        residual.wait(lambda: not residual.held, "its release")
        residual.spin(0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", type=int, default=3)
    parser.add_argument("--compressed", action="store_true", help="JPEG instead of raw rgb8")
    parser.add_argument("--size", type=int, default=84, help="side of the pictures in observations [px]")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each of the two measurements")
    parser.add_argument("--role", choices=("sensors", "bare"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault(PROFILES, str(ROOT / "config" / "fastdds_cameras.xml"))
    if args.role:
        run = publish_for_ever if args.role == "sensors" else listen_for_ever
        return run(args.cameras, args.compressed)
    shape = ["--cameras", str(args.cameras), *(["--compressed"] if args.compressed else [])]
    script = ["-m", "benchmarks.aggregator_load", *shape, "--role"]
    node = ["-m", "resfit_ros.nodes.aggregator", "--ros-args", "-r", "__ns:=/resfit"]
    names = ", ".join(f"camera{i}" for i in range(args.cameras))
    values = {
        "joint_names": f"[{', '.join(JOINTS)}]",
        "camera_names": f"[{names}]",
        "camera_transports": "[compressed]" if args.compressed else "[raw]",
        "image_width": args.size,
        "image_height": args.size,
    }
    for key, value in values.items():
        node += ["-p", f"{key}:={value}"]
    rclpy.init()
    residual = Residual()
    with running(*script, "sensors") as sensors:
        with running(*script, "bare") as pid:
            residual.spin(SETTLE_S)
            before = cpu_s(pid)
            residual.spin(args.seconds)
            bare = (cpu_s(pid) - before) / args.seconds
        with running(*node) as pid:
            residual.start()
            residual.spin(1.0)
            residual.stamps_s.clear()
            before = cpu_s(pid)
            residual.spin(args.seconds)
            share = (cpu_s(pid) - before) / args.seconds
            gaps_ms = np.diff(residual.stamps_s) * 1e3
            holds_ms = [1e3 * s for s in stopped(residual, sensors)]
    kind = "JPEG" if args.compressed else "rgb8"
    print(f"{args.cameras} cameras {WIDTH} x {HEIGHT} {kind} at {CAMERA_HZ:g} Hz -> {args.size} x {args.size} at 20 Hz")
    print(f"aggregator: {100 * share:.1f} % of one core; bare subscriber: {100 * bare:.1f} %; ratio {share / bare:.2f}")
    print(f"{len(gaps_ms) + 1} observations in {args.seconds:g} s, gaps p50 {np.percentile(gaps_ms, 50):.1f} ms, ", end="")
    print(f"p99 {np.percentile(gaps_ms, 99):.1f} ms, longest {gaps_ms.max():.1f} ms")
    print(f"hold asked for after the sensors stop: median {np.median(holds_ms):.0f} ms, longest {max(holds_ms):.0f} ms")
    rclpy.shutdown()


if __name__ == "__main__":
    main()
