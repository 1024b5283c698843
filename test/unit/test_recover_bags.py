"""Unfinished bags become whole ones where the end of their episode was recorded."""

import json

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from serialised import build, header, serialise

from resfit_ros.core.transitions import TransitionAssembler
from resfit_ros.core.types import EpisodeEnded, Outcome
from resfit_ros.data.bag_about import BagAbout, custom_data, read_about
from resfit_ros.data.bag_directory import bag_ids, successful_bags
from resfit_ros.data.episode_bag import UNFINISHED, EpisodeBag, bag_name
from resfit_ros.data.interfaces import type_name, typestore
from resfit_ros.data.mcap_scan import RawMessages
from resfit_ros.data.recover_bags import go_on_from, recover
from resfit_ros.data.run_bags import RunBags

ABOUT = BagAbout(joint_names=("a", "b"), control_hz=20.0, versions={"resfit_ros": "0.1.0"})
STEPS = 30


def given(episode_id: int, outcome: Outcome = Outcome.SUCCESS) -> list:
    rng = np.random.default_rng(episode_id)
    return episode_messages(rng, STEPS, outcome, episode_id, image_shape=(48, 48, 3))


def begun(directory, values, episode_id: int = 1, namespace: str = "/resfit") -> EpisodeBag:
    """A bag that is being written, synced at the end of its episode."""
    bag = EpisodeBag(directory, episode_id, namespace, ABOUT.to_custom_data())
    for number, value in enumerate(values):
        topic, raw = serialise(value)
        bag.write(topic, 10**18 + number, raw)
        if isinstance(value, EpisodeEnded):
            bag.sync()
    return bag


def killed(bag: EpisodeBag) -> EpisodeBag:
    """As a kill leaves it: what was held back is gone, and so is the lock."""
    bag._release()
    return bag


def messages(bag) -> list[tuple[str, int, bytes]]:
    (file,) = bag.glob("*.mcap")
    return [(m.topic, m.received_ns, m.data) for m in RawMessages(file)]


def expected(values, namespace: str = "/resfit") -> list[tuple[str, int, bytes]]:
    raws = map(serialise, values)
    return [(f"{namespace}/{topic}", 10**18 + n, raw) for n, (topic, raw) in enumerate(raws)]


def test_when_the_end_was_recorded_expect_a_whole_bag_with_every_message_and_its_time(tmp_path):
    killed(begun(tmp_path, given(1), namespace="/left"))
    (result,) = recover(tmp_path)
    assert (result.is_whole, result.path) == (True, tmp_path / bag_name(1))
    assert messages(result.path) == expected(given(1), "/left")
    assert list((tmp_path / UNFINISHED).iterdir()) == []
    assert recover(tmp_path) == []


def test_when_recovered_expect_the_metadata_it_would_have_got(tmp_path):
    killed(begun(tmp_path, given(1, Outcome.TIMEOUT)))
    (result,) = recover(tmp_path)
    custom = custom_data(result.path)
    assert (custom["outcome"], custom["steps"], custom["scene_seed"]) == ("timeout", str(STEPS), "7")
    assert "killed" in custom["resfit.recovered"]
    assert read_about(result.path) == ABOUT


def test_when_recovered_expect_the_base_policy_of_its_chunks(tmp_path):
    bag = EpisodeBag(tmp_path, 1, "/resfit")
    chunk = build(
        "ActionChunk",
        header=header(5),
        episode_id=1,
        step=0,
        horizon=1,
        action_dim=2,
        actions=np.zeros(2, np.float32),
        source_id="bc",
        policy_sha256="ab" * 32,
        inference_time_s=0.1,
    )
    bag.write("action_chunk", 1, bytes(typestore().serialize_cdr(chunk, type_name("ActionChunk"))))
    for number, value in enumerate(given(1), 2):
        topic, raw = serialise(value)
        bag.write(topic, number, raw)
    bag.sync()
    killed(bag)
    (result,) = recover(tmp_path)
    assert read_about(result.path).base_policy_sha256 == "ab" * 32


def test_when_the_end_is_not_there_expect_it_kept_aside_and_no_bag(tmp_path):
    left = killed(begun(tmp_path, given(1)[:-1]))
    before = {file: file.read_bytes() for file in left.partial.iterdir()}
    (result,) = recover(tmp_path)
    assert not result.is_whole and 0 < result.messages < len(given(1))
    assert "before the episode ended" in result.note
    assert {file: file.read_bytes() for file in left.partial.iterdir()} == before
    assert (bag_ids(tmp_path), successful_bags(tmp_path)) == ([1], [])


def test_when_it_is_being_written_expect_it_left_alone(tmp_path):
    bag = begun(tmp_path, given(1))
    assert recover(tmp_path) == []
    assert messages(bag.close({"outcome": "success"})) == expected(given(1))


def test_when_the_name_is_taken_by_another_episode_expect_both_kept(tmp_path):
    finished = begun(tmp_path, given(2)[:40], 1).close({})
    kept = messages(finished)
    made = killed(begun(tmp_path / "other", given(1))).partial
    left = made.rename(tmp_path / UNFINISHED / made.name)
    (result,) = recover(tmp_path)
    assert not result.is_whole and "kept beside" in result.note
    assert messages(finished) == kept
    assert messages(left) == expected(given(1))


def test_when_all_of_it_is_in_the_finished_bag_expect_it_removed(tmp_path):
    killed(begun(tmp_path, given(1)[:50]))
    begun(tmp_path, given(1)).close({"outcome": "success"})
    assert recover(tmp_path) == []
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_when_recovery_was_itself_killed_expect_one_whole_bag(tmp_path):
    killed(begun(tmp_path, given(1)))
    killed(begun(tmp_path, given(1)[:70]))  # the copy it was making
    whole = [r.path for r in recover(tmp_path) if r.is_whole]
    assert whole == [tmp_path / bag_name(1)]
    assert messages(whole[0]) == expected(given(1))
    assert list((tmp_path / UNFINISHED).iterdir()) == []


def test_when_the_disk_cannot_be_written_expect_it_left_for_the_next_time(tmp_path, monkeypatch):
    left = killed(begun(tmp_path, given(1)))

    def refuse(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("resfit_ros.data.episode_bag.CheckedWriter.write", refuse)
        (result,) = recover(tmp_path)
    assert "not recovered yet" in result.note
    assert list((tmp_path / UNFINISHED).iterdir()) == [left.partial]
    assert recover(tmp_path)[0].is_whole


def test_when_there_is_nothing_to_recover_expect_nothing(tmp_path):
    assert recover(tmp_path / "nowhere") == []
    begun(tmp_path, given(1)).close({})
    assert recover(tmp_path) == []


def test_when_each_is_told_of_expect_one_sentence_each(tmp_path):
    killed(begun(tmp_path, given(1)))
    killed(begun(tmp_path, given(2)[:40], 2))
    said = []
    recover(tmp_path, said.append)
    assert len(said) == 2 and "recovered" in said[0] and "none is used" in said[1]


def test_when_a_learner_starts_expect_the_killed_recorders_episode_among_the_others(tmp_path):
    begun(tmp_path, given(1)).close({"outcome": "success"})
    killed(begun(tmp_path, given(2), 2))
    episodes = list(RunBags(tmp_path, 2, 3, pytest.fail).all())
    assert [e.end.episode_id for e in episodes] == [1, 2]
    assembler = TransitionAssembler(2)
    (live,) = [e for value in given(2) for e in assembler.add(value)]
    assert_same_segments(episodes[1].segments, live.segments)


# --- an episode that goes on under a new recorder -----------------------------------------------


def first_half(tmp_path) -> list[bytes]:
    left = killed(begun(tmp_path, given(1)[:60]))
    return [raw for _, _, raw in messages(left.partial)]


def test_when_the_episode_goes_on_expect_its_beginning_in_the_new_bag(tmp_path):
    before = first_half(tmp_path)
    bag = EpisodeBag(tmp_path, 1, "/resfit")
    begun_before = go_on_from(bag, tmp_path, 1, given(1)[60].stamp_ns)
    assert begun_before == (len(before), "") and before
    for number, value in enumerate(given(1)[60:]):
        topic, raw = serialise(value)
        bag.write(topic, 2 * 10**18 + number, raw)
    path = bag.close({"outcome": "success"})
    assert [raw for _, _, raw in messages(path)] == before + [serialise(v)[1] for v in given(1)[60:]]
    assert recover(tmp_path) == []
    assert list((tmp_path / UNFINISHED).iterdir()) == []


@pytest.mark.parametrize("later_s", [-10.0, 61.0, 1e6])
def test_when_it_is_of_another_run_expect_the_new_bag_empty(tmp_path, later_s):
    first_half(tmp_path)
    bag = EpisodeBag(tmp_path, 1, "/resfit")
    assert go_on_from(bag, tmp_path, 1, given(1)[60].stamp_ns + round(later_s * 1e9)).messages == 0


def test_when_about_is_damaged_expect_the_bag_all_the_same(tmp_path):
    left = killed(begun(tmp_path, given(1)))
    (left.partial / "about.json").write_text(json.dumps(["odd"])[:4])
    (result,) = recover(tmp_path)
    assert result.is_whole and custom_data(result.path)["outcome"] == "success"
