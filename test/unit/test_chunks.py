"""Chunk bookkeeping: which row of which chunk is the base action of a step."""

import numpy as np
import pytest

from resfit_ros.core.chunks import ChunkBuffer, ChunkVerdict, required_chunk_step
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.types import ActionChunk


def chunk(step: int, horizon: int = 6, actions: int = 2, episode_id: int = 1) -> ActionChunk:
    """Row i holds step + i / 100, so that the row in use can be recognised."""
    rows = step + np.arange(horizon, dtype=np.float32)[:, None] / 100
    return ActionChunk(0, episode_id, step, np.repeat(rows, actions, axis=1))


@pytest.fixture
def buffer() -> ChunkBuffer:
    made = ChunkBuffer(action_dim=2, execute_steps=4)
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
    assert buffer.add(chunk(0), 4) is ChunkVerdict.OUT_OF_ORDER
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
        ChunkVerdict.OUT_OF_ORDER: 1,
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
    assert [required_chunk_step(k, 4) for k in range(9)] == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_when_execute_steps_is_zero_expect_refusal():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        ChunkBuffer(2, 0)
