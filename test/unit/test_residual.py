"""Base action plus bounded residual, and the noise that explores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.residual import CorrelatedNoise, bounded_residual, compose

JOINTS = 4
NAMES = tuple("abcd")
SCALING = Normaliser(NAMES, [0.1, 0.2, 0.3, 0.4], [1.0, 0.5, 2.0, 0.05], [0.0], [1.0])
directions = hnp.arrays(np.float32, JOINTS, elements=st.floats(-1, 1, width=32))
anything = hnp.arrays(np.float32, JOINTS, elements=st.floats(-1e6, 1e6, width=32))


@given(
    proposal=directions,
    noise=st.none() | anything,
    scale=st.floats(0.01, 2.0),
    noise_std=st.floats(0.0, 2.0),
)
def test_when_bounded_expect_never_beyond_the_scale(proposal, noise, scale, noise_std):
    residual = bounded_residual(proposal, noise, scale, noise_std)
    assert residual.dtype == np.float32
    assert np.max(np.abs(residual)) <= np.float32(scale)


def test_when_proposal_is_one_expect_the_whole_scale():
    residual = bounded_residual(np.array([1, -1, 0.5], np.float32), None, 0.2, 0.0)
    assert residual.tolist() == pytest.approx([0.2, -0.2, 0.1])


def test_when_noise_is_given_expect_it_added_before_the_bound():
    residual = bounded_residual(
        np.array([0.0, 0.5], np.float32), np.array([1.0, 9.0], np.float32), 0.2, 0.05
    )
    assert residual.tolist() == pytest.approx([0.05, 0.2])


@given(base=anything)
def test_when_residual_is_zero_expect_the_base_bit_for_bit(base):
    base += 0.0  # -0.0 becomes 0.0, as in any sum
    command, residual = compose(base, np.zeros(JOINTS, np.float32), SCALING)
    assert command.dtype == np.float32
    assert command.tobytes() == base.tobytes()
    assert not residual.any()


def test_when_composed_expect_residual_in_joint_units():
    base = np.array([1.0, 1.0, 1.0, 1.0], np.float32)
    command, residual = compose(base, np.full(JOINTS, 0.2, np.float32), SCALING)
    assert residual.tolist() == pytest.approx([0.2, 0.1, 0.4, 0.01])
    np.testing.assert_array_equal(command, base + residual)


def sequence(noise: CorrelatedNoise, steps: int) -> np.ndarray:
    return np.array([noise.sample() for _ in range(steps)])


def test_when_seed_and_episode_are_the_same_expect_the_same_noise():
    noise = CorrelatedNoise(JOINTS, 0.8)
    noise.reset(3, 7)
    first = sequence(noise, 20)
    noise.reset(3, 7)
    np.testing.assert_array_equal(sequence(noise, 20), first)


@pytest.mark.parametrize(("seed", "episode_id"), [(4, 7), (3, 8), (7, 3)])
def test_when_seed_or_episode_differ_expect_other_noise(seed, episode_id):
    noise = CorrelatedNoise(JOINTS, 0.8)
    noise.reset(3, 7)
    first = sequence(noise, 20)
    noise.reset(seed, episode_id)
    assert np.min(np.abs(sequence(noise, 20) - first)) > 0


def test_when_sampled_long_expect_it_to_start_and_stay_at_unit_variance():
    noise = CorrelatedNoise(20_000, 0.9)
    noise.reset(0, 0)
    deviations = sequence(noise, 30).std(axis=1)
    assert np.all(np.abs(deviations - 1.0) < 0.03)  # 6 standard errors


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_when_sampled_expect_the_stated_correlation(correlation):
    noise = CorrelatedNoise(2_000, correlation)
    noise.reset(0, 0)
    values = sequence(noise, 50)
    measured = np.mean(values[1:] * values[:-1])
    assert measured == pytest.approx(correlation, abs=0.03)
    assert np.mean(values[3:] * values[:-3]) == pytest.approx(correlation**3, abs=0.03)


def test_when_sampled_expect_single_precision():
    noise = CorrelatedNoise(3, 0.8)
    assert [noise.sample().dtype for _ in range(3)] == [np.float32] * 3
