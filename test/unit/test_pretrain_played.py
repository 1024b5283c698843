"""Bags played over topics, one after another: the episodes of `resfit pretrain`, whatever their ids."""

import dataclasses

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from serialised import write_bag

from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Executed, Outcome
from resfit_ros.data.played_episodes import PlayedEpisodes
from resfit_ros.data.read_bags import bag_paths, read_episodes


def episode(number: int, seed: int, outcome: Outcome = Outcome.SUCCESS, steps: int = 5) -> list:
    rng = np.random.default_rng(seed)
    return [EpisodeStarted(1_000_000_000, number, -1), *episode_messages(rng, steps, outcome, episode_id=number)]


def heard(played: PlayedEpisodes, messages) -> list:
    return [e for m in messages for e in played.add(m)]


def test_when_two_folders_count_alike_expect_the_episodes_of_both_as_read_from_files(tmp_path):
    played, live, read = PlayedEpisodes(2), [], []
    for folder in range(2):
        for number in (1, 2, 3):
            given = episode(number, seed=10 * folder + number)
            write_bag(tmp_path / str(folder), given[1:], episode_id=number)
            live += heard(played, given)
        read += read_episodes(bag_paths(tmp_path / str(folder)), 2, 3)
    assert len(live) == len(read) == 6
    for ours, theirs in zip(live, read, strict=True):
        assert ours.end == theirs.end
        assert_same_segments(ours.segments, theirs.segments)


@pytest.mark.parametrize("seed", range(5))
def test_when_messages_of_an_episode_arrive_in_any_order_expect_the_same_episode(seed):
    ordered = episode(1, seed=1)
    # Messages of one topic keep their order: the beginning comes before the end.
    started, *rest = ordered
    shuffled = [rest[i] for i in np.random.default_rng(seed).permutation(len(rest))]
    shuffled.insert(next(i for i, m in enumerate(shuffled) if isinstance(m, EpisodeEnded)), started)
    (once,) = heard(PlayedEpisodes(2), ordered)
    (again,) = heard(PlayedEpisodes(2), shuffled)
    assert_same_segments(again.segments, once.segments)


def test_when_an_aborted_id_is_played_again_expect_the_new_episode():
    played = PlayedEpisodes(2)
    assert heard(played, episode(1, 1, Outcome.ABORTED)) == []
    (given,) = heard(played, episode(1, 2))
    assert given.steps_lost == 0


def without_executed(messages: list, step: int) -> list:
    return [m for m in messages if not (isinstance(m, Executed) and m.step == step)]


def test_when_a_message_is_lost_expect_the_episode_at_the_flush_and_only_once():
    played = PlayedEpisodes(2)
    assert heard(played, without_executed(episode(1, 1), 2)) == []
    (cut,) = played.flush()
    assert (cut.steps_lost, [len(s) for s in cut.segments]) == (1, [2, 2])
    assert played.flush() == []


def test_when_an_id_starts_anew_before_the_flush_expect_two_episodes_that_are_not_mixed():
    played, first, second = PlayedEpisodes(2), episode(1, 1), episode(1, 2)
    given = heard(played, without_executed(first, 2)) + heard(played, second)
    assert [e.steps_lost for e in given] == [1, 0]
    (whole,) = given[1].segments
    assert whole.states[0].tolist() == second[1].state.tolist()


def test_when_an_end_is_heard_first_expect_nothing_before_the_rest_is_there():
    played, given = PlayedEpisodes(2), episode(1, 1)
    assert isinstance(given[-1], EpisodeEnded)
    assert heard(played, given[-1:]) == []
    assert len(heard(played, given[1:-1])) == 1


def test_when_a_message_comes_twice_expect_it_counted():
    played, given = PlayedEpisodes(2), episode(1, 1)
    heard(played, [*given[:4], *given[1:4], *given[4:]])
    assert played.duplicates == 3


RESTART_NS = 3600 * 10**9  # from one recording to the next


def at_another_time(messages: list, shift_ns: int = RESTART_NS) -> list:
    return [dataclasses.replace(m, stamp_ns=m.stamp_ns + shift_ns) for m in messages]


def past_the_end(number: int, steps: int) -> list:
    """What the chain still sends in the recorder's grace: the step after the last one."""
    longer = episode(number, seed=99, steps=steps + 2)
    return [m for m in longer if getattr(m, "step", -1) >= steps and not isinstance(m, EpisodeEnded)]


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.ABORTED])
@pytest.mark.parametrize("shift_ns", [0, RESTART_NS])
def test_when_messages_come_past_the_end_expect_none_of_them_in_the_next_folders_episode(outcome, shift_ns):
    played, second = PlayedEpisodes(2), at_another_time(episode(1, 2, steps=8), shift_ns)
    strays = past_the_end(1, steps=5)
    assert [type(m).__name__ for m in strays[:3]] == ["Observation", "Action", "Executed"]
    heard(played, [*episode(1, 1, outcome), *strays])
    assert played.late == len(strays)
    (given,) = heard(played, second)
    (alone,) = heard(PlayedEpisodes(2), second)
    assert given.steps_lost == 0
    assert_same_segments(given.segments, alone.segments)


def test_when_messages_come_past_an_end_that_was_flushed_expect_them_dropped():
    played = PlayedEpisodes(2)
    heard(played, without_executed(episode(1, 1), 2))
    assert len(played.flush()) == 1
    assert heard(played, past_the_end(1, steps=5)) == []
    assert played.late == len(past_the_end(1, steps=5))


@pytest.mark.parametrize("first", [0, 4])
def test_when_a_bag_without_an_end_is_played_first_expect_the_next_one_alone(first):
    played, second = PlayedEpisodes(2), at_another_time(episode(1, 2, steps=4))
    started, *rest = second
    assert heard(played, episode(1, 1, steps=9)[:-1]) == []  # longer than the next
    # Topics may overtake each other: some of its messages are heard before its beginning.
    given = heard(played, [*rest[:first], started, *rest[first:]])
    assert [e.steps_lost for e in given] == [0]
    assert_same_segments(given[0].segments, heard(PlayedEpisodes(2), second)[0].segments)


def test_when_an_incomplete_episode_is_followed_by_its_id_expect_neither_has_messages_of_the_other():
    played, second = PlayedEpisodes(2), at_another_time(episode(1, 2))
    started, *rest = second
    given = heard(played, [*without_executed(episode(1, 1), 2), *rest[:2], started, *rest[2:]])
    assert [e.steps_lost for e in given] == [1, 0]
    assert_same_segments(given[1].segments, heard(PlayedEpisodes(2), second)[0].segments)
