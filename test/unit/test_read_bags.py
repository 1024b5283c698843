"""Bags to learning data, and what a bag that does not fit is told."""

import os
from pathlib import Path

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from rosbags.rosbag2 import StoragePlugin, Writer
from serialised import header, write_bag

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.transitions import TransitionAssembler
from resfit_ros.core.types import Executed, Observation, Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.demonstrations import labelled, successful_segments
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.data.interfaces import EPISODE_TOPICS, type_name, typestore
from resfit_ros.data.mcap_scan import DamagedBag
from resfit_ros.data.read_bags import bag_paths, read_episodes, read_messages
from resfit_ros.policies.protocol import PolicySpec


def messages(episode_id: int = 1, steps: int = 6, seed: int = 0, **fields):
    return episode_messages(np.random.default_rng(seed), steps, episode_id=episode_id, **fields)


def record(directory: Path, *episodes) -> list[Path]:
    """One bag per list of messages."""
    return [write_bag(directory, m, episode_id=m[0].episode_id).path for m in episodes]


def bag_of(path: Path, topics: dict[str, str]) -> Path:
    """A bag with these topics and types, one header on each where the type is a header."""
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in topics.items():
            connection = writer.add_connection(topic, kind, typestore=typestore())
            if kind == "std_msgs/msg/Header":
                writer.write(connection, 1, typestore().serialize_cdr(header(1), kind))
    return path


def test_when_read_expect_the_segments_of_the_live_messages(tmp_path):
    given = messages(tainted=frozenset({2}))
    (path,) = record(tmp_path, given)
    assembler = TransitionAssembler(2)
    (live,) = [e for m in given for e in assembler.add(m)]
    (read,) = read_episodes([path], 2, 3)
    assert_same_segments(read.segments, live.segments)
    assert (read.end, read.steps_lost) == (live.end, 0)


def test_when_messages_are_missing_expect_the_rest_and_the_loss(tmp_path):
    given = [m for m in messages() if not (isinstance(m, Executed) and m.step == 2)]
    (episode,) = read_episodes(record(tmp_path, given), 2)
    assert [len(segment) for segment in episode.segments] == [2, 3]
    assert episode.steps_lost == 1


def test_when_directory_is_given_expect_its_bags_in_order(tmp_path):
    record(tmp_path, messages(2), messages(10), messages(1))
    write_bag(tmp_path, messages(3), episode_id=3, close=False)
    names = [path.name for path in bag_paths(tmp_path)]
    assert names == ["episode_000001", "episode_000002", "episode_000010"]


def test_when_a_bag_is_given_expect_it_alone(tmp_path):
    (path,) = record(tmp_path, messages())
    assert bag_paths(path) == [path]


@pytest.mark.parametrize(("name", "message"), [(".", "holds no bags"), ("nowhere", "no such directory")])
def test_when_there_are_no_bags_expect_the_directory_named(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        bag_paths(tmp_path / name)


def test_when_bag_is_of_something_else_expect_the_missing_types_named(tmp_path):
    path = bag_of(tmp_path / "foreign", {"/chatter": "std_msgs/msg/Header"})
    with pytest.raises(DataError) as caught:
        list(read_messages(path))
    for name in ("Observation", "Action", "ExecutedAction", "Episode"):
        assert type_name(name) in str(caught.value)


def test_when_one_topic_is_missing_expect_only_it_named(tmp_path):
    topics = {topic: type_name(name) for topic, name in EPISODE_TOPICS.items() if topic != "episode"}
    path = bag_of(tmp_path / "half", topics)
    with pytest.raises(DataError, match="no topic of type resfit_ros/msg/Episode;"):
        list(read_messages(path))


def test_when_robot_has_another_number_of_joints_expect_both_named(tmp_path):
    paths = record(tmp_path, messages())
    with pytest.raises(DataError, match="2 joints, expected 29"):
        list(read_episodes(paths, 29))


def test_when_state_has_another_size_expect_both_named(tmp_path):
    paths = record(tmp_path, messages())
    with pytest.raises(DataError, match="3 numbers, expected 65"):
        list(read_episodes(paths, 2, 65))


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_when_file_is_cut_short_expect_it_named(tmp_path, kept):
    (path,) = record(tmp_path, messages())
    (file,) = path.glob("*.mcap")
    os.truncate(file, int(kept * file.stat().st_size))
    with pytest.raises(DataError, match="cannot be read as a bag"):
        list(read_messages(path))


def test_when_path_is_no_bag_expect_it_named(tmp_path):
    with pytest.raises(DataError, match="cannot be read as a bag"):
        list(read_messages(tmp_path))


# --- demonstrations ----------------------------------------------------------------------------


class ConstantPolicy:
    """The state's first entry, for every joint and row."""

    spec = PolicySpec("constant", 2, horizon=4, identity="constant")

    def reset(self, episode_id: int) -> None:
        pass

    def infer(self, observation) -> np.ndarray:
        return np.full((4, 2), observation.state[0], np.float32)


def test_when_episodes_failed_or_have_gaps_expect_only_whole_successes(tmp_path):
    with_gap = [m for m in messages(3) if not (isinstance(m, Executed) and m.step == 5)]
    record(
        tmp_path,
        messages(1),
        messages(2, outcome=Outcome.TIMEOUT),
        with_gap,
        messages(4, tainted=frozenset({0})),
        messages(5),
        messages(6, outcome=Outcome.ABORTED),
    )
    assert [s.episode_id for s in successful_segments(tmp_path, 2, 3)] == [1, 5]


def test_when_no_episode_succeeded_expect_advice(tmp_path):
    record(tmp_path, messages(1, outcome=Outcome.TIMEOUT))
    with pytest.raises(DataError, match="none of its 1 episodes is a complete success"):
        successful_segments(tmp_path, 2)


def test_when_demonstrations_are_labelled_expect_bases_of_the_policy(tmp_path):
    record(tmp_path, messages(1))
    (segment,) = labelled(successful_segments(tmp_path, 2, 3), ConstantPolicy(), Chunking(4))
    # States begin with their step; a new chunk comes every four steps.
    assert segment.bases[:, 0].tolist() == [0, 0, 0, 0, 4, 4, 4]


# --- what is left out --------------------------------------------------------------------------


def test_when_the_bag_speaks_of_another_robot_expect_its_first_differing_joint(tmp_path):
    about = BagAbout(joint_names=("left", "right"))
    bag = write_bag(tmp_path, messages(), close=False)
    path = bag.close({"outcome": "success"} | about.to_custom_data())
    assert len(list(read_episodes([path], 2, expected=about))) == 1
    with pytest.raises(MismatchError, match="joint_names: 'right' at place 1, expected 'wrist'"):
        list(read_episodes([path], 2, expected=BagAbout(joint_names=("left", "wrist"))))


def test_when_steps_hold_nan_expect_them_left_out_and_said(tmp_path):
    given = messages()
    (observation,) = (m for m in given if isinstance(m, Observation) and m.step == 3)
    observation.state[2] = np.nan
    (path,), said = record(tmp_path, given), []
    (episode,) = read_episodes([path], 2, 3, said.append)
    assert [len(segment) for segment in episode.segments] == [2, 2]
    assert (list(episode.left_out), episode.steps_lost) == ([2, 3], 0)
    assert len(said) == 1
    words = "episode 1: 2 of its 6 steps are left out (steps 2 and 3: state of observation 3"
    assert said[0].startswith(f"{path}: {words}")


def test_when_episodes_are_mixed_in_a_bag_expect_each_whole(tmp_path):
    one, other = messages(1), messages(2, steps=4)
    mixed = [*other[:5], *one[:9], *other[5:], *one[9:]]  # episode 2 ends first
    path = write_bag(tmp_path, mixed).path
    given = {e.end.episode_id: e for e in read_episodes([path], 2, 3)}
    assert {i: (len(e.segments[0]), e.steps_lost) for i, e in given.items()} == {1: (6, 0), 2: (4, 0)}


def test_when_another_robot_follows_in_the_bag_expect_what_came_before(tmp_path):
    (path,), said = [write_bag(tmp_path, [*messages(1), *messages(2, action_dim=3)]).path], []
    with pytest.raises(DataError, match="3 joints, expected 2"):
        list(read_episodes([path], 2))
    assert [len(e.segments[0]) for e in read_episodes([path], 2, None, said.append) if e.segments] == [6]
    assert len(said) == 1


def test_when_one_demonstration_is_of_another_robot_expect_it_named_and_the_others_used(tmp_path):
    about = BagAbout(joint_names=("a", "b"))
    for number, names in ((1, ("a", "b")), (2, ("b", "a"))):
        write_episode(tmp_path, number, demonstration(), BagAbout(joint_names=names))
    said = []
    (segment,) = successful_segments(tmp_path, 2, 3, about, said.append)
    assert segment.episode_id == 1
    assert len(said) == 1 and "'b' at place 0, expected 'a'" in said[0]


def test_when_one_demonstration_is_cut_expect_it_named_and_the_others_used(tmp_path):
    for number in (1, 2):
        write_episode(tmp_path, number, demonstration(), BagAbout())
    (file,) = (tmp_path / "episode_000002").glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 8)
    said = []
    assert [s.episode_id for s in successful_segments(tmp_path, 2, 3, None, said.append)] == [1]
    assert len(said) == 1 and "episode_000002" in said[0]
    with pytest.raises(DamagedBag):
        successful_segments(tmp_path, 2, 3)


def demonstration(steps: int = 6) -> EpisodeData:
    return EpisodeData(
        states=np.zeros((steps + 1, 3), np.float32),
        bases=np.zeros((steps + 1, 2), np.float32),
        actions=np.zeros((steps, 2), np.float32),
        stamps_ns=10**18 + np.arange(steps + 1) * 50_000_000,
        outcome=Outcome.SUCCESS,
    )
