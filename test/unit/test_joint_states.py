"""Joint states in any order, from several publishers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.joint_states import KNOWN_ORDERS, JointStates

NAMES = ("a", "b", "c")
P, V, E = "joint_positions", "joint_velocities", "joint_efforts"


def update(states: JointStates, joints: str, stamp: int = 1, received: int = 1, **fields) -> bool:
    """`joints`: one letter each; each joint's position is its letter's code."""
    given = {P: np.array([float(ord(j)) for j in joints]), V: np.zeros(0), E: np.zeros(0)}
    return states.update(list(joints), given | fields, stamp, received)


@given(st.permutations("abcxyz"))
def test_when_joints_come_in_any_order_expect_the_configured_one(order):
    states = JointStates(NAMES, [P])
    assert update(states, "".join(order))
    assert states.complete().value[P].tolist() == [97, 98, 99]


def test_when_joints_are_split_expect_a_state_once_all_are_there():
    states = JointStates(NAMES, [P])
    update(states, "ca")
    assert states.complete() is None
    assert states.missing() == ("b",)
    update(states, "bx")
    assert states.complete().value[P].tolist() == [97, 98, 99]


def test_when_parts_differ_in_age_expect_the_oldest_to_count():
    states = JointStates(NAMES, [P])
    update(states, "ab", stamp=20, received=120)
    update(states, "c", stamp=10, received=130)
    state = states.complete()
    assert (state.stamp_ns, state.received_ns) == (10, 120)
    assert states.oldest() == "c"


def test_when_no_joint_is_ours_expect_the_message_ignored():
    states = JointStates(NAMES, [P, V])
    assert not update(states, "xyz")
    assert states.missing() == NAMES


def test_when_efforts_are_not_in_the_state_expect_them_not_needed():
    assert update(JointStates(NAMES, [P]), "abc")


def test_when_velocities_are_needed_but_not_sent_expect_both_counts_named():
    with pytest.raises(ShapeError, match="3 names but 0 velocities"):
        update(JointStates(NAMES, [P, V]), "abc")


def test_when_a_message_is_older_expect_it_passed_over():
    states = JointStates(NAMES, [P])
    update(states, "abc", stamp=10)
    assert not update(states, "abc", stamp=9, joint_positions=np.zeros(3))
    assert states.complete().value[P].tolist() == [97, 98, 99]


def test_when_values_come_later_expect_states_given_out_before_unchanged():
    states = JointStates(NAMES, [P])
    update(states, "abc")
    before = states.complete()
    update(states, "abc", stamp=2, joint_positions=np.zeros(3))
    assert before.value[P].tolist() == [97, 98, 99]


def test_when_names_never_repeat_expect_memory_bounded():
    states = JointStates(NAMES, [P])
    for i in range(3 * KNOWN_ORDERS):
        states.update([f"x{i}"], {P: np.zeros(1)}, 1, 1)
    assert len(states._orders) <= KNOWN_ORDERS
