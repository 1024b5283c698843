"""Replay buffer: n-step windows against a brute-force reference, whatever was overwritten."""

import numpy as np
import pytest
from builders import identity_normaliser, make_segment
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning.replay import ReplayBuffer, concatenate

Kept = list[tuple[int, Segment]]  # (serial number of the first row, segment)


def fill(buffer: ReplayBuffer, shapes: list[tuple[int, bool]], rng: np.random.Generator) -> Kept:
    """Adds segments of (steps, terminal) whose states count all rows and whose rewards are random."""
    kept: Kept = []
    serial = 0
    for steps, terminal in shapes:
        rows = np.arange(serial, serial + steps + 1, dtype=np.float32)
        rewards = rng.random(steps).astype(np.float32)
        segment = make_segment(rng, steps, terminal=terminal, states=rows[:, None], rewards=rewards)
        buffer.add(segment)
        kept.append((serial, segment))
        serial += steps + 1
    return kept


def owner(kept: Kept, row: int) -> tuple[Segment, int]:
    """(segment, step within it) of a row."""
    first, segment = [entry for entry in kept if entry[0] <= row][-1]
    return segment, row - first


def window(segment: Segment, k: int, n_step: int, discount: float) -> tuple[float, float, int]:
    """(reward, discount, step bootstrapped from), written as the definition says."""
    reward, steps = 0.0, 0
    while steps < n_step and k + steps < len(segment):
        reward += discount**steps * float(segment.rewards[k + steps])
        steps += 1
    ends = segment.terminal and k + steps == len(segment)
    return reward, 0.0 if ends else discount**steps, k + steps


@given(
    shapes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=30),
    capacity=st.integers(13, 60),
    n_step=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_when_sampled_expect_windows_of_the_brute_force_reference(shapes, capacity, n_step, seed):
    rng = np.random.default_rng(seed)
    buffer = ReplayBuffer(capacity, identity_normaliser(1, 2))
    kept = fill(buffer, shapes, rng)
    batch = buffer.sample(64, n_step, 0.9, rng)
    for i, row in enumerate(batch.observation.state[:, 0].int().tolist()):
        segment, k = owner(kept, row)
        reward, discount, end = window(segment, k, n_step, 0.9)
        assert batch.reward[i].item() == pytest.approx(reward, abs=1e-5)
        assert batch.discount[i].item() == pytest.approx(discount, abs=1e-6)
        assert batch.next_observation.state[i, 0] == segment.states[end, 0]
        np.testing.assert_array_equal(batch.next_observation.base[i], segment.bases[end])
        assert batch.next_observation.phase[i, 0] == segment.phases[end]
        np.testing.assert_array_equal(batch.observation.base[i], segment.bases[k])
        assert batch.observation.phase[i, 0] == segment.phases[k]
        np.testing.assert_array_equal(batch.action[i], segment.actions[k])


@given(
    shapes=st.lists(st.tuples(st.integers(1, 9), st.booleans()), min_size=1, max_size=40),
    seed=st.integers(0, 2**32 - 1),
)
def test_when_overwritten_expect_every_remaining_step_and_no_other(shapes, seed):
    rng = np.random.default_rng(seed)
    buffer = ReplayBuffer(20, identity_normaliser(1, 2))
    kept = fill(buffer, shapes, rng)
    total = sum(steps + 1 for steps, _ in shapes)
    last_rows = {first + len(segment) for first, segment in kept}
    remaining = set(range(max(0, total - 20), total)) - last_rows
    sampled = buffer.sample(1000, 3, 0.9, rng).observation.state[:, 0]
    assert set(sampled.int().tolist()) == remaining
    assert len(buffer) == len(remaining)


def test_when_sampling_expect_uniform_over_steps():
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(100, identity_normaliser(1, 2))
    fill(buffer, [(1, True), (3, False), (6, True)], rng)  # rows 0-1, 2-5, 6-12
    states = buffer.sample(20_000, 3, 0.9, rng).observation.state[:, 0].int().numpy()
    counts = np.bincount(states, minlength=13)
    assert counts[[1, 5, 12]].tolist() == [0, 0, 0]
    # 2000 expected each, standard deviation 42.
    assert np.all(np.abs(counts[np.setdiff1d(np.arange(13), [1, 5, 12])] - 2000) < 210)


@pytest.mark.parametrize(("terminal", "expected"), [(True, 0.0), (False, 0.9)])
def test_when_segment_ends_expect_bootstrapping_only_without_terminal(terminal, expected):
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(50, identity_normaliser(3, 2))
    buffer.add(make_segment(rng, 1, terminal=terminal))
    batch = buffer.sample(8, 3, 0.9, rng)
    assert batch.discount.tolist() == pytest.approx([expected] * 8)


def test_when_next_segment_is_rewarded_expect_window_to_stop_before_it():
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(50, identity_normaliser(1, 2))
    dull = make_segment(rng, 2, states=np.zeros((3, 1), np.float32))
    rich = make_segment(
        rng, 2, states=np.ones((3, 1), np.float32), rewards=np.full(2, 100.0, np.float32)
    )
    buffer.add(dull)
    buffer.add(rich)
    batch = buffer.sample(200, 5, 0.9, rng)
    from_dull = batch.observation.state[:, 0] == 0
    assert 50 < int(from_dull.sum()) < 150
    assert batch.reward[from_dull].abs().max() == 0
    assert batch.next_observation.state[from_dull].abs().max() == 0


def test_when_added_expect_values_scaled_by_the_normaliser():
    rng = np.random.default_rng(0)
    scaling = Normaliser(("a", "b"), [1.0, 2.0], [0.5, 0.25], [0.5] * 3, [2.0] * 3)
    segment = make_segment(rng, 1)
    buffer = ReplayBuffer(10, scaling)
    buffer.add(segment)
    batch = buffer.sample(1, 1, 0.9, rng)
    np.testing.assert_array_equal(batch.action[0], scaling.normalise_action(segment.actions[0]))
    np.testing.assert_array_equal(batch.observation.base[0], scaling.normalise_action(segment.bases[0]))
    np.testing.assert_array_equal(
        batch.next_observation.state[0], scaling.normalise_state(segment.states[1])
    )


def test_when_segment_exceeds_capacity_expect_refusal():
    buffer = ReplayBuffer(10, identity_normaliser(3, 2))
    with pytest.raises(ShapeError, match="10 steps .* 10 rows"):
        buffer.add(make_segment(np.random.default_rng(0), 10))


def test_when_segment_is_empty_expect_nothing_stored():
    buffer = ReplayBuffer(10, identity_normaliser(3, 2))
    buffer.add(make_segment(np.random.default_rng(0), 0))
    assert len(buffer) == 0


def test_when_concatenated_expect_rows_of_both_in_order():
    rng = np.random.default_rng(0)
    parts = []
    for value in (1.0, 2.0):
        buffer = ReplayBuffer(20, identity_normaliser(1, 2))
        buffer.add(make_segment(rng, 3, states=np.full((4, 1), value, np.float32)))
        parts.append(buffer.sample(4, 1, 0.9, rng))
    both = concatenate(*parts)
    assert both.observation.state[:, 0].tolist() == [1.0] * 4 + [2.0] * 4
    assert both.next_observation.state[:, 0].tolist() == [1.0] * 4 + [2.0] * 4
    assert both.action.shape == (8, 2)
    assert both.reward.shape == both.discount.shape == (8,)
