"""Prioritised replay: the sum tree against running sums, and what follows from the priorities."""

import numpy as np
import pytest
from builders import counted_segment, identity_normaliser
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError, DataError, ShapeError
from resfit_ros.learning.priorities import Priorities, SumTree
from resfit_ros.learning.replay import ReplayBuffer, sample_batch

INTEGERS = st.lists(st.integers(0, 5), min_size=1, max_size=70)  # sums of integers are exact
N_STEP, DISCOUNT = 2, 0.9


def make_buffer(steps: int, capacity: int = 20, exponent: float = 1.0) -> ReplayBuffer:
    """One segment of rows 0, 1, ...; row k is recognised by its state k."""
    buffer = ReplayBuffer(capacity, identity_normaliser(3, 2), priority_exponent=exponent)
    buffer.add(counted_segment(0, steps))
    return buffer


def drawn(batch) -> np.ndarray:
    """Rows of the batch."""
    return batch.observation.state[:, 0].int().numpy()


def set_td_errors(buffer: ReplayBuffer, td_errors: list[float]) -> None:
    """Draws until every row of 0, 1, ... is among the batch, then gives row k its TD error."""
    rng = np.random.default_rng(0)
    batch, rows = sample_batch([(buffer, 50 * len(td_errors))], N_STEP, DISCOUNT, rng)
    assert set(drawn(batch)) == set(range(len(td_errors)))
    rows.update_priorities(np.array(td_errors)[drawn(batch)])


@given(values=INTEGERS, data=st.data())
def test_when_searched_expect_slots_of_the_running_sum(values, data):
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values, float))
    assert tree.total == sum(values)
    if sum(values):
        sums = st.lists(st.integers(0, 2 * sum(values) - 1), min_size=1)
        sums = np.array(data.draw(sums)) / 2
        np.testing.assert_array_equal(
            tree.find(sums), np.searchsorted(np.cumsum(values), sums, side="right")
        )


@given(
    values=INTEGERS,
    changes=st.lists(st.tuples(st.integers(0, 69), st.integers(0, 5)), min_size=1, max_size=100),
)
def test_when_slots_are_set_twice_expect_the_last_value_and_its_sum(values, changes):
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values, float))
    changes = [(slot % len(values), value) for slot, value in changes]
    tree.set(np.array([slot for slot, _ in changes]), np.array([float(v) for _, v in changes]))
    for slot, value in changes:
        values[slot] = value
    np.testing.assert_array_equal(tree.get(np.arange(len(values))), values)
    assert tree.total == sum(values)


@given(
    values=st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 1e9)), min_size=1, max_size=40),
    share=st.floats(0.0, 1.1),
)
def test_when_sums_round_up_to_the_total_expect_no_slot_of_value_zero(values, share):
    tree = SumTree(len(values))
    tree.set(np.arange(len(values)), np.array(values))
    if tree.total > 0.0:
        found = tree.find(np.array([share * tree.total]))
        assert tree.get(found)[0] > 0.0


@pytest.mark.parametrize("exponent", [0.0, 0.6, 1.0])
def test_when_drawn_expect_frequencies_of_the_priorities(exponent):
    priorities, rng = Priorities(12, exponent), np.random.default_rng(0)
    slots, td_errors = np.arange(10), np.arange(1.0, 11.0)
    priorities.insert(np.arange(12), np.arange(12) < 10)
    priorities.update(slots, -td_errors)
    counts = np.bincount(
        np.concatenate([priorities.draw(64, rng) for _ in range(300)]), minlength=12
    )
    assert counts[10:].tolist() == [0, 0]
    expected = td_errors**exponent / np.sum(td_errors**exponent) * 64 * 300
    # 9 degrees of freedom: chance draws exceed 27.9 once in a thousand.
    assert np.sum((counts[:10] - expected) ** 2 / expected) < 27.9


def test_when_batch_is_prioritised_expect_frequencies_of_the_td_errors():
    buffer, rng = make_buffer(4), np.random.default_rng(1)
    set_td_errors(buffer, [1.0, 2.0, 3.0, 4.0])
    batch, _ = sample_batch([(buffer, 10_000)], N_STEP, DISCOUNT, rng)
    np.testing.assert_allclose(np.bincount(drawn(batch)), [1000, 2000, 3000, 4000], atol=2)


def test_when_corrected_expect_importance_weights_as_computed_by_hand():
    buffer = make_buffer(3, exponent=0.5)
    set_td_errors(buffer, [1.0, 4.0, 16.0])  # priorities 1, 2, 4 after the exponent
    batch, _ = sample_batch([(buffer, 70)], N_STEP, DISCOUNT, np.random.default_rng(1), correction=0.5)
    # (3 * 1/7) ** -0.5 is the greatest: 1, sqrt(1/2), sqrt(1/4).
    by_hand = np.array([1.0, 0.70711, 0.5])[drawn(batch)]
    np.testing.assert_allclose(batch.weight, by_hand, atol=1e-5)


def test_when_rare_rows_are_not_drawn_expect_weights_over_the_maximum_of_those_drawn():
    buffer = make_buffer(2)
    set_td_errors(buffer, [0.0, 1.0])
    batch, _ = sample_batch([(buffer, 8)], N_STEP, DISCOUNT, np.random.default_rng(1), correction=1.0)
    assert drawn(batch).tolist() == [1] * 8
    assert batch.weight.tolist() == [1.0] * 8


def test_when_one_part_is_uniform_expect_its_weights_one():
    prioritised, uniform = make_buffer(3), ReplayBuffer(20, identity_normaliser(3, 2))
    uniform.add(counted_segment(0, 3))
    set_td_errors(prioritised, [1.0, 2.0, 4.0])
    parts = [(uniform, 20), (prioritised, 70)]
    batch, _ = sample_batch(parts, N_STEP, DISCOUNT, np.random.default_rng(1), correction=1.0)
    assert batch.weight[:20].tolist() == [1.0] * 20
    by_hand = np.array([1.0, 0.5, 0.25])[drawn(batch)[20:]]
    np.testing.assert_allclose(batch.weight[20:], by_hand, atol=1e-5)


@pytest.mark.parametrize(("exponent", "correction"), [(None, 0.5), (0.6, 0.0)])
def test_when_nothing_is_corrected_expect_no_weights(exponent, correction):
    buffer = make_buffer(3, exponent=exponent)
    rng = np.random.default_rng(0)
    batch, rows = sample_batch([(buffer, 5)], N_STEP, DISCOUNT, rng, correction)
    assert batch.weight is None
    rows.update_priorities(np.ones(5))


def test_when_two_buffers_share_a_batch_expect_priorities_of_their_own():
    first, second = make_buffer(3), make_buffer(3)
    rng = np.random.default_rng(0)
    batch, rows = sample_batch([(first, 30), (second, 30)], N_STEP, DISCOUNT, rng)
    wanted = np.repeat([0, 2], 30)  # only row 0 of the first, only row 2 of the second
    rows.update_priorities(np.where(drawn(batch) == wanted, 10.0, 0.0))
    batch, _ = sample_batch([(first, 30), (second, 30)], N_STEP, DISCOUNT, rng)
    np.testing.assert_array_equal(drawn(batch), wanted)


def test_when_one_buffer_is_updated_expect_the_other_untouched():
    first, second = make_buffer(3), make_buffer(3)
    set_td_errors(first, [1.0, 2.0, 4.0])
    set_td_errors(second, [1e6, 0.0, 0.0])
    second.add(counted_segment(4, 2))
    first.add(counted_segment(4, 2))
    batch, _ = sample_batch([(first, 150)], N_STEP, DISCOUNT, np.random.default_rng(1))
    # Rows 4 and 5 got the greatest priority of the first buffer, 4: shares 1, 2, 4, 4, 4 of 15.
    np.testing.assert_allclose(np.bincount(drawn(batch))[[0, 1, 2, 4, 5]], [10, 20, 40, 40, 40], atol=2)


def test_when_rows_are_new_expect_the_greatest_priority_so_far():
    buffer = make_buffer(2)
    set_td_errors(buffer, [3.0, 3.0])
    set_td_errors(buffer, [0.5, 0.5])
    buffer.add(counted_segment(3, 1))
    batch, _ = sample_batch([(buffer, 80)], N_STEP, DISCOUNT, np.random.default_rng(1))
    # 0.5, 0.5 and 3 of 4.
    np.testing.assert_allclose(np.bincount(drawn(batch))[[0, 1, 3]], [10, 10, 60], atol=2)


def test_when_rows_were_overwritten_meanwhile_expect_their_td_errors_ignored():
    buffer = make_buffer(3, capacity=8)
    buffer.add(counted_segment(4, 3))
    rng = np.random.default_rng(0)
    before, rows = sample_batch([(buffer, 60)], N_STEP, DISCOUNT, rng)
    buffer.add(counted_segment(8, 3))  # in the slots of rows 0 to 3
    rows.update_priorities(np.where(drawn(before) < 4, 1e6, 3.0))
    batch, _ = sample_batch([(buffer, 120)], N_STEP, DISCOUNT, rng)
    # Rows 4 to 6 have 3, rows 8 to 10 still have the initial 1.
    counts = np.bincount(drawn(batch))[[4, 5, 6, 8, 9, 10]]
    np.testing.assert_allclose(counts, [30, 30, 30, 10, 10, 10], atol=2)


def test_when_ring_wraps_expect_only_stored_transitions_drawn():
    buffer, rng, first = make_buffer(5, capacity=20), np.random.default_rng(0), 6
    for steps in (3, 7, 1, 9, 4, 4, 8):
        buffer.add(counted_segment(first, steps))
        first += steps + 1
        batch, rows = sample_batch([(buffer, 200)], N_STEP, DISCOUNT, rng)
        np.testing.assert_array_equal(rows.parts[0][1], drawn(batch))
        rows.update_priorities(rng.random(200))
        last = batch.observation.state[:, 1].int().numpy()
        assert np.all(drawn(batch) < last)
        assert len(set(drawn(batch))) <= len(buffer)
        assert drawn(batch).min() >= first - 20
        assert drawn(batch).max() < first


def test_when_td_errors_are_of_another_batch_expect_refusal():
    _, rows = sample_batch([(make_buffer(3), 5)], N_STEP, DISCOUNT, np.random.default_rng(0))
    with pytest.raises(ShapeError, match=r"shape \(4,\), expected \(5,\)"):
        rows.update_priorities(np.zeros(4))


def test_when_td_errors_are_not_finite_expect_refusal():
    _, rows = sample_batch([(make_buffer(3), 5)], N_STEP, DISCOUNT, np.random.default_rng(0))
    with pytest.raises(DataError, match="2 of 5 TD errors"):
        rows.update_priorities(np.array([0.0, np.nan, 1.0, np.inf, 2.0]))


@pytest.mark.parametrize("exponent", [-0.1, 1.5, float("nan")])
def test_when_exponent_is_out_of_range_expect_refusal(exponent):
    with pytest.raises(ConfigError, match="priority_exponent"):
        Priorities(10, exponent)
