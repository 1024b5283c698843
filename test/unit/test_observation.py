"""State layout, joint order, poses and the newest value per source."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.observation import (
    JointOrder,
    ObservationAssembler,
    SourceValue,
    StateLayout,
    canonical_pose,
)

MS = 1_000_000
LAYOUT = StateLayout(("joint_velocities", "pose/box", "joint_positions"), 2)


def joints(stamp_ns: int, received_ns: int = 0, value: float = 1.0) -> SourceValue:
    blocks = {
        "joint_positions": np.full(2, value),
        "joint_velocities": np.full(2, -value),
    }
    return SourceValue(stamp_ns, received_ns, blocks)


def box(stamp_ns: int, received_ns: int = 0) -> SourceValue:
    return SourceValue(stamp_ns, received_ns, {"pose/box": np.arange(7.0)})


# --- layout ------------------------------------------------------------------------------------


def test_when_blocks_are_listed_expect_them_one_after_the_other():
    assert LAYOUT.size == 11
    assert LAYOUT.slice_of("joint_velocities") == slice(0, 2)
    assert LAYOUT.slice_of("pose/box") == slice(2, 9)
    assert LAYOUT.slice_of("joint_positions") == slice(9, 11)


def test_when_poses_are_listed_expect_their_names():
    assert StateLayout(("pose/box", "joint_positions", "pose/table"), 1).poses == ("box", "table")


def test_when_an_unlisted_block_is_asked_for_expect_it_named():
    with pytest.raises(ConfigError, match="'joint_efforts' is needed but not listed"):
        LAYOUT.slice_of("joint_efforts")


@pytest.mark.parametrize("blocks", [("joint_position",), ("pose",), ("joint_positions",) * 2])
def test_when_blocks_are_unknown_or_repeated_expect_refusal(blocks):
    with pytest.raises(ConfigError):
        StateLayout(blocks, 2)


# --- joints ------------------------------------------------------------------------------------


@given(st.permutations(range(5)))
def test_when_joints_come_in_any_order_expect_the_configured_one(order):
    names = [f"j{i}" for i in order]
    picked = JointOrder(["j3", "j0", "j4"]).pick(names, np.array(order, float), "positions")
    assert picked.tolist() == [3, 0, 4]


def test_when_the_order_changes_on_the_way_expect_the_new_one_followed():
    order = JointOrder(["a", "b"])
    assert order.pick(["a", "b"], np.array([1.0, 2.0]), "positions").tolist() == [1, 2]
    assert order.pick(["b", "a"], np.array([1.0, 2.0]), "positions").tolist() == [2, 1]


def test_when_a_joint_is_missing_expect_it_named():
    with pytest.raises(ShapeError, match="lacks joint 'c' \\(2 missing\\)"):
        JointOrder(["a", "c", "d"]).pick(["a", "b"], np.zeros(2), "positions")


def test_when_counts_disagree_expect_both_named():
    with pytest.raises(ShapeError, match="2 names but 1 velocities"):
        JointOrder(["a", "b"]).pick(["a", "b"], np.zeros(1), "velocities")


# --- poses -------------------------------------------------------------------------------------


@given(hnp.arrays(float, 4, elements=st.floats(-2, 2)))
def test_when_quaternion_is_any_expect_unit_length_and_one_sign(quaternion):
    assume(np.linalg.norm(quaternion) > 1e-3)
    pose = canonical_pose([1.0, 2.0, 3.0], quaternion)
    assert pose[:3].tolist() == [1.0, 2.0, 3.0]
    assert np.linalg.norm(pose[3:]) == pytest.approx(1.0)
    assert pose[6] >= 0
    assert abs(pose[3:] @ quaternion) == pytest.approx(np.linalg.norm(quaternion))


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [np.nan, 0, 0, 1], [np.inf, 0, 0, 1]])
def test_when_quaternion_is_unusable_expect_refusal(quaternion):
    with pytest.raises(ShapeError):
        canonical_pose([0, 0, 0], quaternion)


# --- newest values -----------------------------------------------------------------------------


def test_when_all_sources_are_there_expect_the_state_in_layout_order():
    assembler = ObservationAssembler(LAYOUT)
    assembler.update("joints", joints(1))
    assembler.update("pose/box", box(1))
    state = assembler.state()
    assert state.dtype == np.float32
    assert state.tolist() == [-1, -1, 0, 1, 2, 3, 4, 5, 6, 1, 1]


def test_when_a_value_is_older_than_the_stored_one_expect_it_ignored():
    assembler = ObservationAssembler(StateLayout(("joint_positions",), 2))
    assembler.update("joints", joints(10, value=2.0))
    assembler.update("joints", joints(9, value=3.0))
    assert assembler.state().tolist() == [2, 2]
    assert assembler.stamps() == [10]


def test_when_sources_never_came_expect_them_missing():
    assembler = ObservationAssembler(LAYOUT, ["wrist"])
    assembler.update("joints", joints(1))
    assert assembler.missing(0, 200 * MS) == ["pose/box", "wrist"]


@pytest.mark.parametrize(("age_ms", "missing"), [(200, []), (201, ["joints"])])
def test_when_a_source_is_too_old_expect_it_missing(age_ms, missing):
    assembler = ObservationAssembler(StateLayout(("joint_positions",), 2))
    assembler.update("joints", joints(1, received_ns=1000))
    assert assembler.missing(1000 + age_ms * MS, 200 * MS) == missing


@pytest.mark.parametrize(("not_before", "missing"), [(5, []), (6, ["joints"])])
def test_when_a_value_is_from_before_the_episode_expect_it_missing(not_before, missing):
    assembler = ObservationAssembler(StateLayout(("joint_positions",), 2))
    assembler.update("joints", joints(5))
    assert assembler.missing(0, 200 * MS, not_before) == missing


def test_when_asked_for_ages_expect_seconds_per_source():
    assembler = ObservationAssembler(LAYOUT)
    assembler.update("joints", joints(1, received_ns=0))
    joint_age, box_age = assembler.ages_s(30 * MS)
    assert joint_age == pytest.approx(0.03)
    assert np.isnan(box_age)


def test_when_there_are_cameras_expect_their_newest_images_in_order():
    assembler = ObservationAssembler(StateLayout(("joint_positions",), 2), ["left", "right"])
    for i, name in enumerate(("right", "left")):
        assembler.update(name, SourceValue(1, 0, {"image": np.full((2, 2, 3), i, np.uint8)}))
    assert [int(image[0, 0, 0]) for image in assembler.images()] == [1, 0]


def test_when_only_poses_are_needed_expect_no_joint_source():
    assert ObservationAssembler(StateLayout(("pose/box",), 2)).sources == ("pose/box",)
