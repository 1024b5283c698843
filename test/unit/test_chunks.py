"""Chunk bookkeeping: which row of which chunk is the base action of a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.chunks import ChunkBuffer, Chunking, ChunkVerdict
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import ActionChunk


def chunk(step: int, horizon: int = 6, actions: int = 2, episode_id: int = 1) -> ActionChunk:
    """Row i holds step + i / 100, so that the row in use can be recognised."""
    rows = step + np.arange(horizon, dtype=np.float32)[:, None] / 100
    return ActionChunk(0, episode_id, step, np.repeat(rows, actions, axis=1))


@pytest.fixture
def buffer() -> ChunkBuffer:
    made = ChunkBuffer(2, Chunking(4))
    made.reset(1)
    return made


def base(buffer: ChunkBuffer, step: int) -> float:
    return float(buffer.action(step)[0][0])


def test_when_steps_advance_expect_consecutive_rows(buffer):
    buffer.add(chunk(0))
    assert [base(buffer, k) for k in range(6)] == pytest.approx([0, 0.01, 0.02, 0.03, 0.04, 0.05])


def test_when_steps_advance_expect_phase_within_the_executed_part(buffer):
    buffer.add(chunk(0))
    assert [buffer.action(k)[1] for k in range(6)] == [0, 0.25, 0.5, 0.75, 0.75, 0.75]


def test_when_chunk_is_used_up_expect_none(buffer):
    buffer.add(chunk(0))
    assert buffer.action(6) is None


def test_when_nothing_arrived_expect_none(buffer):
    assert buffer.action(0) is None


def test_when_step_precedes_the_chunk_expect_none(buffer):
    buffer.add(chunk(4))
    assert buffer.action(3) is None


def test_when_new_chunk_is_late_expect_it_to_take_over_at_the_current_step(buffer):
    buffer.add(chunk(0))
    assert base(buffer, 5) == pytest.approx(0.05)  # still the old one
    assert buffer.add(chunk(4), current_step=6) is ChunkVerdict.ACCEPTED
    assert base(buffer, 6) == pytest.approx(4.02)
    assert buffer.action(6)[1] == 0.5


def test_when_last_action_of_a_chunk_was_due_expect_late(buffer):
    assert buffer.add(chunk(0), current_step=6) is ChunkVerdict.LATE
    assert buffer.add(chunk(0), current_step=5) is ChunkVerdict.ACCEPTED


def test_when_same_chunk_comes_twice_expect_duplicate(buffer):
    buffer.add(chunk(0))
    assert buffer.add(chunk(0)) is ChunkVerdict.DUPLICATE


def test_when_older_chunk_follows_expect_out_of_order_and_the_newer_kept(buffer):
    buffer.add(chunk(4), 4)
    assert buffer.add(chunk(0), 4) is ChunkVerdict.STALE
    assert base(buffer, 4) == pytest.approx(4.0)


def test_when_chunk_is_of_another_episode_expect_refusal(buffer):
    assert buffer.add(chunk(0, episode_id=2)) is ChunkVerdict.WRONG_EPISODE
    assert buffer.action(0) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_when_any_value_is_not_finite_expect_refusal(buffer, bad):
    spoiled = chunk(0)
    spoiled.actions[-1, -1] = bad
    assert buffer.add(spoiled) is ChunkVerdict.NON_FINITE
    assert buffer.action(0) is None


@pytest.mark.parametrize("shape", [(6, 3), (6, 1), (0, 2), (0, 0), (12,)])
def test_when_shape_is_wrong_expect_refusal(buffer, shape):
    odd = ActionChunk(0, 1, 0, np.zeros(shape, np.float32))
    assert buffer.add(odd) is ChunkVerdict.WRONG_SIZE


def test_when_reset_expect_old_chunk_flushed(buffer):
    buffer.add(chunk(0))
    buffer.reset(2)
    assert buffer.action(0) is None
    assert buffer.add(chunk(0, episode_id=1)) is ChunkVerdict.WRONG_EPISODE
    assert buffer.add(chunk(0, episode_id=2)) is ChunkVerdict.ACCEPTED


def test_when_chunks_are_judged_expect_each_verdict_counted(buffer):
    for given in (chunk(0), chunk(0), chunk(4), chunk(0), chunk(0, episode_id=9)):
        buffer.add(given, 4)
    assert buffer.counts == {
        ChunkVerdict.ACCEPTED: 2,
        ChunkVerdict.DUPLICATE: 1,
        ChunkVerdict.STALE: 1,
        ChunkVerdict.WRONG_EPISODE: 1,
    }


@pytest.mark.parametrize(
    ("have", "step", "fresh"),
    [
        (0, 0, True),
        (0, 3, True),
        (0, 4, False),
        (4, 4, True),
        (4, 7, True),
        (4, 8, False),
        (4, 3, False),
    ],
)
def test_when_asked_for_a_step_expect_fresh_only_with_its_own_chunk(buffer, have, step, fresh):
    buffer.add(chunk(have))
    assert buffer.is_fresh(step) is fresh


def test_when_nothing_arrived_expect_not_fresh(buffer):
    assert buffer.is_fresh(0) is False


def test_when_execute_steps_divide_time_expect_required_steps():
    assert [Chunking(4).required_chunk_step(k) for k in range(9)] == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_when_execute_steps_is_zero_expect_refusal():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        Chunking(0)


# -- prefetching ----------------------------------------------------------------------------------


def prefetching(**more) -> ChunkBuffer:
    made = ChunkBuffer(2, Chunking(4, prefetch_steps=2, **more))
    made.reset(1)
    return made


def test_when_prefetching_expect_a_chunk_asked_for_ahead_of_its_use():
    chunking = Chunking(4, prefetch_steps=2)
    assert [k for k in range(13) if chunking.is_request(k)] == [0, 4, 8, 12]
    assert [chunking.required_chunk_step(k) for k in range(12)] == [0] * 6 + [4] * 4 + [8] * 2


def test_when_a_prefetched_chunk_is_early_expect_it_to_wait_for_its_step():
    buffer = prefetching()
    buffer.add(chunk(0, horizon=8))
    buffer.add(chunk(4, horizon=8), 4)
    assert [base(buffer, k) for k in (4, 5, 6, 7)] == pytest.approx([0.04, 0.05, 4.02, 4.03])


def test_when_prefetching_expect_the_phase_to_begin_at_the_hand_over():
    buffer = prefetching()
    buffer.add(chunk(0, horizon=8))
    buffer.add(chunk(4, horizon=8), 4)
    phases = [buffer.action(k)[1] for k in range(10)]
    assert phases == [0, 0.25, 0.5, 0.75, 0.75, 0.75, 0, 0.25, 0.5, 0.75]


def test_when_nothing_else_covers_a_step_expect_the_chunk_that_is_early():
    buffer = prefetching()
    buffer.add(chunk(9, horizon=8), 9)  # asked for out of turn, because the robot was holding
    assert base(buffer, 9) == pytest.approx(9.0)
    assert buffer.action(9)[1] == 0.0


def test_when_a_chunk_cannot_last_until_the_next_expect_it_dropped_as_short():
    buffer = prefetching()
    assert buffer.add(chunk(0, horizon=5)) is ChunkVerdict.SHORT
    assert buffer.action(0) is None


# -- seams ----------------------------------------------------------------------------------------


def test_when_blending_expect_a_linear_way_from_the_old_chunk_into_the_new():
    buffer = ChunkBuffer(2, Chunking(4, blend_steps=3))
    buffer.reset(1)
    buffer.add(ActionChunk(0, 1, 0, np.zeros((8, 2), np.float32)))
    buffer.action(3)
    buffer.add(ActionChunk(0, 1, 4, np.ones((8, 2), np.float32)), 4)
    assert [base(buffer, k) for k in (4, 5, 6, 7)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_when_a_step_is_asked_for_twice_expect_the_same_blend():
    buffer = ChunkBuffer(2, Chunking(4, blend_steps=3))
    buffer.reset(1)
    buffer.add(chunk(0, horizon=8))
    buffer.action(3)
    buffer.add(chunk(4, horizon=8), 4)
    assert base(buffer, 4) == base(buffer, 4)


def test_when_the_old_chunk_ends_during_the_blend_expect_the_new_one_alone():
    buffer = ChunkBuffer(2, Chunking(4, blend_steps=3))
    buffer.reset(1)
    buffer.add(chunk(0, horizon=7))
    buffer.action(5)
    buffer.add(chunk(4, horizon=7), 6)  # late
    assert base(buffer, 6) == pytest.approx(0.75 * 0.06 + 0.25 * 4.02)
    assert base(buffer, 7) == pytest.approx(4.03)


def test_when_a_chunk_cannot_last_through_the_blend_expect_it_dropped_as_short():
    buffer = ChunkBuffer(2, Chunking(4, prefetch_steps=2, blend_steps=3))
    buffer.reset(1)
    assert buffer.add(chunk(0, horizon=8)) is ChunkVerdict.SHORT
    assert buffer.add(chunk(0, horizon=9)) is ChunkVerdict.ACCEPTED


def test_when_a_blend_is_longer_than_the_executed_part_expect_refusal():
    with pytest.raises(ConfigError, match="blend_steps 5 is more than execute_steps 4"):
        Chunking(4, blend_steps=5)


@given(execute=st.integers(1, 8), prefetch=st.integers(0, 5), data=st.data())
def test_when_chunks_are_in_time_expect_no_step_larger_than_a_blends(execute, prefetch, data):
    """Chunks are 0 and 1 in turn: each way from one to the other takes blend_steps + 1 steps."""
    chunking = Chunking(execute, prefetch, data.draw(st.integers(0, execute)))
    buffer = ChunkBuffer(1, chunking)
    buffer.reset(1)
    bases = []
    for step in range(6 * execute):
        if chunking.is_request(step):
            level = np.full((chunking.least_horizon, 1), step // execute % 2, np.float32)
            buffer.add(ActionChunk(0, 1, step, level), step)
        bases.append(base(buffer, step))
    assert np.abs(np.diff(bases)).max() <= 1 / (chunking.blend_steps + 1) + 1e-6


def test_when_ensembling_expect_the_exponentially_weighted_mean_with_the_oldest_first():
    buffer = ChunkBuffer(2, Chunking(1, temporal_ensembling=True, ensemble_decay=0.5))
    buffer.reset(1)
    for step in range(3):
        buffer.add(chunk(step), step)
    weights = np.exp(-0.5 * np.arange(3))
    expected = np.dot(weights / weights.sum(), [0.02, 1.01, 2.0])
    assert base(buffer, 2) == pytest.approx(expected, rel=1e-6)


def test_when_ensembling_expect_chunks_that_are_used_up_left_out():
    buffer = ChunkBuffer(2, Chunking(1, temporal_ensembling=True))
    buffer.reset(1)
    buffer.add(chunk(0, horizon=2))
    buffer.add(chunk(2, horizon=2), 2)
    assert base(buffer, 2) == pytest.approx(2.0)


def test_when_ensembling_and_blending_expect_refusal():
    with pytest.raises(ConfigError, match="set blend_steps to 0"):
        Chunking(4, blend_steps=1, temporal_ensembling=True)


@given(
    chunking=st.integers(1, 9).flatmap(
        lambda execute: st.builds(Chunking, st.just(execute), st.integers(0, 6), st.integers(0, min(execute, 3)))
    ),
    delays=st.lists(st.integers(0, 8), min_size=12, max_size=12),
    spare=st.integers(0, 12),
)
def test_when_chunks_come_late_in_any_way_expect_no_row_of_another_step(chunking, delays, spare):
    """Row i holds step + i: whatever chunk is used or blended, step k gets exactly k."""
    buffer = ChunkBuffer(1, chunking)
    buffer.reset(1)
    horizon = chunking.least_horizon + spare
    arrivals: list[tuple[int, ActionChunk]] = []
    for step in range(12):
        if chunking.is_request(step):
            rows = np.arange(step, step + horizon, dtype=np.float32)[:, None]
            arrivals.append((step + delays[step], ActionChunk(0, 1, step, rows)))
        for _, given_chunk in [a for a in arrivals if a[0] == step]:
            buffer.add(given_chunk, step)
        found = buffer.action(step)
        assert found is None or found[0] == pytest.approx([step], rel=1e-6)
        if found is not None:
            assert 0.0 <= found[1] < 1.0
