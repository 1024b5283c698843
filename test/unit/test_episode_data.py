"""Episodes as arrays, to bags and back."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages
from serialised import write_bag

from resfit_ros.core.errors import DataError, ShapeError
from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation, Outcome
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.episode_data import EpisodeData, read_episode, write_episode
from resfit_ros.data.mcap_scan import DamagedBag
from resfit_ros.data.read_bags import read_episodes

ARRAYS = ("states", "bases", "actions", "stamps_ns", "phases", "interventions", "tainted", "missing")


def episode(steps=6, cameras=1, **changes) -> EpisodeData:
    rng = np.random.default_rng(3)
    values = dict(
        states=rng.normal(size=(steps + 1, 4)).astype(np.float32),
        bases=rng.normal(size=(steps + 1, 2)).astype(np.float32),
        actions=rng.normal(size=(steps, 2)).astype(np.float32),
        phases=rng.uniform(size=steps + 1).astype(np.float32),
        stamps_ns=10**18 + np.arange(steps + 1) * 50_000_000,
        images=tuple(rng.integers(0, 255, (steps + 1, 8, 6, 3), np.uint8) for _ in range(cameras)),
        interventions=np.arange(steps) == 2,
        tainted=np.arange(steps) == 4,
        outcome=Outcome.SUCCESS,
        scene_seed=17,
        labelled_by="button",
    )
    return EpisodeData(**{**values, **changes})


def assert_same(found: EpisodeData, wanted: EpisodeData) -> None:
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
    for camera, expected in zip(found.images, wanted.images, strict=True):
        np.testing.assert_array_equal(camera, expected)
    assert (found.outcome, found.scene_seed, found.labelled_by) == (
        wanted.outcome,
        wanted.scene_seed,
        wanted.labelled_by,
    )


@pytest.mark.parametrize("cameras", [0, 1, 2])
def test_when_written_and_read_expect_the_same_bits(tmp_path, cameras):
    data = episode(cameras=cameras)
    path = write_episode(tmp_path, 7, data, BagAbout())
    assert path.name == "episode_000007"
    assert_same(read_episode(path), data)


def test_when_columns_were_reordered_expect_it_written_all_the_same(tmp_path):
    data = episode()
    turned = {n: getattr(data, n)[:, ::-1] for n in ("states", "bases", "actions")}
    data = dataclasses.replace(data, **turned)
    assert_same(read_episode(write_episode(tmp_path, 1, data, BagAbout())), data)


def test_when_written_expect_the_assembler_to_make_its_transitions(tmp_path):
    data = episode()
    path = write_episode(tmp_path, 1, data, BagAbout())
    (given,) = read_episodes([path], 2, 4)
    assert given.steps_lost == 0
    assert [len(s) for s in given.segments] == [4, 1]  # step 4 is tainted
    np.testing.assert_array_equal(given.segments[0].actions, data.actions[:4])
    assert given.segments[1].rewards.tolist() == [1.0]


def test_when_a_step_is_missing_expect_it_lost_and_the_rest_kept(tmp_path):
    missing = np.array([False, False, True, True, False, False])
    data = episode(missing=missing, tainted=None)
    path = write_episode(tmp_path, 1, data, BagAbout())
    (given,) = read_episodes([path], 2, 4)
    assert given.steps_lost == 2
    assert [len(s) for s in given.segments] == [2, 2]
    np.testing.assert_array_equal(read_episode(path).missing, missing)


def test_when_bag_is_cut_expect_its_first_steps_and_the_reason(tmp_path):
    path = write_episode(tmp_path, 1, episode(steps=400, cameras=0), BagAbout())
    (file,) = path.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2)
    with pytest.raises(DamagedBag):
        read_episode(path)
    said = []
    found = read_episode(path, said.append)
    whole = int((~found.missing).sum())
    assert 50 < whole < 400
    assert len(said) == 1 and str(path) in said[0]
    assert found.outcome is Outcome.SUCCESS  # the metadata say so


def test_when_nothing_is_left_expect_it_said(tmp_path):
    path = write_episode(tmp_path, 1, episode(), BagAbout())
    (file,) = path.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(200)
    with pytest.raises(DataError, match="no step of it is whole"):
        read_episode(path, lambda words: None)


def messages(number=1, steps=4, outcome=Outcome.SUCCESS) -> list:
    return episode_messages(np.random.default_rng(number), steps, outcome, episode_id=number)


def bag_with(directory: Path, values: list) -> Path:
    write_bag(directory, values)
    return directory / "episode_000001"


@pytest.mark.parametrize("mixed", [False, True])
def test_when_a_bag_holds_two_episodes_expect_their_numbers(tmp_path, mixed):
    both = messages(1) + messages(2)
    values = sorted(both, key=lambda m: m.stamp_ns) if mixed else both
    with pytest.raises(DataError, match="holds the episodes 1, 2, expected one"):
        read_episode(bag_with(tmp_path, values))


@pytest.mark.parametrize("kind", [Observation, Action, Executed])
def test_when_the_first_step_is_lost_expect_the_others_under_their_numbers(tmp_path, kind):
    values = messages()
    kept = [m for m in values if not (type(m) is kind and m.step == 0)]
    found = read_episode(bag_with(tmp_path, kept))
    assert found.missing.tolist() == [True, False, False, False]
    assert found.states[:, 0].tolist() == [1, 1, 2, 3, 4]  # the step of each row
    executed = [m.action for m in values if isinstance(m, Executed)]
    np.testing.assert_array_equal(found.actions, [executed[1], *executed[1:]])
    assert_same(read_episode(write_episode(tmp_path / "again", 1, found, BagAbout())), found)


def test_when_every_second_observation_is_lost_expect_that_no_step_is_whole(tmp_path):
    kept = [m for m in messages() if not (isinstance(m, Observation) and m.step % 2)]
    with pytest.raises(DataError, match="no step of it is whole.*leave it out"):
        read_episode(bag_with(tmp_path, kept))


def test_when_a_step_is_observed_twice_expect_what_its_action_answered(tmp_path):
    values = messages()
    at = next(i for i, m in enumerate(values) if isinstance(m, Observation) and m.step == 2)
    other = dataclasses.replace(values[at], stamp_ns=values[at].stamp_ns - 1, state=-values[at].state)
    path = bag_with(tmp_path, [*values[:at], other, *values[at:]])
    (segment,) = next(read_episodes([path], 2, 3)).segments
    np.testing.assert_array_equal(read_episode(path).states, segment.states)
    np.testing.assert_array_equal(segment.states[2], values[at].state)


def test_when_an_episode_ends_twice_expect_the_first_end(tmp_path):
    values = messages()
    assert isinstance(values[-1], EpisodeEnded)
    again = dataclasses.replace(values[-1], outcome=Outcome.FAILURE, steps=2)
    found = read_episode(bag_with(tmp_path, [*values, again]))
    assert (found.outcome, len(found)) == (Outcome.SUCCESS, 4)


def test_when_arrays_do_not_fit_expect_the_sizes_named():
    with pytest.raises(ShapeError, match="states have 3 rows, expected 7 for 6 actions"):
        dataclasses.replace(episode(), states=np.zeros((3, 4), np.float32))


def test_when_about_is_written_expect_it_back(tmp_path):
    about = BagAbout(
        joint_names=("a", "b"),
        state=("joint_positions",),
        camera_names=("wrist",),
        image_size=(6, 8),
        control_hz=20.0,
        base_policy_sha256="ab" * 32,
        source="LeRobot v3.0",
        versions={"resfit_ros": "0.1.0"},
    )
    assert read_about(write_episode(tmp_path, 1, episode(), about)) == about


def test_when_bag_has_no_metadata_expect_the_file_named(tmp_path):
    with pytest.raises(DataError, match=r"metadata.yaml: cannot be read"):
        read_about(tmp_path)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"joint_names": ("a", "c")}, "joint_names: 'c' at place 1, expected 'b'"),
        ({"joint_names": ("a",)}, r"joint_names: 1 entries \(a\), expected 2"),
        ({"control_hz": 10.0}, "control_hz: 10, expected 20"),
        ({}, "^$"),
    ],
)
def test_when_robots_differ_expect_the_first_difference(found, words):
    import re

    expected = BagAbout(joint_names=("a", "b"), control_hz=20.0)
    assert re.search(words, BagAbout(**found).difference(expected))
