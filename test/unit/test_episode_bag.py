"""One bag per episode: whole under its final name, or not there."""

import os
from pathlib import Path

import numpy as np
import pytest
from builders import episode_messages
from serialised import serialise, write_bag

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Action, EpisodeEnded, EpisodeStarted, Executed, Observation, Outcome
from resfit_ros.data.bag_about import custom_data
from resfit_ros.data.episode_bag import EpisodeBag, bag_name, peek_episode_id, peek_stamp_ns, peek_step
from resfit_ros.data.read_bags import read_messages
from resfit_ros.data.mcap_scan import RawMessages


def some_messages(episode_id: int = 1, **fields):
    return episode_messages(np.random.default_rng(0), 4, episode_id=episode_id, **fields)


@pytest.mark.parametrize("frame_id", ["", "a", "ab", "abc", "base", "base_", "base_link", "x" * 31])
@pytest.mark.parametrize("episode_id", [1, 255, 2**40 + 3])
def test_when_frame_ids_have_any_length_expect_the_episode_id_found(frame_id, episode_id):
    array = np.zeros(2, np.float32)
    messages = (
        Observation(5, episode_id, 3, array),
        Action(5, episode_id, 3, array, array, array, 0.0),
        Executed(5, episode_id, 3, array),
        EpisodeStarted(5, episode_id),
        EpisodeEnded(5, episode_id, Outcome.SUCCESS, 3),
    )
    for message in messages:
        raw = serialise(message, frame_id)[1]
        assert peek_episode_id(raw) == episode_id
        if hasattr(message, "step"):
            assert peek_step(raw) == 3


@pytest.mark.parametrize("frame_id", ["", "a", "base", "base_link"])
def test_when_ros_serialises_expect_the_episode_id_found(frame_id):
    serialization = pytest.importorskip("rclpy.serialization")
    messages = pytest.importorskip("resfit_ros.msg")
    for kind in (
        messages.Observation,
        messages.Action,
        messages.ActionChunk,
        messages.ExecutedAction,
        messages.Episode,
    ):
        message = kind(episode_id=2**40 + 3)
        message.header.frame_id = frame_id
        if hasattr(message, "step"):
            message.step = 70_000
        raw = serialization.serialize_message(message)
        assert peek_episode_id(raw) == 2**40 + 3
        assert not hasattr(message, "step") or peek_step(raw) == 70_000


def test_when_written_expect_equal_values_read_back(tmp_path):
    given = some_messages(image_shape=(4, 6, 3), tainted=frozenset({2}))
    bag = write_bag(tmp_path, given)
    read = list(read_messages(bag.path))
    assert len(read) == len(given)
    for ours, theirs in zip(read, given, strict=True):
        assert type(ours) is type(theirs)
        for name in type(theirs).__slots__:
            a, b = getattr(ours, name), getattr(theirs, name)
            if name == "source_ages_s":
                b = np.array(b, np.float32)
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_when_closed_expect_the_final_name_and_nothing_partial(tmp_path):
    bag = write_bag(tmp_path, some_messages())
    assert bag.path == tmp_path / "episode_000001"
    assert sorted(file.suffix for file in bag.path.iterdir()) == [".mcap", ".yaml"]
    assert list((tmp_path / ".partial").iterdir()) == []


def test_when_closed_expect_what_it_is_about_in_the_metadata(tmp_path):
    bag = write_bag(tmp_path, some_messages())
    assert "outcome: success" in (bag.path / "metadata.yaml").read_text()


def test_when_written_expect_messages_counted(tmp_path):
    assert write_bag(tmp_path, some_messages()).messages == len(some_messages())


def test_when_not_closed_expect_nothing_under_the_final_name(tmp_path):
    bag = write_bag(tmp_path, some_messages(), close=False)
    assert not bag.path.exists()
    assert [p.name for p in (tmp_path / ".partial").iterdir()] == [bag_name(1)]


def test_when_a_killed_recorder_left_a_partial_expect_it_kept_aside(tmp_path):
    left = tmp_path / ".partial" / bag_name(1)
    left.mkdir(parents=True)
    (left / "remains.mcap").write_bytes(b"half an episode")
    bag = write_bag(tmp_path, some_messages())
    assert (left / "remains.mcap").read_bytes() == b"half an episode"
    assert len(list(read_messages(bag.path))) == len(some_messages())


def test_when_the_bag_exists_expect_it_not_overwritten(tmp_path):
    bag = write_bag(tmp_path, some_messages())
    before = {file: file.read_bytes() for file in bag.path.iterdir()}
    with pytest.raises(DataError, match="exists already"):
        EpisodeBag(tmp_path, 1, "/resfit")
    assert {file: file.read_bytes() for file in bag.path.iterdir()} == before


def test_when_directory_cannot_be_written_expect_reason(tmp_path, monkeypatch):
    def refuse(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resfit_ros.data.episode_bag.CheckedWriter.open", refuse)
    with pytest.raises(DataError, match="No space left"):
        EpisodeBag(tmp_path, 1, "/resfit")


def on_disk(bag: EpisodeBag) -> list[bytes]:
    """What a kill or a power cut at this moment would leave."""
    (file,) = bag.partial.glob("*.mcap")
    return [message.data for message in RawMessages(file)]


def test_when_synced_expect_every_message_on_the_disk_and_each_later_one_at_once(tmp_path):
    raws = [serialise(value) for value in some_messages()]
    bag = EpisodeBag(tmp_path, 1, "/resfit")
    for number, (topic, raw) in enumerate(raws[:-1]):
        bag.write(topic, number, raw)
    assert on_disk(bag) == []
    bag.sync()
    assert on_disk(bag) == [raw for _, raw in raws[:-1]]
    bag.write(raws[-1][0], 99, raws[-1][1])
    assert on_disk(bag) == [raw for _, raw in raws]


def test_when_synced_expect_the_file_and_its_folders_synced(tmp_path, monkeypatch):
    bag = write_bag(tmp_path, some_messages(), close=False)
    synced = []
    names = "/proc/self/fd/{}"
    monkeypatch.setattr("os.fsync", lambda handle: synced.append(os.readlink(names.format(handle))))
    bag.sync()
    assert [Path(path).suffix for path in synced] == [".mcap", "", ""]
    assert synced[1:] == [str(bag.partial), str(bag.partial.parent)]


def test_when_something_is_known_at_the_start_expect_it_beside_the_end_in_the_metadata(tmp_path):
    bag = EpisodeBag(tmp_path, 1, "/resfit", {"robot": "arm", "outcome": "?"})
    for value in some_messages():
        topic, raw = serialise(value)
        bag.write(topic, 1, raw)
    assert (bag.partial / "about.json").is_file()
    path = bag.close({"outcome": "success"})
    assert custom_data(path) == {"robot": "arm", "outcome": "success"}
    assert sorted(file.suffix for file in path.iterdir()) == [".mcap", ".yaml"]


def test_when_given_up_for_good_expect_nothing_left(tmp_path):
    write_bag(tmp_path, some_messages(), close=False).discard(keep=False)
    assert list((tmp_path / ".partial").iterdir()) == []


def test_when_written_expect_its_size(tmp_path):
    raws = [serialise(value)[1] for value in some_messages()]
    assert write_bag(tmp_path, some_messages()).size_bytes == sum(map(len, raws))


@pytest.mark.parametrize("stamp_ns", [0, 5, 1_700_000_000_123_456_789])
def test_when_a_message_is_stamped_expect_the_stamp_found(stamp_ns):
    assert peek_stamp_ns(serialise(EpisodeStarted(stamp_ns, 1))[1]) == stamp_ns
