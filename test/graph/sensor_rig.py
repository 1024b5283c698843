"""Sensors that a test can break, and a residual that answers every observation at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Image, JointState

from resfit_ros.core.types import EpisodeStarted
from resfit_ros.msg import Action, Episode, Hold, Observation
from resfit_ros.ros.convert import episode_to_msg, image_to_msg, to_time
from resfit_ros.ros.qos import EPISODES, SENSORS, STEPS


def noise(rows: int = 32, columns: int = 32) -> np.ndarray:
    return np.random.default_rng().integers(0, 256, (rows, columns, 3), np.uint8)


def joint_state(names: str, stamp_ns: int) -> JointState:
    """Joints of one letter, each at the code of its letter."""
    message = JointState(name=list(names), position=[float(ord(n)) for n in names])
    message.header.stamp = to_time(stamp_ns)
    return message


@dataclass
class Rig:
    """Sends what `sources` holds at 50 Hz and answers every observation."""

    probe: object
    sources: dict[str, Callable[[int], object]] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    now_ns: Callable[[], int] | None = None

    def __post_init__(self) -> None:
        node = self.probe.node
        self.now_ns = self.now_ns or (lambda: node.get_clock().now().nanoseconds)
        self._publishers = {}
        self._episodes = node.create_publisher(Episode, "episode", EPISODES)
        self._actions = node.create_publisher(Action, "action", STEPS)
        node.create_subscription(Observation, "observation", self._answer, STEPS)
        self.probe.watch(Hold, "hold_request", STEPS)
        self.probe.watch(DiagnosticArray, "/diagnostics", 10)
        node.create_timer(0.02, self._send)

    def source(self, topic: str, kind: type, make: Callable[[int], object], qos=SENSORS) -> None:
        """make(stamp_ns) gives the message, serialised or not, or None for silence."""
        if topic not in self._publishers:
            self._publishers[topic] = self.probe.node.create_publisher(kind, topic, qos)
        self.sources[topic], self.sent[topic] = make, 0

    def joints(self) -> None:
        self.source("joint_states", JointState, lambda stamp_ns: joint_state("ab", stamp_ns))

    def camera(self, make=lambda stamp_ns: image_to_msg(noise(), stamp_ns), name: str = "wrist") -> None:
        self.source(f"{name}/image_raw", Image, make)

    def _send(self) -> None:
        stamp_ns = self.now_ns()
        for topic, make in self.sources.items():
            message = make(stamp_ns)
            if message is not None:
                self._publishers[topic].publish(message)
                self.sent[topic] += 1

    def _answer(self, message: Observation) -> None:
        self._actions.publish(Action(header=message.header, episode_id=message.episode_id, step=message.step))

    def begin(self, seen: int = 3) -> None:
        """Starts an episode and waits for its first observations."""
        self.probe.wait(lambda: self._episodes.get_subscription_count() == 2)  # the probe and the node
        self.probe.wait(lambda: self.diagnosed("waiting for") == "nothing")
        self._episodes.publish(episode_to_msg(EpisodeStarted(self.now_ns(), 1), "/resfit/episode_manager"))
        self.probe.wait(lambda: len(self.observations) >= seen, 20.0)

    @property
    def observations(self) -> list[Observation]:
        return self.probe.seen["observation"]

    def holds(self, request: int = Hold.REQUEST_HOLD) -> list[Hold]:
        return [m for m in self.probe.seen["hold_request"] if m.request == request]

    def held(self, word: str) -> Hold:
        """Waits for a hold whose reason has that word in it."""
        self.probe.wait(lambda: any(word in m.why for m in self.holds()), 10.0)
        return next(m for m in self.holds() if word in m.why)

    def released(self) -> None:
        """Waits for the hold to be taken back, and for the next observation."""
        last = lambda: self.probe.seen["hold_request"][-1]  # noqa: E731
        self.probe.wait(lambda: last().request == Hold.REQUEST_RELEASE, 10.0)
        count = len(self.observations)
        self.probe.wait(lambda: len(self.observations) > count, 10.0)

    def diagnosed(self, key: str) -> str:
        """The newest value of a key of the aggregator in /diagnostics."""
        status = [s for m in self.probe.seen["/diagnostics"] for s in m.status if s.name == "/resfit/aggregator"]
        return {v.key: v.value for v in status[-1].values}.get(key, "") if status else ""
