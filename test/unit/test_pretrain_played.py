"""Bags played over topics, one after another: the episodes of `resfit pretrain`, whatever their ids."""

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from serialised import write_bag

from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Executed, Outcome
from resfit_ros.data.played_episodes import PlayedEpisodes
from resfit_ros.data.read_bags import bag_paths, read_episodes


def episode(number: int, seed: int, outcome: Outcome = Outcome.SUCCESS, steps: int = 5) -> list:
    rng = np.random.default_rng(seed)
    return [EpisodeStarted(0, number, -1), *episode_messages(rng, steps, outcome, episode_id=number)]


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
    played = PlayedEpisodes(2)
    (once,) = heard(played, ordered)
    (again,) = heard(played, shuffled)
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
