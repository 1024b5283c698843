"""Base actions of demonstrations are those the robot would have seen online."""

import numpy as np
import pytest
from builders import make_segment
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.chunks import ChunkBuffer, Chunking
from resfit_ros.core.types import ActionChunk, Observation
from resfit_ros.policies.labelling import label_base_actions
from resfit_ros.policies.protocol import PolicySpec

CHUNKINGS = st.one_of(
    st.builds(Chunking, st.integers(1, 12), st.integers(0, 9), st.integers(0, 4)),
    st.builds(Chunking, st.integers(1, 5), st.integers(0, 3), temporal_ensembling=st.just(True)),
)


class CountingPolicy:
    """Chunks that depend on the state, the row and the number of calls since the reset."""

    def __init__(self, horizon: int, actions: int = 2) -> None:
        self.spec = PolicySpec("counting", actions, horizon, identity="counting")
        self.steps_seen: list[int] = []
        self.images_seen: list[tuple[np.ndarray, ...]] = []

    def reset(self, episode_id: int) -> None:
        self.steps_seen, self.images_seen = [], []

    def infer(self, observation: Observation) -> np.ndarray:
        self.steps_seen.append(observation.step)
        self.images_seen.append(observation.images)
        rows = np.arange(self.spec.horizon, dtype=np.float32)[:, None]
        first = observation.state[:2] * len(self.steps_seen)
        return (first + rows).astype(np.float32)


def online_run(states: np.ndarray, policy: CountingPolicy, chunking: Chunking):
    """(bases, phases) as in the graph: chunks come some steps after they were asked for, and twice."""
    buffer = ChunkBuffer(2, chunking)
    buffer.reset(1)
    policy.reset(1)
    bases, phases, on_the_way = [], [], []
    for step, state in enumerate(states):
        if chunking.is_request(step):
            on_the_way.append(ActionChunk(0, 1, step, policy.infer(Observation(0, 1, step, state))))
        while on_the_way and step >= chunking.first_use(on_the_way[0].step):
            chunk = on_the_way.pop(0)
            buffer.add(chunk, step)
            buffer.add(chunk, step)  # delivered twice
        assert buffer.is_fresh(step)
        base, phase = buffer.action(step)
        bases.append(base)
        phases.append(np.float32(phase))
    return np.array(bases), np.array(phases)


@given(
    steps=st.integers(1, 40),
    chunking=CHUNKINGS,
    spare=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_when_labelled_expect_the_bases_of_an_online_run(steps, chunking, spare, seed):
    segment = make_segment(np.random.default_rng(seed), steps)
    policy = CountingPolicy(chunking.least_horizon + spare)
    labelled = label_base_actions(segment, policy, chunking)
    bases, phases = online_run(segment.states, policy, chunking)
    np.testing.assert_array_equal(labelled.bases, bases)
    np.testing.assert_array_equal(labelled.phases, phases)


def test_when_labelled_expect_one_inference_per_executed_part():
    policy = CountingPolicy(6)
    label_base_actions(make_segment(np.random.default_rng(0), 10), policy, Chunking(4))
    assert policy.steps_seen == [0, 4, 8]


def test_when_labelled_expect_everything_else_unchanged():
    segment = make_segment(np.random.default_rng(0), 10, terminal=True)
    labelled = label_base_actions(segment, CountingPolicy(6), Chunking(4))
    assert labelled.states is segment.states
    assert labelled.actions is segment.actions
    assert labelled.rewards is segment.rewards
    assert labelled.terminal


def test_when_there_are_images_expect_the_policy_to_see_those_of_its_step():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 4, 4, 3), np.uint8)
    policy = CountingPolicy(4)
    label_base_actions(make_segment(rng, 5, images=(images,)), policy, Chunking(4))
    assert [len(seen) for seen in policy.images_seen] == [1, 1]
    np.testing.assert_array_equal(policy.images_seen[1][0], images[4])


def test_when_last_observation_is_labelled_expect_a_base_to_bootstrap_from():
    labelled = label_base_actions(make_segment(np.random.default_rng(0), 8), CountingPolicy(4), Chunking(4))
    assert labelled.bases.shape == (9, 2)
    assert labelled.phases[8] == pytest.approx(0.0)
