"""Where a run's scaling comes from, and that it keeps it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from builders import make_segment
from test_compatibility import normaliser

from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.policies.scaling import NORMALISER, read_normaliser, scaling_for, write_normaliser

SEGMENTS = [make_segment(np.random.default_rng(0), 20)]


def settle(run_dir, policy=None, given="", segments=(), joints=("a", "b"), states=3):
    return scaling_for(policy, run_dir, given, segments, joints, states, 0.1)


def test_when_demonstrations_are_given_expect_a_fit_to_them_kept_in_the_run(tmp_path):
    fitted = settle(tmp_path, segments=SEGMENTS)
    np.testing.assert_allclose(fitted.state_mean, SEGMENTS[0].states.mean(axis=0), rtol=1e-5)
    assert read_normaliser(tmp_path / NORMALISER).sha256 == fitted.sha256


def test_when_the_policy_brings_its_scaling_expect_that(tmp_path):
    own = normaliser(state_mean=[3.0, 2.0, 1.0])
    assert settle(tmp_path, SimpleNamespace(normaliser=own), segments=SEGMENTS).sha256 == own.sha256


def test_when_a_file_is_given_expect_it_to_win(tmp_path):
    write_normaliser(tmp_path / "mine.json", normaliser())
    own = normaliser(state_mean=[3.0, 2.0, 1.0])
    found = settle(tmp_path / "run", SimpleNamespace(normaliser=own), str(tmp_path / "mine.json"))
    assert found.sha256 == normaliser().sha256


def test_when_a_run_is_resumed_expect_its_own_scaling_not_a_new_fit(tmp_path):
    first = settle(tmp_path, segments=SEGMENTS)
    more = [make_segment(np.random.default_rng(1), 20)]
    assert settle(tmp_path, segments=[*SEGMENTS, *more]).sha256 == first.sha256


def test_when_a_run_is_resumed_with_a_policy_of_another_scaling_expect_both_named(tmp_path):
    first = settle(tmp_path, segments=SEGMENTS)
    with pytest.raises(MismatchError, match=f"{first.sha256[:12]}.*{normaliser().sha256[:12]}"):
        settle(tmp_path, SimpleNamespace(normaliser=normaliser()))


def test_when_nothing_tells_the_range_expect_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match="give demonstrations .*--demos"):
        settle(tmp_path)
    assert not (tmp_path / NORMALISER).exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joints": ("a", "c")}, "joint 1 is 'b' there and 'c' here"),
        ({"states": 4}, "a state of 3 numbers, but the configured state layout gives 4"),
    ],
)
def test_when_the_scaling_is_of_another_robot_expect_refusal_and_nothing_kept(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        settle(tmp_path, SimpleNamespace(normaliser=normaliser()), **changes)
    assert not (tmp_path / NORMALISER).exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '"words"', json.dumps({"joint_names": ["a"]})])
def test_when_a_scaling_file_is_damaged_expect_it_named(tmp_path, text):
    path = tmp_path / "scaling.json"
    path.write_text(text)
    with pytest.raises(DataError, match="scaling.json"):
        read_normaliser(path)


def test_when_a_scaling_file_is_missing_expect_it_named(tmp_path):
    with pytest.raises(DataError, match="missing.json: cannot be read"):
        read_normaliser(tmp_path / "missing.json")
