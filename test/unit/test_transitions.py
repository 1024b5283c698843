"""The assembler: messages in any order, twice or not at all, to segments without gaps."""

import numpy as np
import pytest
from builders import assert_same_segments, episode_messages
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation, Outcome

KINDS = {"observation": Observation, "action": Action, "executed": Executed}


def assemble(messages) -> list[AssembledEpisode]:
    """Every episode of the messages, incomplete ones at the end."""
    assembler = TransitionAssembler(2)
    return [e for m in messages for e in assembler.add(m)] + assembler.flush()


def one_episode(rng_seed: int = 0, steps: int = 8, **fields):
    return episode_messages(np.random.default_rng(rng_seed), steps, **fields)


def steps_of(episode: AssembledEpisode) -> list[list[int]]:
    """Per segment the steps of its transitions (states begin with their step)."""
    return [segment.states[:-1, 0].astype(int).tolist() for segment in episode.segments]


def without(messages, kind: type, *steps: int):
    return [m for m in messages if not (isinstance(m, kind) and m.step in steps)]


@given(
    steps=st.integers(1, 12),
    tainted=st.frozensets(st.integers(0, 11), max_size=3),
    outcome=st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE, Outcome.TIMEOUT]),
    random=st.randoms(use_true_random=False),
)
def test_when_shuffled_and_repeated_expect_the_same_segments(steps, tainted, outcome, random):
    messages = one_episode(steps=steps, tainted=tainted, outcome=outcome)
    (in_order,) = assemble(messages)
    mixed = messages + random.choices(messages, k=random.randrange(10))
    random.shuffle(mixed)
    (shuffled,) = assemble(mixed)
    assert_same_segments(shuffled.segments, in_order.segments)
    assert (shuffled.end, shuffled.steps_lost) == (in_order.end, 0)


@given(
    steps=st.integers(1, 10),
    lost=st.sets(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 10)), max_size=4),
    tainted=st.frozensets(st.integers(0, 9), max_size=2),
    random=st.randoms(use_true_random=False),
)
def test_when_messages_are_lost_expect_cuts_there_and_each_step_counted(steps, lost, tainted, random):
    messages = one_episode(steps=steps, tainted=tainted)
    for kind, step in lost:
        messages = without(messages, KINDS[kind], step)
    random.shuffle(messages)

    def whole(k: int) -> bool:
        needed = {(kind, k + i) for kind in ("observation", "action") for i in (0, 1)}
        return not lost & (needed | {("executed", k)})

    usable = [k for k in range(steps) if whole(k) and k not in tainted]
    (episode,) = assemble(messages)
    assert sum(steps_of(episode), []) == usable
    assert all(np.all(np.diff(run) == 1) for run in steps_of(episode))
    assert episode.steps_lost == sum(not whole(k) for k in range(steps))


@pytest.mark.parametrize(
    ("kind", "step", "segments"),
    [
        ("observation", 0, [[1, 2, 3, 4, 5]]),
        ("observation", 3, [[0, 1], [4, 5]]),
        ("observation", 6, [[0, 1, 2, 3, 4]]),
        ("action", 3, [[0, 1], [4, 5]]),
        ("action", 6, [[0, 1, 2, 3, 4]]),
        ("executed", 3, [[0, 1, 2], [4, 5]]),
        ("executed", 5, [[0, 1, 2, 3, 4]]),
    ],
)
def test_when_one_message_is_lost_expect_these_segments(kind, step, segments):
    (episode,) = assemble(without(one_episode(steps=6), KINDS[kind], step))
    assert steps_of(episode) == segments
    assert episode.steps_lost == 6 - sum(map(len, segments))


def test_when_complete_expect_it_given_out_by_the_last_message():
    assembler = TransitionAssembler(2)
    messages = one_episode()
    assert [assembler.add(m) for m in messages[:-1]] == [[]] * (len(messages) - 1)
    (episode,) = assembler.add(messages[-1])
    assert steps_of(episode) == [list(range(8))]


def test_when_complete_expect_every_value_at_its_step():
    messages = one_episode(steps=5)
    (episode,) = assemble(messages)
    (segment,) = episode.segments
    by_kind = {kind: [m for m in messages if isinstance(m, kind)] for kind in KINDS.values()}
    np.testing.assert_array_equal(segment.states, [o.state for o in by_kind[Observation]])
    np.testing.assert_array_equal(segment.bases, [a.base for a in by_kind[Action]])
    assert segment.phases.tolist() == [a.chunk_phase for a in by_kind[Action]]


def test_when_command_was_changed_expect_the_executed_action_stored():
    messages = one_episode(steps=5)
    (episode,) = assemble(messages)
    (segment,) = episode.segments
    np.testing.assert_array_equal(
        segment.actions, [m.action for m in messages if isinstance(m, Executed)]
    )
    commands = [m.command for m in messages if isinstance(m, Action)][:-1]
    assert np.all(segment.actions != np.array(commands))


def test_when_there_are_images_expect_them_stacked_per_camera():
    messages = one_episode(steps=3, image_shape=(4, 5, 3))
    (episode,) = assemble(messages)
    (images,) = episode.segments[0].images
    np.testing.assert_array_equal(
        images, [m.images[0] for m in messages if isinstance(m, Observation)]
    )


@pytest.mark.parametrize(
    ("outcome", "rewards", "terminal"),
    [
        (Outcome.SUCCESS, [0, 0, 0, 1], True),
        (Outcome.FAILURE, [0, 0, 0, 0], True),
        (Outcome.TIMEOUT, [0, 0, 0, 0], False),
    ],
)
def test_when_episode_ends_expect_reward_and_terminal_of_its_outcome(outcome, rewards, terminal):
    (episode,) = assemble(one_episode(steps=4, outcome=outcome))
    (segment,) = episode.segments
    assert segment.rewards.tolist() == rewards
    assert segment.terminal is terminal


def test_when_cut_in_the_middle_expect_only_the_last_segment_rewarded_and_terminal():
    (episode,) = assemble(without(one_episode(steps=6), Executed, 2))
    first, last = episode.segments
    assert (first.rewards.sum(), first.terminal) == (0, False)
    assert (last.rewards.tolist(), last.terminal) == ([0, 0, 1], True)


@pytest.mark.parametrize("lost", ["observation", "action"])
def test_when_the_end_of_a_success_is_lost_expect_no_reward_and_no_terminal(lost):
    (episode,) = assemble(without(one_episode(steps=6), KINDS[lost], 6))
    (segment,) = episode.segments
    assert (segment.rewards.sum(), segment.terminal) == (0, False)


def test_when_steps_are_tainted_expect_them_left_out_but_not_lost():
    (episode,) = assemble(one_episode(steps=8, tainted=frozenset({0, 4, 5})))
    assert steps_of(episode) == [[1, 2, 3], [6, 7]]
    assert episode.steps_lost == 0


def test_when_last_step_is_tainted_expect_no_reward():
    (episode,) = assemble(one_episode(steps=4, tainted=frozenset({3})))
    assert [(s.rewards.sum(), s.terminal) for s in episode.segments] == [(0, False)]


def test_when_aborted_expect_nothing():
    assert assemble(one_episode(outcome=Outcome.ABORTED)) == []


def test_when_messages_go_beyond_the_end_expect_them_ignored():
    messages = one_episode(steps=6)
    end = next(m for m in messages if isinstance(m, EpisodeEnded))
    early = EpisodeEnded(end.stamp_ns, 1, Outcome.SUCCESS, 4)
    (episode,) = assemble([m for m in messages if m is not end] + [early])
    assert steps_of(episode) == [[0, 1, 2, 3]]
    assert episode.segments[0].rewards.tolist() == [0, 0, 0, 1]


def test_when_messages_repeat_expect_them_counted():
    assembler = TransitionAssembler(2)
    messages = one_episode(steps=3)
    for message in messages[:5] + messages[:5]:
        assembler.add(message)
    assert assembler.duplicates == 5


def test_when_messages_come_after_the_episode_was_given_out_expect_them_counted_as_late():
    assembler = TransitionAssembler(2)
    messages = one_episode(steps=3)
    for message in messages + messages[:4]:
        assembler.add(message)
    assert (assembler.late, assembler.flush()) == (4, [])


def test_when_a_later_episode_has_ended_expect_the_incomplete_one_first():
    first = without(one_episode(steps=4), Executed, 3)
    given = assemble(first + one_episode(1, steps=3, episode_id=2))
    assert [(e.end.episode_id, e.steps_lost) for e in given] == [(1, 1), (2, 0)]


@given(st.randoms(use_true_random=False))
def test_when_two_episodes_interleave_expect_both_whole_and_in_order(random):
    first, second = one_episode(steps=5), one_episode(1, steps=5, episode_id=2)
    mixed = first + second[:-1]
    random.shuffle(mixed)
    given_out = assemble([*mixed, second[-1]])
    assert [(e.end.episode_id, steps_of(e)) for e in given_out] == [
        (1, [[0, 1, 2, 3, 4]]),
        (2, [[0, 1, 2, 3, 4]]),
    ]


def test_when_the_end_is_lost_expect_the_episode_dropped_once_too_many_are_open():
    assembler = TransitionAssembler(2)
    given_out = []
    for episode_id in range(1, 9):
        messages = one_episode(steps=2, episode_id=episode_id)
        given_out += [e for m in messages[: None if episode_id == 8 else -1] for e in assembler.add(m)]
    assert [e.end.episode_id for e in given_out] == [8]
