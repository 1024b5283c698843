"""Real nodes in processes over DDS, each test in a ROS domain of its own."""

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from rclpy.context import Context  # noqa: E402

import odd_policies  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402

from resfit_ros import graphs, msg  # noqa: E402
from resfit_ros.bringup import NodeSpec, RunConfig, load_config, with_timing  # noqa: E402
from resfit_ros.core.types import Segment  # noqa: E402
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc import train_bc  # noqa: E402
from resfit_ros.paths import find_config  # noqa: E402
from resfit_ros.policies.chunk_policy import save_chunk_policy  # noqa: E402
from resfit_ros.ros.commands import MESSAGE_TYPES  # noqa: E402
from resfit_ros.ros.node import OK, make_executor  # noqa: E402
from resfit_ros.ros.qos import LATCHED, STEPS  # noqa: E402
from resfit_ros.sim import DemonstrationNoise, HumanoidSim, ScriptedExpert  # noqa: E402
from resfit_ros.supervise import Supervisor  # noqa: E402

torch.set_num_threads(1)  # as in the nodes: the number of threads shows in the last digit
_domains = itertools.count(1)
TOPICS = {
    "observation": msg.Observation,
    "action_chunk": msg.ActionChunk,
    "action": msg.Action,
    "executed_action": msg.ExecutedAction,
    "episode": msg.Episode,
}


class Probe:
    """A node that keeps every message of the graph, by topic."""

    def __init__(self, domain: int, command_type: str = "joint_trajectory") -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("probe", namespace="/resfit", context=self.context)
        self.executor = make_executor(self.context)
        self.executor.add_node(self.node)
        self.seen: dict[str, list] = defaultdict(list)
        self.steps: list = []
        for topic, kind in TOPICS.items():
            self.watch(kind, topic, STEPS)
        self.watch(MESSAGE_TYPES[command_type], "/joint_command", STEPS)
        self.watch(msg.LearnerStatus, "learner_status", LATCHED)
        self.watch(msg.SafetyStatus, "safety_status", 10)

    def watch(self, kind: type, topic: str, qos) -> None:
        """Keeps what arrives on `topic`."""
        subscription = self.node.create_subscription(kind, topic, self.seen[topic].append, qos)
        if topic in TOPICS:
            self.steps.append(subscription)

    def connected(self) -> bool:
        """True once every step topic has a publisher: from then on nothing is missed."""
        return all(s.get_publisher_count() > 0 for s in self.steps)

    def wait(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Spins until the condition holds; fails the test when it does not."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"condition not met within {seconds} s; {self._what_was_seen()}")
            self.executor.spin_once(timeout_sec=0.05)

    def _what_was_seen(self) -> str:
        counts = {topic: len(messages) for topic, messages in self.seen.items()}
        said = {s.name: s.message for m in self.seen.get("/diagnostics", ()) for s in m.status}
        return f"messages seen: {counts}; said at last: {said}"

    def spin(self, seconds: float) -> None:
        """Handles what arrives for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.02)

    def call(self, kind: type, name: str, request):
        """Calls a service and returns its answer."""
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, 30.0)
        future = client.call_async(request)
        self.wait(future.done, 30.0)
        return future.result()

    def ended(self, count: int = 1) -> list[msg.Episode]:
        """Waits for that many episode ends."""

        def ends() -> list[msg.Episode]:
            return [e for e in self.seen["episode"] if e.event == msg.Episode.EVENT_ENDED]

        self.wait(lambda: len(ends()) >= count, 90.0)
        self.spin(0.5)  # what still belongs to the last one
        return ends()

    def of_episode(self, topic: str, episode_id: int) -> list:
        """Messages of one episode, in order of arrival."""
        return [m for m in self.seen[topic] if m.episode_id == episode_id]

    def said(self, node: str) -> tuple[bytes, str, dict[str, str]]:
        """Newest (level, sentence, figures) of a node on /diagnostics, which must be watched."""
        for message in reversed(self.seen["/diagnostics"]):
            for status in message.status:
                if status.name.endswith(f"/{node}"):
                    return status.level, status.message, {v.key: v.value for v in status.values}
        return OK, "", {}

    def state(self) -> int | None:
        """Newest state of the safety filter, ExecutedAction.STATE_*."""
        return self.seen["safety_status"][-1].state if self.seen["safety_status"] else None

    def holds(self) -> bool:
        """Whether the safety filter holds, latched or not."""
        return self.state() in (msg.ExecutedAction.STATE_HOLD, msg.ExecutedAction.STATE_FAULT)

    def close(self) -> None:
        """Leaves the domain."""
        self.executor.shutdown()
        self.node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def config() -> RunConfig:
    """The shipped configuration of the simulated humanoid."""
    return load_config(find_config("bimanual_lift"))


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of the test's own; DDS allows 0 to 101 on Linux defaults."""
    number = 1 + (os.getpid() * 13 + next(_domains)) % 100
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return number


@pytest.fixture
def start(tmp_path: Path, domain: int) -> Iterator[Callable[[tuple[NodeSpec, ...]], Probe]]:
    """Starts a graph with a probe in it; everything ends with the test.

    Of a graph that is not whole, some topics never get a publisher: nothing waits for them.
    """
    supervisors, probes = [], []

    def run(specs: tuple[NodeSpec, ...], whole: bool = True) -> Probe:
        types = [s.parameters["command_type"] for s in specs if "command_type" in s.parameters]
        probe = Probe(domain, *types[:1])
        probes.append(probe)
        supervisor = Supervisor(specs, tmp_path / "config", tmp_path / "logs")
        probe.supervisor = supervisor
        supervisors.append(supervisor)
        supervisor.__enter__()
        if whole:
            probe.wait(probe.connected)
        probe.spin(0.3)  # for the publishers to find the probe, too
        return probe

    yield run
    for supervisor in supervisors:
        supervisor.stop()
    for probe in probes:
        probe.close()


def demonstrations(count: int) -> list[Segment]:
    """Successful episodes of the scripted expert, straight from the simulation."""
    sim, segments, seed = HumanoidSim(), [], 0
    expert = ScriptedExpert(sim.model, noise=DemonstrationNoise())
    while len(segments) < count:
        seed += 1
        sim.reset(seed)
        expert.reset(seed)
        states, actions = [_state(sim)], []
        while not sim.success and len(actions) < 60:
            target = expert.act(sim.joint_positions, sim.box_position, sim.box_quaternion)
            sim.step(target)
            actions.append(target.astype(np.float32))
            states.append(_state(sim))
        if sim.success:
            steps = len(actions)
            rewards = np.zeros(steps, np.float32)
            rewards[-1] = 1.0
            bases, phases = np.zeros((steps + 1, 29), np.float32), np.zeros(steps + 1, np.float32)
            arrays = np.array(states), bases, phases, np.array(actions), rewards
            segments.append(Segment(seed, *arrays, terminal=True))
    return segments


def _state(sim: HumanoidSim) -> np.ndarray:
    w, x, y, z = sim.box_quaternion
    parts = sim.joint_positions, sim.joint_velocities, sim.box_position, [x, y, z, w]
    return np.concatenate(parts).astype(np.float32)


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small behaviour-cloned policy for the simulated humanoid."""
    bc = BCConfig(horizon=12, updates=200, hidden_width=64)
    joint_names = load_config(find_config("bimanual_lift")).joint_names
    network, normaliser = train_bc(demonstrations(2), joint_names, bc)
    directory = tmp_path_factory.mktemp("policy") / "bc"
    save_chunk_policy(directory, network, normaliser, bc)
    return directory


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> odd_policies.Switch:
    """What odd_policies.StandStill is to do."""
    monkeypatch.setenv(odd_policies.SWITCH, str(tmp_path / "switch"))
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{Path(__file__).parents[2]}")
    return odd_policies.Switch(tmp_path / "switch")


@pytest.fixture
def bring_up(start, config: RunConfig):
    """Starts the control graph in realtime on a base policy, and waits for its first actions."""

    def run(policy: str, wait: bool = True, safety: dict | None = None, **robot) -> Probe:
        realtime = with_timing(config, "realtime")
        chunks = {"execute_steps": 15, "prefetch_steps": 10} | robot
        sections = {
            **realtime.sections,
            "robot": {**realtime.robot, **chunks},
            "base_policy": {"inference_timeout_s": 0.5, "retry_s": 0.2},
            "episode_manager": {"max_steps": 5000},
            # A shared machine may stop a process for longer than a robot's bus would.
            "safety_filter": config.section("safety_filter")
            | {"action_timeout_s": 0.4, "state_timeout_s": 2.0}
            | (safety or {}),
        }
        probe = start(graphs.deploy_graph(type(config)(config.path, sections), policy, None), whole=wait)
        probe.watch(DiagnosticArray, "/diagnostics", 50)
        if wait:
            probe.wait(lambda: len(probe.seen["executed_action"]) > 10)
        return probe

    return run
