"""From the observation's stamp to the first safe command that shows its action, with a learner flat out.

Three hops: aggregator, residual, safety filter. 29 joints, two cameras of 640x480 at 30 Hz, a residual
actor, and a process that does nothing but gradient updates on the same cores. Beside it, under the same
load, a chain of bare rclpy nodes of the same length that passes messages of the same size on.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from benchmarks.latency_parts import CAMERAS, JOINTS, SIDE
from resfit_ros import graphs
from resfit_ros.bringup import RunConfig
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.trainer import Trainer
from resfit_ros.supervise import Supervisor, added_environment

ROOT = Path(__file__).resolve().parents[1]
START_S = 8.0


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen]:
    """One part, ended by SIGTERM."""
    command = [sys.executable, "-m", "benchmarks.latency_parts", *map(str, words)]
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ | added_environment())
    try:
        yield child
    finally:
        child.terminate()
        child.wait(10.0)


def settings(rate_hz: float, steps: int) -> RunConfig:
    """A robot of 29 joints by the clock."""
    robot = {
        "timing": "realtime",
        "control_hz": rate_hz,
        "joint_names": list(JOINTS),
        "lower": [-1.0] * len(JOINTS),
        "upper": [1.0] * len(JOINTS),
        "max_velocity": [3.0],
        "max_acceleration": [1000.0],
        "state": ["joint_positions", "joint_velocities"],
        "execute_steps": 10,
        "prefetch_steps": 5,
    }
    cameras = {"camera_names": list(CAMERAS), "image_width": SIDE, "image_height": SIDE}
    sections = {
        "robot": robot,
        "aggregator": cameras,
        # A pause of the whole machine is counted, but it does not end the measurement.
        "safety_filter": {"state_timeout_s": 2.0, "max_missed_ticks": 0},
        "episode_manager": {"max_steps": steps + 1000, "seeded_reset": False, "auto_start": True},
    }
    return RunConfig(Path("control_latency"), sections)


def checkpoint(directory: Path) -> Path:
    """A residual actor as it starts: it runs, and adds nothing."""
    joints, state = len(JOINTS), 2 * len(JOINTS)
    low, high = -np.ones(joints), np.ones(joints)
    normaliser = Normaliser(JOINTS, low, high, np.zeros(state), np.ones(state))
    trainer = Trainer(LearningConfig(hidden_width=256, replay_capacity=1000), normaliser)
    save_checkpoint(directory, trainer, {})
    return directory


def run_graph(rate_hz: float, seconds: float, directory: Path) -> dict:
    """What the robot saw of the real graph."""
    import rclpy
    from std_srvs.srv import SetBool

    specs = graphs.deploy_graph(
        settings(rate_hz, round(rate_hz * seconds)),
        "python:benchmarks.latency_parts:Swing",
        checkpoint(directory / "checkpoints"),
        simulate=False,
    )
    for spec in specs:
        if spec.name == "episode_manager":
            spec.parameters["auto_start"] = True
    result = directory / "robot.json"
    with process("robot", result), Supervisor(specs, directory / "config", directory / "logs") as supervisor:
        rclpy.init()
        node = rclpy.create_node("control_latency")
        client = node.create_client(SetBool, "/resfit/arm")
        deadline = time.monotonic() + 60.0
        while time.monotonic() < deadline:
            if not client.wait_for_service(timeout_sec=1.0):
                continue
            future = client.call_async(SetBool.Request(data=True))
            rclpy.spin_until_future_complete(node, future, timeout_sec=2.0)
            if future.done() and future.result().success:
                break
            time.sleep(0.5)
        else:
            raise SystemExit(f"the robot could not be armed: {future.result()}; logs in {directory}")
        said: list[str] = []
        node.create_subscription(DiagnosticArray, "/diagnostics", lambda m: said.extend(complaints(m)), 50)
        end = time.monotonic() + START_S + seconds
        while time.monotonic() < end:
            supervisor.check()
            rclpy.spin_once(node, timeout_sec=0.5)
        node.destroy_node()
        rclpy.shutdown()
        for sentence in dict.fromkeys(said):
            print("  " + sentence)
    return json.loads(result.read_text())


def complaints(message: DiagnosticArray) -> list[str]:
    """What nodes warn of."""
    return [f"{s.name}: {s.message}" for s in message.status if s.level != DiagnosticStatus.OK]


def lost_and_held(seen: dict) -> tuple[int, int]:
    """(steps that were observed but never executed, steps that a hold touched)."""
    executed = dict(seen["executed"])
    steps = range(min(executed), max(executed) + 1)
    return len(steps) - len(executed), sum(executed.values())


def latencies_ms(seen: dict) -> np.ndarray:
    """ms per step: the first command after the observation's stamp that turns the action's way."""
    times = np.array([t for t, _ in seen["commands"]])
    moves = np.sign(np.diff([p for _, p in seen["commands"]], prepend=0.0))
    steps = {step: (stamp, wanted) for step, stamp, wanted in seen["actions"]}
    found = []
    for step in sorted(steps)[20:-2]:  # the first ones start the motion
        stamp, wanted = steps[step]
        after = int(np.searchsorted(times, stamp))
        until = int(np.searchsorted(times, steps[step + 1][0])) if step + 1 in steps else after
        turned = np.flatnonzero(moves[after : until + 3] == np.sign(wanted))
        if len(turned):
            found.append((times[after + turned[0]] - stamp) * 1e-6)
    return np.array(found)


def run_relays(rate_hz: float, seconds: float, directory: Path) -> np.ndarray:
    """Ages at the end of a bare chain, ms."""
    result = directory / "relay3.json"
    with process("relay", 3, rate_hz, result), process("relay", 2, rate_hz, directory / "2"):
        with process("relay", 1, rate_hz, directory / "1"), process("relay", 0, rate_hz, directory / "0"):
            time.sleep(START_S + seconds)
    return np.array(json.loads(result.read_text())["ages_ms"][20:])


def figures(ages_ms: np.ndarray) -> dict[str, float]:
    """p50, p99 and the largest."""
    p50, p99 = np.percentile(ages_ms, [50, 99])
    return {"p50_ms": round(p50, 2), "p99_ms": round(p99, 2), "max_ms": round(float(ages_ms.max()), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--rates", type=float, nargs="+", default=[20.0, 50.0], help="control rates, Hz")
    parser.add_argument("--learner-threads", type=int, default=2, help="0: nobody learns")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    # Pictures larger than Fast DDS's shared memory get lost; docs/sensors.md.
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(ROOT / "config" / "fastdds_cameras.xml"))
    for rate_hz in arguments.rates:
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            load = process("learner", arguments.learner_threads) if arguments.learner_threads else None
            with load or tempfile.TemporaryDirectory():
                relays = figures(run_relays(rate_hz, min(arguments.seconds, 60.0), directory))
                seen = run_graph(rate_hz, arguments.seconds, directory)
        ages_ms = latencies_ms(seen)
        graph, (lost, held) = figures(ages_ms), lost_and_held(seen)
        row = {"rate_hz": rate_hz, "relays": relays, "graph": graph, "steps": len(ages_ms), "steps_lost": lost}
        row["steps_held"] = held
        print(json.dumps(row), flush=True)
        ratio = graph["p50_ms"] / relays["p50_ms"]
        print(f"{rate_hz:g} Hz: p50 {ratio:.2f} times that of the relays (aim: at most 4), p99 "
              f"{graph['p99_ms']:.1f} ms (aim: below 20), {lost} steps lost, {held} touched by a hold", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
