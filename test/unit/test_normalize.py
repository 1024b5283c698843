"""Scaling of states and actions."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resfit_ros.core.errors import DataError, ShapeError
from resfit_ros.core.normalize import Normaliser

NAMES = ("a", "b", "c")
values = st.floats(-10, 10, width=32)
positive = st.floats(2**-7, 8, width=32)
vectors = hnp.arrays(np.float32, 3, elements=values)
scales = hnp.arrays(np.float32, 3, elements=positive)


@pytest.fixture
def normaliser() -> Normaliser:
    return Normaliser(NAMES, [0.5, -1.0, 0.0], [1.0, 0.5, 2.0], [1.0, 2.0], [0.5, 4.0])


@given(center=vectors, half_range=scales, action=vectors)
def test_when_normalised_and_back_expect_the_same_action(center, half_range, action):
    n = Normaliser(NAMES, center, half_range, [0.0], [1.0])
    back = n.denormalise_action(n.normalise_action(action))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, action, atol=1e-5)


@given(center=vectors, half_range=scales, mean=vectors, std=scales)
def test_when_written_to_json_and_back_expect_the_same_hash(center, half_range, mean, std):
    n = Normaliser(NAMES, center, half_range, mean, std)
    back = Normaliser.from_dict(json.loads(json.dumps(n.to_dict())))
    assert back.sha256 == n.sha256
    np.testing.assert_array_equal(back.action_center, n.action_center)


def test_when_fitted_expect_demonstrated_range_to_span_minus_one_to_one():
    actions = np.array([[0.0, -2.0], [1.0, 2.0], [0.5, 0.0]], np.float32)
    n = Normaliser.fit(("a", "b"), np.zeros((3, 1), np.float32), actions)
    np.testing.assert_allclose(n.normalise_action(actions), [[-1, -1], [1, 1], [0, 0]])


def test_when_joint_hardly_moves_expect_the_range_floored():
    actions = np.array([[1.0], [1.02]], np.float32)
    n = Normaliser.fit(("a",), np.zeros((2, 1), np.float32), actions, min_action_range=0.1)
    assert n.action_half_range.tolist() == pytest.approx([0.05])
    assert n.action_center.tolist() == pytest.approx([1.01])


def test_when_state_entry_hardly_moves_expect_the_deviation_floored():
    states = np.array([[1.0, 0.0], [1.0, 2.0]], np.float32)
    n = Normaliser.fit(("a",), states, np.zeros((2, 1), np.float32), min_state_std=0.02)
    assert n.state_std.tolist() == pytest.approx([0.02, 1.0])


def test_when_fitted_expect_standardised_states():
    states = np.random.default_rng(0).normal(3.0, 2.0, (500, 4)).astype(np.float32)
    n = Normaliser.fit(("a",), states, np.zeros((500, 1), np.float32))
    standardised = n.normalise_state(states)
    np.testing.assert_allclose(standardised.mean(axis=0), 0.0, atol=1e-5)
    np.testing.assert_allclose(standardised.std(axis=0), 1.0, atol=1e-2)


def test_when_state_is_far_off_expect_it_clipped(normaliser):
    assert normaliser.normalise_state(np.array([1e6, -1e6], np.float32)).tolist() == [5.0, -5.0]


def test_when_action_is_far_off_expect_it_not_clipped(normaliser):
    assert normaliser.normalise_action(np.array([10.5, -1.0, 0.0], np.float32))[0] == 10.0


def test_when_residual_is_denormalised_expect_no_offset(normaliser):
    scaled = normaliser.denormalise_residual(np.array([0.2, 0.2, 0.2], np.float32))
    assert scaled.tolist() == pytest.approx([0.2, 0.1, 0.4])


def test_when_anything_differs_expect_another_hash(normaliser):
    changes = [
        {"joint_names": ("a", "b", "d")},
        {"action_center": [0.5, -1.0, 1e-6]},
        {"action_half_range": [1.0, 0.5, 2.5]},
        {"state_mean": [1.0, 2.5]},
        {"state_std": [0.5, 4.5]},
        {"state_clip": 4.0},
    ]
    hashes = {dataclasses.replace(normaliser, **change).sha256 for change in changes}
    assert len(hashes | {normaliser.sha256}) == 7


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"action_center": [0.0, 0.0]}, ShapeError),
        ({"action_half_range": [1.0, 1.0]}, ShapeError),
        ({"state_std": [1.0]}, ShapeError),
        ({"action_half_range": [1.0, 0.0, 1.0]}, DataError),
        ({"state_std": [1.0, -1.0]}, DataError),
        ({"action_center": [0.0, np.nan, 0.0]}, DataError),
        ({"state_mean": [np.inf, 0.0]}, DataError),
        ({"state_mean": [[0.0, 0.0]]}, DataError),
    ],
)
def test_when_values_make_no_sense_expect_refusal(normaliser, change, error):
    with pytest.raises(error):
        dataclasses.replace(normaliser, **change)


def test_when_demonstrations_hold_nan_expect_refusal():
    actions = np.array([[0.0], [np.nan]], np.float32)
    with pytest.raises(DataError, match="action_center"):
        Normaliser.fit(("a",), np.zeros((2, 1), np.float32), actions)


def test_when_an_entry_is_missing_expect_it_named(normaliser):
    values = normaliser.to_dict()
    del values["state_std"]
    with pytest.raises(DataError, match="state_std"):
        Normaliser.from_dict(values)


def test_when_an_entry_is_unknown_expect_it_named(normaliser):
    with pytest.raises(DataError, match="state_variance"):
        Normaliser.from_dict(normaliser.to_dict() | {"state_variance": [1.0]})
