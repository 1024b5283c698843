"""What the aggregator keeps of all that arrives."""

import numpy as np
import pytest

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.sensing import Sensing
from resfit_ros.core.source_health import MS
from resfit_ros.core.types import Reason

ROS = 10**12
P = "joint_positions"


def sensing(timing: str = "realtime", state=(P, "wrench/tool"), **changes) -> Sensing:
    return Sensing(AggregatorParameters(joint_names=("a", "b"), state=state, timing=timing, **changes))


def joints(s: Sensing, now: int, names: str = "ab", stamp: int | None = None, value: float = 1.0) -> bool:
    stamp = ROS + now if stamp is None else stamp
    return s.store_joints(list(names), {P: np.full(len(names), value)}, stamp, now, ROS + now)


def wrench(s: Sensing, now: int, size: int = 6, value: float = 2.0) -> bool:
    return s.store_numbers("wrench/tool", ROS + now, np.full(size, value), now, ROS + now)


def test_when_every_source_is_there_expect_the_state_and_no_trouble():
    s = sensing()
    joints(s, 0)
    wrench(s, 0)
    assert s.trouble(0) is None
    assert s.assembler.state().tolist() == [1] * 2 + [2] * 6


def test_when_one_publisher_of_joints_falls_silent_expect_its_joint_named():
    s = sensing(state=(P,))
    for now in range(0, 400 * MS, 10 * MS):
        joints(s, now, "a")
        if now <= 100 * MS:
            joints(s, now, "b")
        assert (s.trouble(now) is not None) == (now > 300 * MS), now
    assert s.trouble(399 * MS).why == "the joint state has nothing new of joint 'b'"


def test_when_a_joint_never_came_expect_it_named():
    s = sensing(state=(P,))
    assert not joints(s, 0, "a")
    assert s.trouble(0).why == "the joint state lacks joint 'b'"


def test_when_split_joints_come_back_expect_trouble_to_end():
    s = sensing(state=(P,))
    joints(s, 0)
    assert s.trouble(300 * MS)
    for now in range(300 * MS, 400 * MS, 10 * MS):
        joints(s, now, "a")
        joints(s, now + MS, "b", stamp=ROS + now)
    assert s.trouble(400 * MS) is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_when_numbers_are_not_finite_expect_refusal_and_the_last_good_kept(value):
    s = sensing()
    joints(s, 0)
    wrench(s, 0)
    with pytest.raises(ShapeError, match="joint_positions holds NaN or Inf"):
        joints(s, 1, value=value)
    with pytest.raises(ShapeError, match="wrench/tool holds NaN or Inf"):
        wrench(s, 1, value=value)
    assert s.assembler.state().tolist() == [1] * 2 + [2] * 6


def test_when_an_array_has_another_length_expect_both_named():
    with pytest.raises(ShapeError, match="wrench/tool has 5 numbers, but 'state' says 6"):
        wrench(sensing(), 0, size=5)


def test_when_a_joint_state_is_stamped_zero_expect_it_refused():
    s = sensing(state=(P,))
    assert not joints(s, 0, stamp=0)
    assert s.trouble(0).why.startswith("the joint state is stamped zero")
    assert s.health.refused == 1


def test_when_the_clock_is_set_back_expect_everything_dropped_and_the_new_values_taken():
    s = sensing(state=(P,))
    s.clock_jumped(ROS, 0)
    joints(s, 0)
    back = ROS - 10_000 * MS
    assert s.clock_jumped(back, 10 * MS)
    assert s.trouble(10 * MS).reasons == Reason.CLOCK_JUMP
    assert s.assembler.stamps() == []
    assert s.store_joints(["a", "b"], {P: np.ones(2)}, back, 20 * MS, back)
    assert s.trouble(20 * MS) is None


def test_when_a_message_has_no_stamp_expect_the_ros_clock_of_its_arrival():
    s = sensing(state=("array/hand/2",))
    s.store_numbers("array/hand/2", None, np.zeros(2), 5, ROS)
    assert s.assembler.stamps() == [ROS]


def test_when_the_simulation_is_the_clock_expect_nothing_refused_by_age_or_stamp():
    s = sensing("lockstep", state=(P,))
    assert joints(s, 0, stamp=0)
    assert s.trouble(10**12) is None
    assert not s.clock_jumped(10**15, 0)


def test_when_no_joint_block_is_in_the_state_expect_joint_states_ignored():
    s = sensing(state=("wrench/tool",))
    assert not s.store_joints(["a", "b"], {}, ROS, 0, ROS)
