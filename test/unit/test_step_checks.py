"""Steps nobody should learn from: NaN and Inf, gaps in time, other sizes."""

import dataclasses

import numpy as np
import pytest
from builders import PERIOD_NS, assert_same_segments, episode_messages
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation

STEPS = 8


def assemble(messages) -> AssembledEpisode:
    assembler = TransitionAssembler(2)
    (episode,) = [e for m in messages for e in assembler.add(m)] + assembler.flush()
    return episode


def one_episode(changed=lambda message: {}, steps: int = STEPS):
    """Messages of an episode; `changed` gives what is other in a message."""
    messages = episode_messages(np.random.default_rng(0), steps)
    return [dataclasses.replace(m, **changed(m)) for m in messages]


def steps_of(episode: AssembledEpisode) -> list[list[int]]:
    """Per segment the steps of its transitions (states begin with their step)."""
    return [segment.states[:-1, 0].astype(int).tolist() for segment in episode.segments]


def spoilt(vector: np.ndarray, value: float = np.nan) -> np.ndarray:
    vector = vector.copy()
    vector[1] = value
    return vector


@pytest.mark.parametrize(
    ("kind", "field", "left_out", "words"),
    [
        (Observation, "state", [3, 4], "state of observation 4 holds nan at place 1"),
        (Action, "base", [3, 4], "base action 4 holds nan at place 1"),
        (Executed, "action", [4], "executed action 4 holds nan at place 1"),
    ],
)
def test_when_a_value_is_not_a_number_expect_its_steps_left_out_and_named(kind, field, left_out, words):
    def change(m):
        return {field: spoilt(getattr(m, field))} if isinstance(m, kind) and m.step == 4 else {}

    episode = assemble(one_episode(change))
    assert list(episode.left_out) == left_out
    assert set(episode.left_out.values()) == {words}
    assert episode.steps_lost == 0
    assert sum(steps_of(episode), []) == [k for k in range(STEPS) if k not in left_out]


def test_when_phase_is_infinite_expect_its_steps_left_out():
    def change(m):
        return {"chunk_phase": np.inf} if isinstance(m, Action) and m.step == 5 else {}

    episode = assemble(one_episode(change))
    assert steps_of(episode) == [[0, 1, 2, 3], [6, 7]]


def test_when_the_residual_alone_is_not_finite_expect_nothing_left_out():
    def change(m):
        return {"residual": spoilt(m.residual)} if isinstance(m, Action) else {}

    episode = assemble(one_episode(change))
    assert (steps_of(episode), episode.left_out) == ([list(range(STEPS))], {})


def test_when_nan_comes_after_the_end_expect_it_passed_over():
    messages = one_episode()
    extra = Observation(10**12, 1, STEPS + 1, np.full(3, np.nan, np.float32))
    assert assemble([extra, *messages]).left_out == {}


def later(step: int, periods: float):
    """Delays everything from a step on."""

    def change(m):
        late = isinstance(m, EpisodeEnded) or m.step >= step
        return {"stamp_ns": m.stamp_ns + int(periods * PERIOD_NS)} if late else {}

    return change


@pytest.mark.parametrize(
    ("periods", "cut"), [(0.5, False), (2.9, False), (3.1, True), (100, True), (-1.5, True)]
)
def test_when_time_jumps_expect_the_step_across_left_out(periods, cut):
    episode = assemble(one_episode(later(5, periods)))
    assert steps_of(episode) == ([[0, 1, 2, 3], [5, 6, 7]] if cut else [list(range(STEPS))])
    assert list(episode.left_out) == ([4] if cut else [])


def test_when_time_jumps_expect_seconds_and_periods_named():
    episode = assemble(one_episode(later(5, 99)))
    assert episode.left_out[4] == "5.000 s between observations 4 and 5, 100 control periods"


@given(random=st.randoms(use_true_random=False), bad=st.sets(st.integers(0, STEPS - 1), max_size=3))
def test_when_shuffled_expect_the_same_steps_left_out(random, bad):
    def change(m):
        return {"action": spoilt(m.action, -np.inf)} if isinstance(m, Executed) and m.step in bad else {}

    messages = one_episode(change)
    in_order = assemble(messages)
    random.shuffle(messages)
    shuffled = assemble(messages)
    assert dict(shuffled.left_out) == dict(in_order.left_out)
    assert set(in_order.left_out) == bad
    assert_same_segments(shuffled.segments, in_order.segments)


def test_when_an_observation_has_another_size_expect_it_rejected_and_its_steps_lost():
    messages = one_episode(
        lambda m: {"state": np.zeros(4, np.float32)} if isinstance(m, Observation) and m.step == 3 else {}
    )
    episode = assemble(messages)
    assert steps_of(episode) == [[0, 1], [4, 5, 6, 7]]
    assert episode.steps_lost == 2


def test_when_an_end_speaks_of_billions_of_steps_expect_those_seen_at_once():
    messages = one_episode(lambda m: {"steps": 2**32 - 1} if isinstance(m, EpisodeEnded) else {})
    episode = assemble(messages)
    assert steps_of(episode) == [list(range(STEPS))]
    assert episode.steps_lost == 2**32 - 1 - STEPS
    assert not episode.segments[0].terminal
