"""Rows 22 and 23 through the graph: weights on their topic, actions of the residual node."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from soak import count  # noqa: E402
from test_actor_weights import all_of, expected_of, normaliser, received  # noqa: E402

from resfit_ros import msg  # noqa: E402
from resfit_ros.bringup import describe  # noqa: E402
from resfit_ros.core.types import ActionChunk, Observation  # noqa: E402
from resfit_ros.learning.actor_slot import ReceivedActor  # noqa: E402
from resfit_ros.ros.convert import chunk_to_msg, observation_to_msg  # noqa: E402
from resfit_ros.ros.node import WARN  # noqa: E402
from resfit_ros.ros.qos import LATCHED, STEPS  # noqa: E402


class Residual:
    """The residual node alone, fed by hand: observations, chunks and weights."""

    def __init__(self, probe, joint_names: tuple[str, ...]) -> None:
        self.probe, self.scaling = probe, normaliser(joint_names, 65)
        self.base = np.linspace(-0.1, 0.1, len(joint_names), dtype=np.float32)
        self.state = np.linspace(-1.0, 1.0, 65, dtype=np.float32)
        create = probe.node.create_publisher
        self._observe = create(msg.Observation, "observation", STEPS)
        self._chunk = create(msg.ActionChunk, "action_chunk", STEPS)
        self._weights = create(msg.ActorWeights, "actor_weights", LATCHED)
        probe.wait(lambda: all(p.get_subscription_count() for p in (self._observe, self._chunk, self._weights)))
        probe.spin(0.5)
        self._episodes = 0

    def ask(self) -> None:
        """One observation and its chunk, in an episode of their own."""
        self._episodes += 1
        stamp = self.probe.node.get_clock().now().nanoseconds
        seen = Observation(stamp, self._episodes, 0, self.state, source_id="/resfit/aggregator")
        self._observe.publish(observation_to_msg(seen))
        rows = np.repeat(self.base[None], 12, axis=0)
        self._chunk.publish(chunk_to_msg(ActionChunk(stamp, self._episodes, 0, rows, "/resfit/base_policy")))

    def answers(self, at_least: int) -> list:
        """The node's actions, once there are so many."""
        self.probe.wait(lambda: len(self.probe.seen["action"]) >= at_least, 30.0)
        return self.probe.seen["action"]

    def send(self, one: ReceivedActor) -> None:
        """Publishes weights."""
        self._weights.publish(
            msg.ActorWeights(
                version=one.schedule.version,
                data=one.data,
                sha256=one.sha256,
                normaliser=one.normaliser,
                normaliser_sha256=one.normaliser_sha256,
                residual_scale=one.schedule.residual_scale,
                exploration_std=one.schedule.exploration_std,
                warm_up=one.schedule.warm_up,
            )
        )

    def alone(self, one: ReceivedActor) -> bytes:
        """The command this version alone gives; its scale as the message carries it."""
        scale = float(np.float32(one.schedule.residual_scale))
        schedule = dataclasses.replace(one.schedule, residual_scale=scale)
        seen = Observation(0, 1, 0, self.state)
        return expected_of(dataclasses.replace(one, schedule=schedule), seen, self.base).tobytes()


@pytest.fixture
def residual(start, config) -> Residual:
    return Residual(start(describe(config, ["residual"]), whole=False), config.joint_names)


def test_when_the_learner_sends_wrong_weights_expect_the_node_to_refuse_them_and_say_so(residual, measured):
    residual.probe.watch(DiagnosticArray, "/diagnostics", 50)
    said = residual.probe.seen["/diagnostics"]

    def rejected() -> int:
        values = [v for m in said for s in m.status for v in s.values if v.key == "rejected weights"]
        return int(values[-1].value) if values else -1

    good = received(1, residual.scaling)
    residual.send(good)
    wrong = [
        received(2, residual.scaling, sha256="0" * 64),
        received(2, normaliser(residual.scaling.joint_names, 64)),
        received(2, normaliser(residual.scaling.joint_names, 65, state_mean=[1.0] * 65)),
        received(2, residual.scaling, data=all_of(float("nan"), residual.scaling)),
        received(2, residual.scaling, schedule={"residual_scale": float("nan")}),
    ]
    for number, one in enumerate(wrong, start=1):
        residual.send(one)
        residual.probe.wait(lambda n=number: rejected() >= n, 10.0)
        residual.ask()
        action = residual.answers(number)[-1]
        assert action.actor_version == 1
        assert np.asarray(action.command, np.float32).tobytes() == residual.alone(good)
    assert any(s.level == WARN and "weights rejected" in s.message for m in said for s in m.status)
    assert residual.probe.supervisor.check() == set()
    refused = f"{rejected()} of {len(wrong)} refused and on /diagnostics"
    measured(22, f"through the graph: {refused}, version 1 went on acting")


def test_when_weights_stream_in_while_acting_expect_each_action_of_exactly_one_version(residual, measured):
    swaps = count(1000, 150)
    kinds = [received(v, residual.scaling) for v in range(1, 21)]
    alone = {one.schedule.version: residual.alone(one) for one in kinds}
    residual.send(kinds[0])
    for i in range(swaps):
        residual.send(kinds[i % len(kinds)])
        residual.ask()
        residual.answers(i - 10)  # a few under way at once: weights arrive while others are in use
    actions = [a for a in residual.answers(swaps) if a.actor_version]
    torn = [a.step for a in actions if np.asarray(a.command, np.float32).tobytes() != alone[a.actor_version]]
    changes = sum(a.actor_version != b.actor_version for a, b in zip(actions, actions[1:], strict=False))
    assert torn == []
    assert changes > swaps // 4
    sent = f"{swaps} swaps sent, {changes} between two actions"
    measured(23, f"through the graph: {sent}, {len(actions)} actions, 0 torn")
