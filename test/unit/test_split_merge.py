"""Folders of bags, split and merged."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages
from hypothesis import given
from hypothesis import strategies as st
from serialised import write_bag

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout, custom_data, read_about
from resfit_ros.data.bag_table import bag_directories
from resfit_ros.data.episode_data import EpisodeData, read_episode, write_episode
from resfit_ros.data.merge_bags import ORIGIN, merge_bags
from resfit_ros.data.read_bags import read_episodes, read_messages
from resfit_ros.data.split_merge import divide, split_bags


def episode(outcome=Outcome.SUCCESS, steps=4, joints=2, seed=0) -> EpisodeData:
    rng = np.random.default_rng(seed)
    return EpisodeData(
        states=rng.normal(size=(steps + 1, 3)).astype(np.float32),
        bases=rng.normal(size=(steps + 1, joints)).astype(np.float32),
        actions=rng.normal(size=(steps, joints)).astype(np.float32),
        stamps_ns=10**18 + np.arange(steps + 1) * 50_000_000,
        outcome=outcome,
    )


def folder(path: Path, outcomes="SSFT", about=None) -> Path:
    kinds = {"S": Outcome.SUCCESS, "F": Outcome.FAILURE, "T": Outcome.TIMEOUT}
    for number, letter in enumerate(outcomes, 1):
        write_episode(path, number, episode(kinds[letter], seed=number), about or BagAbout(joint_names=("a", "b")))
    return path


def cut(bag: Path, size: int) -> None:
    (file,) = bag.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(size)


# -- split ----------------------------------------------------------------------------------------


@given(
    outcomes=st.lists(st.sampled_from(["success", "failure", "timeout"]), min_size=2, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_when_divided_expect_every_bag_once_and_outcomes_in_proportion(outcomes, fraction, seed):
    named = {f"episode_{i:06d}": outcome for i, outcome in enumerate(outcomes)}
    train, held_out = divide(named, fraction, seed)
    assert sorted(train + held_out) == sorted(named)
    wanted = min(max(1, round(fraction * len(named))), len(named) - 1)
    assert len(held_out) == wanted
    for outcome in set(outcomes):
        exact = wanted * outcomes.count(outcome) / len(outcomes)
        assert abs(sum(named[n] == outcome for n in held_out) - exact) < 1


def test_when_divided_again_expect_the_same_and_with_another_seed_another():
    named = {f"episode_{i:06d}": "success" for i in range(40)}
    assert divide(named, 0.2, 7) == divide(dict(reversed(named.items())), 0.2, 7)
    assert divide(named, 0.2, 7) != divide(named, 0.2, 8)


@pytest.mark.parametrize("copy", [False, True])
def test_when_split_expect_the_same_bytes_and_a_record(tmp_path, copy):
    source, out = folder(tmp_path / "bags"), tmp_path / "sets"
    sets = split_bags(source, out, 0.25, 0, copy=copy)
    assert {name: len(bags) for name, bags in sets.items()} == {"train": 3, "held_out": 1}
    for name, bags in sets.items():
        for bag in bags:
            for file in (source / bag).iterdir():
                placed = out / name / bag / file.name
                assert placed.read_bytes() == file.read_bytes()
                assert os.path.samefile(placed, file) != copy
    record = json.loads((out / "split.json").read_text())
    assert (record["fraction"], record["seed"], record["by"]) == (0.25, 0, "outcome")
    assert [b["bag"] for b in record["held_out"]] == sets["held_out"]
    assert len(read_episode(out / "train" / sets["train"][0])) == 4


def test_when_there_is_one_bag_expect_it_refused(tmp_path):
    with pytest.raises(DataError, match="one bag"):
        split_bags(folder(tmp_path / "bags", "S"), tmp_path / "out", 0.5, 0)
    assert not (tmp_path / "out").exists()


def test_when_interrupted_expect_nothing_half_made(tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    source = folder(tmp_path / "bags")
    with pytest.raises(KeyboardInterrupt):
        split_bags(source, tmp_path / "out", 0.5, 0, on_progress=interrupted)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bags"]
    assert len(bag_directories(source)) == 4


# -- merge ----------------------------------------------------------------------------------------


def test_when_merged_expect_new_numbers_in_every_message_and_the_same_data(tmp_path):
    first, second = folder(tmp_path / "a", "SF"), folder(tmp_path / "b", "T")
    notes = []
    assert merge_bags(tmp_path / "out", [first, second], notes.append) == 3
    assert notes == []
    merged = bag_directories(tmp_path / "out")
    assert [b.name for b in merged] == [f"episode_{i:06d}" for i in (1, 2, 3)]
    origins = [*bag_directories(first), *bag_directories(second)]
    for number, (bag, origin) in enumerate(zip(merged, origins, strict=True), 1):
        messages = list(read_messages(bag))
        assert {m.episode_id for m in messages} == {number}
        assert [type(m) for m in messages] == [type(m) for m in read_messages(origin)]
        np.testing.assert_array_equal(read_episode(bag).actions, read_episode(origin).actions)
        about = custom_data(bag)
        assert (about["episode_id"], about[ORIGIN]) == (str(number), str(origin))
        assert read_about(bag) == read_about(origin)
    assert [e.end.episode_id for e in read_episodes(merged, 2, 3)] == [1, 2, 3]


def test_when_the_bags_are_of_different_robots_expect_both_named_and_nothing_written(tmp_path):
    first = folder(tmp_path / "a", "S")
    second = folder(tmp_path / "b", "S", BagAbout(joint_names=("a", "c")))
    with pytest.raises(MismatchError, match="'c' at place 1, expected 'b'") as raised:
        merge_bags(tmp_path / "out", [first, second], print)
    assert str(first) in str(raised.value)
    assert str(second) in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_when_old_bags_name_no_robot_expect_their_sizes_compared(tmp_path):
    write_episode(tmp_path / "a", 1, episode(), BagAbout())
    write_episode(tmp_path / "b", 1, episode(joints=3), BagAbout())
    with pytest.raises(MismatchError, match="joints: 3, expected 2"):
        merge_bags(tmp_path / "out", [tmp_path / "a", tmp_path / "b"], print)


def test_when_a_bag_is_cut_short_expect_its_first_steps_and_a_note(tmp_path):
    write_episode(tmp_path / "a", 5, episode(steps=600), BagAbout())
    (bag,) = bag_directories(tmp_path / "a")
    (file,) = bag.glob("*.mcap")
    cut(bag, file.stat().st_size // 2)
    notes = []
    assert merge_bags(tmp_path / "out", [tmp_path / "a"], notes.append) == 1
    kept = read_episode(tmp_path / "out" / "episode_000001")
    assert 100 < len(kept) <= 600
    assert 100 < (~kept.missing).sum() < 400
    (note,) = notes
    assert "episode_000005" in note
    assert "were kept" in note


def test_when_a_bag_holds_nothing_expect_a_note_and_the_others(tmp_path):
    source = folder(tmp_path / "a", "SS")
    cut(source / "episode_000001", 60)
    notes = []
    assert merge_bags(tmp_path / "out", [source], notes.append) == 1
    assert "episode_000001" in notes[0]
    assert "left out" in notes[0]


def test_when_a_bag_holds_two_episodes_expect_it_left_out_and_both_named(tmp_path):
    source, rng = folder(tmp_path / "a", "S"), np.random.default_rng(0)
    two = [m for number in (7, 9) for m in episode_messages(rng, 4, episode_id=number)]
    write_bag(source, two, episode_id=2)
    notes = []
    assert merge_bags(tmp_path / "out", [source], notes.append) == 1
    assert [b.name for b in bag_directories(tmp_path / "out")] == ["episode_000001"]
    (note,) = notes
    assert "episode_000002: holds the episodes 7, 9" in note
    assert "left out" in note


def test_when_no_bag_can_be_used_expect_an_error_and_nothing_written(tmp_path):
    source = folder(tmp_path / "a", "S")
    cut(source / "episode_000001", 60)
    with pytest.raises(DataError, match="no bag can be used"):
        merge_bags(tmp_path / "out", [source], lambda _: None)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_when_a_folder_is_named_twice_expect_it_refused(tmp_path):
    source = folder(tmp_path / "a", "S")
    with pytest.raises(DataError, match="named twice"):
        merge_bags(tmp_path / "out", [source, tmp_path / "b" / ".." / "a"], print)
