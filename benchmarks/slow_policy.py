"""Does a slow base policy stall the robot? Realtime control on policies that take their time.

Brings the control graph up with the simulated robot, by the clock, on a policy that sleeps; counts
steps, missed actions and holds, and measures the time from one action to the next. The same graph on
a policy that answers at once is the reference, in the same run.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig, load_config, with_timing
from resfit_ros.msg import Action, SafetyStatus
from resfit_ros.paths import find_config
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.ros.node import make_executor
from resfit_ros.ros.qos import STEPS
from resfit_ros.supervise import Supervisor

HORIZON, EXECUTE, PREFETCH = 30, 15, 10
SECONDS = "RESFIT_BENCHMARK_INFERENCE_S"
HOLD = 2
ROOT = Path(__file__).resolve().parents[1]


class SleepyPolicy:
    """Chunks of standing still, after a sleep."""

    def __init__(self, robot: Robot) -> None:
        self.spec = PolicySpec("sleepy", robot.action_dim, HORIZON, identity="sleepy")
        self._positions = robot.layout.slice_of("joint_positions")
        self._sleep_s = float(os.environ[SECONDS])

    def reset(self, episode_id: int) -> None:
        self._home = None

    def infer(self, observation) -> np.ndarray:
        time.sleep(self._sleep_s)
        if self._home is None:
            self._home = observation.state[self._positions].copy()
        return np.repeat(self._home[None], HORIZON, axis=0)


@dataclass
class Watcher:
    """What the graph shows from outside."""

    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    holds: int = 0
    base_says: set[str] = field(default_factory=set)
    figures: dict[str, str] = field(default_factory=dict)
    _held: bool = False

    def on_action(self, message: Action) -> None:
        if not self.steps or message.step > self.steps[-1]:
            self.steps.append(message.step)
            self.times.append(time.monotonic())

    def on_safety(self, message: SafetyStatus) -> None:
        self.holds += message.state == HOLD and not self._held
        self._held = message.state == HOLD

    def on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("/residual"):
                self.figures = {v.key: v.value for v in status.values}
            if status.name.endswith("/base_policy") and status.level > b"\x00":
                self.base_says.add(status.message)


def settings(steps: int) -> RunConfig:
    """The shipped robot by the clock, with an episode of `steps`."""
    config = with_timing(load_config(find_config("bimanual_lift")), "realtime")
    chunks = {"execute_steps": EXECUTE, "prefetch_steps": PREFETCH}
    sections = {
        **config.sections,
        "robot": {**config.robot, **chunks},
        "base_policy": {"inference_timeout_s": 1.0},
        "episode_manager": {"max_steps": steps},
        # Of the machine, not of the policy: two cores for seven processes and a physics simulation.
        "safety_filter": {"auto_arm": True, "action_timeout_s": 0.15, "state_timeout_s": 2.0},
    }
    return RunConfig(config.path, sections)


def run(inference_s: float, steps: int, directory: Path) -> Watcher:
    """`steps` control steps on a policy that takes `inference_s`."""
    os.environ[SECONDS] = str(inference_s)
    specs = graphs.deploy_graph(settings(steps + 100), "python:benchmarks.slow_policy:SleepyPolicy", None)
    watcher = Watcher()
    node = rclpy.create_node("slow_policy_benchmark", namespace="/resfit")
    node.create_subscription(Action, "action", watcher.on_action, STEPS)
    node.create_subscription(SafetyStatus, "safety_status", watcher.on_safety, 10)
    node.create_subscription(DiagnosticArray, "/diagnostics", watcher.on_diagnostics, 50)
    executor = make_executor()
    executor.add_node(node)
    limit = time.monotonic() + 60.0 + steps * max(0.08, inference_s / 8)
    with Supervisor(specs, directory / "config", directory / "logs") as supervisor:
        while len(watcher.steps) < steps and time.monotonic() < limit:
            executor.spin_once(timeout_sec=0.1)
            supervisor.check()
    executor.shutdown()
    node.destroy_node()
    return watcher


def summary(name: str, inference_s: float, watcher: Watcher) -> dict[str, object]:
    """Figures of one run."""
    gaps_ms = 1e3 * np.diff(watcher.times)
    whole = watcher.steps == list(range(watcher.steps[0], watcher.steps[0] + len(watcher.steps)))
    return {
        "policy": name,
        "inference_s": inference_s,
        "steps": len(watcher.steps),
        "steps_missed": 0 if whole else watcher.steps[-1] - watcher.steps[0] + 1 - len(watcher.steps),
        "actions_later_than_a_period": int(watcher.figures.get("actions later than a control period", -1)),
        "holds": watcher.holds,
        "gap_ms_p50": round(float(np.percentile(gaps_ms, 50)), 2),
        "gap_ms_p99": round(float(np.percentile(gaps_ms, 99)), 2),
        "gap_ms_max": round(float(gaps_ms.max()), 2),
        "base_policy_said": sorted(watcher.base_says)[-1:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000, help="steps at 300 ms per inference")
    parser.add_argument("--reference-steps", type=int, default=1000, help="steps of the other two runs")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    rclpy.init()
    plan = (
        ("at once", 0.0, arguments.reference_steps),
        ("300 ms", 0.3, arguments.steps),
        ("2 s", 2.0, min(300, arguments.reference_steps)),
    )
    results = []
    for name, inference_s, steps in plan:
        with tempfile.TemporaryDirectory() as directory:
            results.append(summary(name, inference_s, run(inference_s, steps, Path(directory))))
        print(json.dumps(results[-1]), flush=True)
    ratio = results[1]["gap_ms_p99"] / results[0]["gap_ms_p99"]
    print(f"p99 of the time between actions, 300 ms against at once: ratio {ratio:.3f}")
    rclpy.shutdown()


if __name__ == "__main__":
    main()
