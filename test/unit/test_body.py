"""Poses are judged by the exact distances of simple bodies."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import Reason

pytest.importorskip("pinocchio", reason="pip install pin")
from resfit_ros.robot.body import BodyGuard  # noqa: E402

CARTS = (Path(__file__).parent / "bodies" / "two_carts.urdf").read_text()
SLIDES = ("slide_a", "slide_b")
BALL = '<sphere radius="0.1"/>'


def carts(joints=SLIDES, text=CARTS, **options) -> BodyGuard:
    return BodyGuard(text, joints, **options)


def reasons(guard, *positions, previous=None) -> Reason:
    return guard.check(np.array(positions), None if previous is None else np.array(previous)).reasons


def boxed(*box, joints=SLIDES, **options) -> BodyGuard:
    return carts(joints, self_collision=False, workspace=box, **options)


GUARD = carts()


# -- self-collision -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "expected"),
    ((0.0101, Reason.NONE), (0.0099, Reason.COLLISION), (0.0, Reason.COLLISION), (-0.15, Reason.COLLISION)),
)
def test_when_links_come_near_expect_collision_below_the_least_distance(gap, expected):
    assert reasons(carts(), 0.8 - gap, 0.0) == expected


def test_when_the_least_distance_is_zero_expect_links_to_come_close():
    guard = carts(min_distance_m=0.0)
    assert reasons(guard, 0.7999, 0.0) == Reason.NONE
    assert reasons(guard, 0.8001, 0.0) == Reason.COLLISION


def test_when_links_are_too_near_expect_both_and_the_distance_named():
    words = carts().check(np.array([0.8 - 0.0042, 0.0])).words
    assert words == "links 'cart_a' and 'cart_b' 4.2 mm apart (at least 10 mm)"


def test_when_links_overlap_expect_by_how_much():
    words = carts().check(np.array([0.82, 0.0])).words
    assert words == "links 'cart_a' and 'cart_b' overlap by 20.0 mm (at least 10 mm)"


def test_when_a_continuous_joint_turns_expect_its_link_to_follow():
    # The tip of the flag, 0.5 m from cart_a, touches cart_b 0.65 m away when it points there.
    guard = carts(("slide_a", "slide_b", "turn"))
    assert reasons(guard, 0.36, 0.0, -math.pi / 2) == Reason.COLLISION
    assert reasons(guard, 0.36, 0.0, 0.0) == Reason.NONE
    assert reasons(guard, 0.36, 0.0, -math.pi / 2 + 8 * math.pi) == Reason.COLLISION


def test_when_a_joint_is_not_controlled_expect_its_fixed_position():
    assert reasons(carts(fixed_positions={"turn": -math.pi / 2}), 0.36, 0.0) == Reason.COLLISION
    assert reasons(carts(), 0.36, 0.0) == Reason.NONE


def test_when_joints_come_in_another_order_expect_it_kept():
    guard = carts(("slide_b", "slide_a"))
    assert reasons(guard, 0.0, 0.85) == Reason.COLLISION
    assert reasons(guard, 0.85, 0.0) == Reason.NONE


def test_when_links_are_joined_expect_them_ignored_and_listed():
    text = CARTS.replace('<link name="flag"/>', f'<link name="flag">{collision(BALL)}</link>')
    guard = carts(("turn",), text=text)
    assert ("cart_a", "flag", "joined by joint 'turn'") in guard.ignored


def collision(shape: str) -> str:
    return f"<collision><geometry>{shape}</geometry></collision>"


def test_when_no_joint_lies_between_links_expect_them_neither_watched_nor_listed():
    guard = carts(("turn",))  # the carts stay where they are
    assert guard.watched == (("cart_a", "flag_tip"), ("cart_b", "flag_tip"), ("flag_tip", "lift"))
    assert guard.ignored == ()


def test_when_links_are_near_at_rest_expect_them_ignored_and_listed():
    guard = carts(text=CARTS.replace('<origin xyz="1 0 0"/>', '<origin xyz="0.205 0 0"/>'))
    assert guard.ignored == (("cart_a", "cart_b", "nearer than 10 mm at rest"),)
    assert reasons(guard, 0.1, 0.0) == Reason.NONE


def test_when_a_rest_position_is_given_expect_distances_there_to_count():
    guard = carts(rest_position=np.array([0.8, 0.0]))
    assert [pair[:2] for pair in guard.ignored] == [("cart_a", "cart_b")]


def test_when_zero_is_outside_the_limits_expect_rest_at_the_nearest_limit():
    guard = carts(text=CARTS.replace('lower="-2" upper="2"', 'lower="0.8" upper="2"', 1))
    assert [pair[:2] for pair in guard.ignored] == [("cart_a", "cart_b")]


def test_when_a_pair_is_configured_as_ignored_expect_it_listed_and_not_checked():
    guard = carts(ignored_pairs=(("cart_b", "cart_a"),))
    assert guard.ignored == (("cart_a", "cart_b", "configured"),)
    assert reasons(guard, 0.85, 0.0) == Reason.NONE


# -- getting out ----------------------------------------------------------------------------


def test_when_already_too_near_expect_only_moves_apart_to_pass():
    guard = carts()
    assert reasons(guard, 0.8, 0.0, previous=(0.81, 0.0)) == Reason.NONE
    assert reasons(guard, 0.81, 0.0, previous=(0.81, 0.0)) == Reason.COLLISION
    assert reasons(guard, 0.811, 0.0, previous=(0.81, 0.0)) == Reason.COLLISION


def test_when_already_too_near_expect_words_that_say_the_way_out():
    verdict = carts().check(np.array([0.81, 0.0]), np.array([0.805, 0.0]))
    assert verdict.words.endswith("; only a move away passes")


def test_when_the_way_before_was_clear_expect_no_escape():
    assert reasons(carts(), 0.795, 0.0, previous=(0.78, 0.0)) == Reason.COLLISION


def test_when_a_move_apart_leads_into_another_pair_expect_collision():
    # Away from cart_b, but the flag's tip turns into it.
    guard = carts(("slide_a", "slide_b", "turn"))
    before = (0.795, 0.0, 0.0)
    assert reasons(guard, 0.36, 0.0, -math.pi / 2, previous=before) == Reason.COLLISION


def test_when_outside_on_two_sides_expect_a_gain_on_one_without_a_loss_to_pass():
    guard = boxed(-0.5, -3, -3, 0.5, 3, 0.9, workspace_links=("cart_a", "lift"))
    before = (0.6, 0.3)  # cart_a at x 0.6, lift at z 1.1
    both = Reason.WORKSPACE
    assert reasons(guard, 0.59, 0.3, previous=before) == Reason.NONE
    assert reasons(guard, 0.6, 0.29, previous=before) == Reason.NONE
    assert reasons(guard, 0.59, 0.31, previous=before) == both
    assert reasons(guard, *before, previous=before) == both


@given(st.floats(0.791, 0.95), st.floats(0.791, 0.95))
def test_when_too_near_expect_exactly_the_moves_that_widen_the_gap_to_pass(before, after):
    assume(abs(before - after) > 1e-5)  # well above the noise of computed distances
    assert (reasons(GUARD, after, 0.0, previous=(before, 0.0)) == Reason.NONE) == (after < before)


# -- workspace ------------------------------------------------------------------------------


def test_when_a_link_leaves_the_box_expect_workspace_and_the_side_named():
    verdict = boxed(-0.5, -3, -3, 1.5, 3, 3).check(np.array([-0.512, 0.0]))
    assert verdict.reasons == Reason.WORKSPACE
    assert verdict.words.startswith("link 'cart_a' outside the workspace (x -0.512 m, at least -0.5 m)")


def test_when_a_link_is_on_the_side_of_the_box_expect_nothing():
    assert reasons(boxed(-0.5, -3, -3, 1.5, 3, 3), -0.5, 0.5) == Reason.NONE


def test_when_a_mimic_joint_follows_expect_its_link_there():
    # The lift is at 0.5 m + 2 * slide_b.
    guard = boxed(-9, -9, -9, 9, 9, 0.9, workspace_links=("lift",))
    assert reasons(guard, 0.0, 0.199) == Reason.NONE
    verdict = guard.check(np.array([0.0, 0.201]))
    assert verdict.words == "link 'lift' outside the workspace (z 0.902 m, at most 0.9 m)"


def test_when_links_are_chosen_expect_the_others_free():
    guard = boxed(-0.5, -3, -3, 0.5, 3, 3, workspace_links=("cart_a",))
    assert reasons(guard, 0.0, 1.0) == Reason.NONE


def test_when_no_link_is_chosen_expect_the_immovable_base_free():
    guard = boxed(0.1, -3, -3, 3, 3, 3)  # rail at 0, lift at x 0 though
    assert "rail" not in guard.check(np.array([0.2, 0.0])).words
    assert "lift" in guard.check(np.array([0.2, 0.0])).words


def test_when_much_is_wrong_expect_both_reasons_and_the_worst_first():
    guard = carts(workspace=(-0.1, -0.1, -0.1, 0.1, 0.1, 0.1))
    verdict = guard.check(np.array([0.8, 0.0]))
    assert verdict.reasons == Reason.COLLISION | Reason.WORKSPACE
    assert verdict.words.startswith("link 'lift' outside the workspace (y -2.000 m, at least -0.1 m)")
    assert verdict.words.endswith(" more")


# -- paths ----------------------------------------------------------------------------------


def test_when_a_path_leads_through_a_link_expect_collision():
    guard = carts()
    assert guard.check_path(np.array([0.0, 0.0]), np.array([2.0, 0.0]), 20).reasons == Reason.COLLISION
    assert reasons(guard, 2.0, 0.0) == Reason.NONE


def test_when_a_path_leads_out_of_a_violation_expect_it_to_pass():
    assert carts().check_path(np.array([0.85, 0.0]), np.array([0.0, 0.0]), 10).reasons == Reason.NONE


def test_when_a_path_has_no_points_expect_an_error():
    with pytest.raises(ShapeError, match="at least one point"):
        carts().check_path(np.zeros(2), np.zeros(2), 0)


# -- a whole arm ----------------------------------------------------------------------------

ARM = (Path(__file__).parent / "robots" / "franka_like.urdf").read_text()
ARM_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))


def test_when_an_arm_takes_any_pose_expect_what_all_distances_say():
    import pinocchio

    guard = BodyGuard(ARM, ARM_JOINTS, min_distance_m=0.02)
    model = pinocchio.buildModelFromXML(ARM)
    bodies = pinocchio.buildGeomFromUrdfString(model, ARM, pinocchio.GeometryType.COLLISION)
    bodies.addAllCollisionPairs()
    data, distances, watched = model.createData(), bodies.createData(), set(guard.watched)
    names = [model.frames[body.parentFrame].name for body in bodies.geometryObjects]
    chosen = [
        k
        for k, pair in enumerate(bodies.collisionPairs)
        if tuple(sorted((names[pair.first], names[pair.second]))) in watched
    ]
    blocked = 0
    for pose in np.random.default_rng(0).uniform(-2.8, 2.8, (300, 7)):
        q = np.concatenate([pose, np.zeros(model.nq - 7)])
        pinocchio.computeDistances(model, data, bodies, distances, q)
        least = min(distances.distanceResults[k].min_distance for k in chosen)
        assert (guard.check(pose).reasons == Reason.COLLISION) == (least < 0.02)
        blocked += least < 0.02
    assert 10 < blocked < 290
