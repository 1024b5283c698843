"""The chunk of an episode's last observation may come after the next episode has begun."""

import numpy as np

from resfit_ros import msg
from resfit_ros.bringup import describe
from resfit_ros.core.types import ActionChunk, Observation
from resfit_ros.ros.convert import chunk_to_msg, observation_to_msg
from resfit_ros.ros.qos import STEPS

AGGREGATOR, BASE_POLICY = "/resfit/aggregator", "/resfit/base_policy"


def test_when_an_observation_of_the_next_episode_overtakes_a_chunk_expect_both_actions(config, start):
    probe = start(describe(config, ["residual"]), whole=False)
    observe = probe.node.create_publisher(msg.Observation, "observation", STEPS)
    chunk = probe.node.create_publisher(msg.ActionChunk, "action_chunk", STEPS)
    probe.wait(lambda: observe.get_subscription_count() > 1 and chunk.get_subscription_count() > 1)
    probe.spin(0.5)
    state, actions = np.zeros(65, np.float32), np.zeros((12, 29), np.float32)

    def seen() -> list[tuple[int, int]]:
        return [(m.episode_id, m.step) for m in probe.seen["action"]]

    observe.publish(observation_to_msg(Observation(1, 1, 8, state, source_id=AGGREGATOR)))
    observe.publish(observation_to_msg(Observation(2, 2, 0, state, source_id=AGGREGATOR)))
    probe.spin(0.5)
    assert seen() == []
    chunk.publish(chunk_to_msg(ActionChunk(1, 1, 8, actions, source_id=BASE_POLICY)))
    chunk.publish(chunk_to_msg(ActionChunk(2, 2, 0, actions, source_id=BASE_POLICY)))
    probe.wait(lambda: len(seen()) >= 2, 10.0)
    assert seen() == [(1, 8), (2, 0)]
