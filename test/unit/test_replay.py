"""Replay buffer: n-step windows against a brute-force reference, whatever was overwritten."""

import numpy as np
import pytest
import torch
from builders import counted_segment, identity_normaliser, make_segment
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError, DataError, ShapeError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning.replay import ReplayBuffer, sample_batch

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


def test_when_batch_has_two_parts_expect_rows_of_both_in_order():
    rng = np.random.default_rng(0)
    buffers = [ReplayBuffer(20, identity_normaliser(3, 2)) for _ in range(2)]
    for first, buffer in zip((0, 100), buffers, strict=True):
        buffer.add(counted_segment(first, 3))
    batch, rows = sample_batch([(buffers[0], 4), (buffers[1], 6)], 1, 0.9, rng)
    assert (batch.observation.state[:, 0] >= 100).tolist() == [False] * 4 + [True] * 6
    torch.testing.assert_close(batch.next_observation.state[:, 0], batch.observation.state[:, 0] + 1)
    torch.testing.assert_close(batch.action[:, 1], batch.observation.state[:, 0])
    assert batch.reward.shape == batch.discount.shape == (10,)
    drawn = [(buffer, rows.tolist()) for buffer, rows in rows.parts]
    state = batch.observation.state[:, 0].int()
    assert drawn == [(buffers[0], state[:4].tolist()), (buffers[1], (state[4:] - 100).tolist())]


@given(
    shapes=st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=20),
    capacity=st.integers(13, 40),
    n_step=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
)
def test_when_images_are_stored_expect_those_of_both_ends_of_the_window(
    shapes, capacity, n_step, seed
):
    rng, image_shapes = np.random.default_rng(seed), ((4, 3, 3), (2, 5, 3))
    buffer = ReplayBuffer(capacity, identity_normaliser(1, 2), image_shapes=image_shapes)
    kept: Kept = []
    serial = 0
    for steps, terminal in shapes:
        rows = np.arange(serial, serial + steps + 1, dtype=np.float32)[:, None]
        images = tuple(rng.integers(0, 256, (steps + 1, *shape), np.uint8) for shape in image_shapes)
        segment = make_segment(rng, steps, terminal=terminal, states=rows, images=images)
        buffer.add(segment)
        kept.append((serial, segment))
        serial += steps + 1
    batch = buffer.sample(16, n_step, 0.9, rng)
    for i, row in enumerate(batch.observation.state[:, 0].int().tolist()):
        segment, k = owner(kept, row)
        end = window(segment, k, n_step, 0.9)[2]
        for camera, images in enumerate(segment.images):
            np.testing.assert_array_equal(batch.observation.images[camera][i], images[k])
            np.testing.assert_array_equal(batch.next_observation.images[camera][i], images[end])


def test_when_features_are_stored_expect_them_in_the_images_place():
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(20, identity_normaliser(3, 2), feature_dim=5)
    features = rng.standard_normal((8, 5)).astype(np.float32)
    buffer.add(counted_segment(0, 7, image_size=4), features)
    batch = buffer.sample(30, 2, 0.9, rng)
    assert batch.observation.images == batch.next_observation.images == ()
    now, later = batch.observation, batch.next_observation
    np.testing.assert_array_equal(now.image_features, features[now.state[:, 0].int()])
    np.testing.assert_array_equal(later.image_features, features[later.state[:, 0].int()])


def test_when_buffer_is_made_without_images_expect_those_of_segments_left_out():
    buffer = ReplayBuffer(20, identity_normaliser(3, 2))
    buffer.add(counted_segment(0, 3, image_size=4))
    batch = buffer.sample(4, 1, 0.9, np.random.default_rng(0))
    assert batch.observation.images == ()
    assert batch.observation.image_features is None


def test_when_100000_transitions_have_two_cameras_expect_1_15_times_the_image_bytes_at_most():
    capacity = 101_667  # episodes of 60 steps
    cameras = ((84, 84, 3), (84, 84, 3))
    # Pages that are never written take no memory.
    buffer = ReplayBuffer(capacity, identity_normaliser(70, 29), cameras, priority_exponent=0.6)
    assert buffer.nbytes / (100_000 * 2 * 84 * 84 * 3) <= 1.15


def test_when_asked_expect_bytes_of_the_rows_in_use_per_transition():
    buffer = ReplayBuffer(12, identity_normaliser(3, 2))
    row = 4 * (3 + 2 + 1) + 4 * 2 + 4 + 4 + 1  # vector, action, reward, steps left, terminal
    assert buffer.nbytes == 12 * row
    buffer.add(counted_segment(0, 5))
    assert buffer.bytes_per_transition == pytest.approx(row * 6 / 5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ((), "0 cameras, expected 2"),
        (((4, 4, 4, 3),), "1 cameras, expected 2"),
        (((4, 4, 4, 3), (4, 4, 5, 3)), r"camera 1 have shape \(4, 4, 5, 3\), expected \(4, 4, 4, 3\)"),
        (((3, 4, 4, 3), (4, 4, 4, 3)), r"camera 0 have shape \(3, 4, 4, 3\), expected \(4, 4, 4, 3\)"),
    ],
)
def test_when_images_do_not_fit_expect_refusal_and_nothing_stored(images, message):
    buffer = ReplayBuffer(20, identity_normaliser(3, 2), image_shapes=((4, 4, 3),) * 2)
    images = tuple(np.zeros(shape, np.uint8) for shape in images)
    with pytest.raises(ShapeError, match=message):
        buffer.add(make_segment(np.random.default_rng(0), 3, images=images))
    assert len(buffer) == 0


def test_when_images_are_not_bytes_expect_refusal():
    buffer = ReplayBuffer(20, identity_normaliser(3, 2), image_shapes=((4, 4, 3),))
    images = (np.zeros((4, 4, 4, 3), np.float32),)
    with pytest.raises(ShapeError, match="camera 0 are float32"):
        buffer.add(make_segment(np.random.default_rng(0), 3, images=images))


@pytest.mark.parametrize(
    ("feature_dim", "shape", "message"),
    [
        (5, None, "missing, the buffer stores 5"),
        (0, (4, 5), "given, the buffer stores 0"),
        (5, (4, 6), r"image features have shape \(4, 6\), expected \(4, 5\)"),
        (5, (3, 5), r"image features have shape \(3, 5\), expected \(4, 5\)"),
    ],
)
def test_when_features_do_not_fit_expect_refusal(feature_dim, shape, message):
    buffer = ReplayBuffer(20, identity_normaliser(3, 2), feature_dim=feature_dim)
    features = None if shape is None else np.zeros(shape, np.float32)
    with pytest.raises(ShapeError, match=message):
        buffer.add(make_segment(np.random.default_rng(0), 3), features)


def test_when_bases_are_those_of_another_robot_expect_refusal():
    buffer = ReplayBuffer(20, identity_normaliser(3, 2))
    with pytest.raises(ShapeError, match=r"bases have shape \(4, 1\), expected \(4, 2\)"):
        buffer.add(make_segment(np.random.default_rng(0), 3, bases=np.zeros((4, 1), np.float32)))


def test_when_images_and_features_are_both_asked_for_expect_refusal():
    with pytest.raises(ConfigError, match="not both"):
        ReplayBuffer(20, identity_normaliser(3, 2), image_shapes=((4, 4, 3),), feature_dim=5)


def test_when_buffers_store_different_observations_expect_refusal():
    first = ReplayBuffer(20, identity_normaliser(3, 2))
    second = ReplayBuffer(20, identity_normaliser(3, 2), image_shapes=((4, 4, 3),))
    first.add(counted_segment(0, 3))
    with pytest.raises(ShapeError, match="buffer 1 of the batch"):
        sample_batch([(first, 2), (second, 2)], 1, 0.9, np.random.default_rng(0))


@pytest.mark.parametrize("count", [0, 4])
def test_when_there_is_nothing_to_sample_expect_refusal(count):
    buffer = ReplayBuffer(20, identity_normaliser(3, 2))
    with pytest.raises(DataError, match="add segments|at least one"):
        buffer.sample(count, 1, 0.9, np.random.default_rng(0))


def test_when_there_is_no_memory_for_the_pictures_expect_advice():
    with pytest.raises(ConfigError, match="lower replay_capacity"):
        ReplayBuffer(10**12, identity_normaliser(3, 2), ((1000, 1000, 3),))
