"""Row 21: of a damaged bag the steps before the damage are used, and the damage is reported."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from mutations import MUTATIONS, flip
from serialised import serialise
from soak import count

from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_directory import count_successes
from resfit_ros.data.checked_writer import CHUNK_BYTES
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.mcap_scan import DamagedBag
from resfit_ros.data.read_bags import bag_paths, read_episodes, read_messages

STEPS = 40
GIVEN = episode_messages(np.random.default_rng(0), STEPS, image_shape=(40, 60, 3))


@pytest.fixture
def bag(tmp_path) -> Path:
    """An episode of several chunks, recorded as the recorder does."""
    opened = EpisodeBag(tmp_path / "bags", 1, "/resfit")
    for received_ns, value in enumerate(GIVEN, start=1):
        topic, raw = serialise(value)
        opened.write(topic, received_ns, raw)
    return opened.close({"outcome": "success", "steps": str(STEPS), "scene_seed": "7"})


def readable(path: Path) -> tuple[list[bytes], str]:
    """What can be read, serialised again, and why no more."""
    values, problem = [], ""
    try:
        for value in read_messages(path):
            values.append(serialise(value)[1])
    except DamagedBag as error:
        problem = str(error)
    return values, problem


def test_when_bags_are_damaged_anywhere_expect_an_unaltered_prefix_and_the_rest_reported(bag, measured):
    original = readable(bag)[0]
    assert len(original) == len(GIVEN)
    rng, kept, silent = np.random.default_rng(0), [], 0
    times = count(10_000, 1_000)
    for i in range(times):
        copy = Path(shutil.copytree(bag, bag.parent / "copy"))
        file = next(copy.glob("*.mcap" if i % 8 else "metadata.yaml"))
        MUTATIONS[i % 4](file, rng)
        values, problem = readable(copy)
        assert values == original[: len(values)], f"mutation {i}: altered steps were handed out"
        assert problem or len(values) == len(original), f"mutation {i}: a loss was not reported"
        kept.append(len(values) / len(original))
        silent += not problem
        shutil.rmtree(copy)
    measured(
        21,
        f"{times} mutations: 0 crashes, 0 altered messages, 0 unreported losses; {silent} hit nothing that is "
        f"read; of the others' messages {np.mean([k for k in kept if k < 1]):.0%} were before the damage and kept",
    )


def test_when_a_bag_is_cut_short_expect_its_first_steps_learned_from_and_the_others_counted_as_lost(bag, measured):
    (whole,) = read_episodes([bag], 2, 3)
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    problems: list[str] = []
    (episode,) = read_episodes([bag], 2, 3, problems.append)
    (segment,) = episode.segments
    steps = len(segment)
    assert 15 < steps < 27
    assert (episode.end.outcome, episode.end.steps, episode.steps_lost) == (Outcome.SUCCESS, STEPS, STEPS - steps)
    assert not segment.terminal and not segment.rewards.any()  # the reward was at the end
    np.testing.assert_array_equal(segment.states, whole.segments[0].states[: steps + 1])
    np.testing.assert_array_equal(segment.actions, whole.segments[0].actions[:steps])
    assert len(problems) == 1 and str(file) in problems[0]
    measured(21, f"cut at 67 %: {steps} of {STEPS} steps kept, {episode.steps_lost} reported as lost")


def test_when_metadata_are_damaged_too_expect_the_steps_kept_as_a_timeout(bag):
    (bag / "metadata.yaml").write_bytes(b"\xff\xfe{")
    file = next(bag.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    (episode,) = read_episodes([bag], 2, 3, lambda _: None)
    assert episode.end.outcome is Outcome.TIMEOUT
    assert episode.steps_lost <= 1  # the step during which the file ends
    assert not episode.segments[0].terminal
    assert count_successes(bag.parent) == 0


def test_when_one_of_three_bags_is_damaged_expect_the_other_two_whole(bag):
    for name in ("episode_000002", "episode_000003"):
        shutil.copytree(bag, bag.parent / name)
    for file in bag.parent.glob("episode_000002/*.mcap"):
        file.write_bytes(b"")
    problems: list[str] = []
    first, third = read_episodes(bag_paths(bag.parent), 2, 3, problems.append)
    assert_same_segments(first.segments, third.segments)
    assert len(problems) == 1 and "episode_000002" in problems[0]


def test_when_nobody_takes_the_report_expect_a_damaged_bag_refused(bag):
    flip(next(bag.glob("*.mcap")), np.random.default_rng(3))
    with pytest.raises(DamagedBag, match="restore it from a copy"):
        list(read_episodes([bag], 2, 3))


def test_when_a_recorder_is_killed_expect_all_but_the_begun_chunk_on_disk(tmp_path, measured):
    opened = EpisodeBag(tmp_path / "bags", 1, "/resfit")
    raws = [serialise(value) for value in GIVEN]
    for received_ns, (topic, raw) in enumerate(raws, start=1):
        opened.write(topic, received_ns, raw)
    # Never closed: what is on disk now is what a kill leaves.
    values, problem = readable(tmp_path / "bags" / ".partial" / "episode_000001")
    lost = sum(len(raw) + 31 for _, raw in raws[len(values) :])
    assert problem and lost <= CHUNK_BYTES
    messages = len(raws) - len(values)
    measured(21, f"killed recorder: the last {lost} bytes ({messages} messages) are lost, at most 64 KiB")


def test_when_chunks_are_checked_expect_what_rosbags_reads(bag, measured):
    """What it costs is printed, not asserted."""
    from rosbags.highlevel import AnyReader

    begin = time.perf_counter()
    values, _ = readable(bag)
    ours = time.perf_counter() - begin
    begin = time.perf_counter()
    with AnyReader([bag]) as reader:
        others = [reader.deserialize(raw, connection.msgtype) for connection, _, raw in reader.messages()]
    theirs = time.perf_counter() - begin
    assert len(values) == len(others) == len(GIVEN)
    times = f"{ours * 1e3:.0f} ms with checks, {theirs * 1e3:.0f} ms by rosbags"
    measured(21, f"reading a bag of {len(GIVEN)} messages: {times}")
