"""FAULTS rows 1, 3, 6, 7 and 29 at the residual node: what it hears twice, late, from strangers, or broken."""

import time

import numpy as np
import pytest

from resfit_ros.bringup import describe, with_timing
from resfit_ros.core.types import ActionChunk, Observation
from resfit_ros.msg import ActionChunk as ActionChunkMsg
from resfit_ros.msg import ExecutedAction, Hold
from resfit_ros.msg import Observation as ObservationMsg
from resfit_ros.ros.convert import chunk_to_msg, header, observation_to_msg
from resfit_ros.ros.qos import STEPS
from std_msgs.msg import Header

AGGREGATOR, BASE_POLICY = "/resfit/aggregator", "/resfit/base_policy"
STATE, CHUNK = np.zeros(65, np.float32), np.zeros((400, 29), np.float32)


class Feeder:
    """The aggregator and the base policy of a residual node that runs alone, in realtime."""

    def __init__(self, probe) -> None:
        self.probe = probe
        node = probe.node
        self.observations = node.create_publisher(ObservationMsg, "observation", STEPS)
        self.chunks = node.create_publisher(ActionChunkMsg, "action_chunk", STEPS)
        alive = node.create_publisher(Header, "base_alive", STEPS)
        node.create_timer(0.05, lambda: alive.publish(header(time.time_ns(), BASE_POLICY)))
        probe.watch(Hold, "hold_request", STEPS)
        probe.wait(lambda: all(p.get_subscription_count() > 1 for p in (self.observations, self.chunks)), 30.0)
        probe.spin(0.5)

    def observe(self, step: int, source_id: str = AGGREGATOR) -> None:
        observation = Observation(time.time_ns(), 1, step, STATE, source_id=source_id)
        self.observations.publish(observation_to_msg(observation))

    def chunk(self, step: int = 0, actions: np.ndarray = CHUNK, source_id: str = BASE_POLICY) -> None:
        self.chunks.publish(chunk_to_msg(ActionChunk(time.time_ns(), 1, step, actions, source_id=source_id)))

    def steps(self) -> list[int]:
        return [a.step for a in self.probe.seen["action"]]


@pytest.fixture
def feeder(start, config) -> Feeder:
    realtime = with_timing(config, "realtime")
    specs = describe(realtime, ["residual"], {"residual": {"execute_steps": 8}})
    for spec in specs:
        spec.parameters["use_sim_time"] = False
    return Feeder(start(specs, whole=False))


def test_when_an_observation_comes_twice_expect_the_same_action_again(feeder, measured):
    feeder.chunk()
    for step in range(20):
        feeder.observe(step)
        feeder.observe(step)
    feeder.probe.wait(lambda: len(feeder.steps()) >= 40, 10.0)
    actions = feeder.probe.seen["action"]
    stamps = {(a.step, a.header.stamp.sec, a.header.stamp.nanosec) for a in actions}
    assert len(stamps) == 20
    measured(6, f"{len(stamps)} actions for 20 steps observed twice each")


def test_when_observations_are_out_of_order_expect_old_ones_dropped(feeder, measured):
    feeder.chunk()
    rng = np.random.default_rng(0)
    for step in range(5, 205):
        feeder.observe(step)
        feeder.observe(int(rng.integers(0, step)))
        feeder.probe.spin(0.002)
    feeder.probe.wait(lambda: feeder.steps() and feeder.steps()[-1] == 204, 10.0)
    assert np.all(np.diff(feeder.steps()) >= 0)
    measured(7, f"{len(feeder.steps())} actions, steps never descending, 200 old observations among them")


def test_when_strangers_send_observations_and_chunks_expect_none_used(feeder, measured):
    feeder.chunk(source_id="/somebody/base_policy")
    feeder.chunk(source_id="")
    for step in range(20):
        feeder.observe(step, source_id="/somebody/aggregator")
    feeder.probe.spin(0.5)
    assert feeder.steps() == []
    feeder.chunk(actions=CHUNK + 0.5)
    feeder.observe(0)
    feeder.probe.wait(lambda: feeder.steps() == [0], 15.0)
    assert feeder.probe.seen["action"][0].base[0] == 0.5
    measured(29, "0 of 22 foreign observations and chunks used")


@pytest.mark.parametrize(
    ("actions", "reason"),
    [
        (np.full((30, 29), np.nan, np.float32), ExecutedAction.REASON_NON_FINITE),
        (np.zeros((30, 7), np.float32), ExecutedAction.REASON_WRONG_SIZE),
    ],
)
def test_when_a_chunk_is_unfit_expect_a_fault_asked_for_and_no_action(feeder, measured, actions, reason):
    feeder.observe(0)
    feeder.chunk(actions=actions)
    begin = time.monotonic()
    feeder.probe.wait(lambda: bool(feeder.probe.seen["hold_request"]), 15.0)
    asked = feeder.probe.seen["hold_request"][0]
    assert (asked.request, asked.reasons, asked.source_id) == (Hold.REQUEST_FAULT, reason, "/resfit/residual")
    assert feeder.steps() == []
    row = 1 if reason == ExecutedAction.REASON_NON_FINITE else 3
    measured(row, f"chunk refused, fault asked for after {1e3 * (time.monotonic() - begin):.0f} ms through ROS")


def test_when_the_base_policy_falls_silent_expect_its_chunk_unused(feeder):
    feeder.chunk()
    feeder.observe(0)
    feeder.probe.wait(lambda: feeder.steps() == [0], 15.0)
    for timer in list(feeder.probe.node.timers):
        timer.cancel()
    feeder.probe.spin(0.8)
    feeder.observe(1)
    feeder.probe.spin(0.3)
    assert feeder.steps() == [0]
