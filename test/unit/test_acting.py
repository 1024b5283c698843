"""What the actor adds to a base action, on the robot and in the in-process runner."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from resfit_ros.core.acting import ActingSchedule, base_action, residual_action
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Mode, Observation

JOINTS = 3
SCALING = Normaliser(tuple("abc"), [0.1, 0.2, 0.3], [1.0, 0.5, 2.0], [0.0], [1.0])
OBSERVATION = Observation(1_000, 7, 12, np.zeros(1, np.float32))
BASE = np.array([1.0, -1.0, 0.5], np.float32)
TRAINED = ActingSchedule(residual_scale=0.2, exploration_std=0.05, warm_up=False, version=4)
joints = hnp.arrays(np.float32, JOINTS, elements=st.floats(-100, 100, width=32))
directions = hnp.arrays(np.float32, JOINTS, elements=st.floats(-1, 1, width=32))


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def acted(proposal, noise=None, schedule=TRAINED, base=BASE):
    return residual_action(base_action(OBSERVATION, base, 0.25, "r"), proposal, noise, schedule, SCALING)


# --- the base policy alone ---------------------------------------------------------------------


@given(base=joints)
def test_when_base_acts_alone_expect_its_bytes_unchanged(base):
    before = base.tobytes()
    action = base_action(OBSERVATION, base, 0.25, "r")
    assert action.command.tobytes() == action.base.tobytes() == before
    assert not action.residual.any()


def test_when_base_acts_alone_expect_the_ids_of_the_observation():
    action = base_action(OBSERVATION, BASE, 0.25, "r")
    assert (action.stamp_ns, action.episode_id, action.step) == (1_000, 7, 12)
    assert (action.mode, action.actor_version) == (Mode.BASE, 0)
    assert (action.chunk_phase, action.source_id) == (0.25, "r")


# --- base and residual -------------------------------------------------------------------------


def test_when_residual_acts_expect_base_plus_the_bounded_residual_in_joint_units():
    action = acted(array(1.0, -0.5, 0.25))
    assert action.residual.tolist() == pytest.approx([0.2 * 1.0, -0.1 * 0.5, 0.05 * 2.0])
    assert action.command.tolist() == pytest.approx([1.2, -1.05, 0.6])
    assert action.base.tobytes() == BASE.tobytes()


def test_when_residual_acts_expect_everything_else_of_the_base_action_kept():
    action = acted(array(0.1, 0.1, 0.1))
    assert (action.stamp_ns, action.episode_id, action.step) == (1_000, 7, 12)
    assert (action.chunk_phase, action.source_id, action.actor_version) == (0.25, "r", 4)
    assert action.mode is Mode.RESIDUAL


def test_when_there_is_noise_expect_it_scaled_and_the_mode_explore():
    action = acted(array(0.5, 0.0, 0.0), noise=array(1.0, -2.0, 0.0))
    assert action.residual.tolist() == pytest.approx([0.15, -0.05, 0.0])
    assert action.mode is Mode.EXPLORE


@given(proposal=directions, noise=st.none() | joints, scale=st.floats(0.0, 1.0), std=st.floats(0.0, 2.0))
def test_when_anything_is_proposed_expect_the_residual_within_the_scale(proposal, noise, scale, std):
    schedule = ActingSchedule(scale, std, warm_up=False)
    bound = np.float32(scale) * SCALING.action_half_range * (1 + 1e-6)
    assert np.all(np.abs(acted(proposal, noise, schedule).residual) <= bound)


@given(base=joints)
def test_when_actor_is_untrained_expect_exactly_the_base_policy(base):
    base += 0.0  # -0.0 becomes 0.0, as in any sum
    assert acted(np.zeros(JOINTS, np.float32), base=base).command.tobytes() == base.tobytes()


@given(proposal=directions)
def test_when_warming_up_expect_noise_alone_whatever_is_proposed(proposal):
    warm_up = ActingSchedule(residual_scale=0.2, exploration_std=0.1)
    noise = array(1.0, -1.0, 9.0)
    assert acted(proposal, noise, warm_up).residual.tolist() == pytest.approx([0.1, -0.05, 0.4])


def test_when_proposal_is_not_a_number_expect_no_action():
    assert acted(array(0.0, np.nan, 0.0)) is None


def test_when_proposal_is_infinite_expect_it_bounded_like_any_other():
    assert acted(array(0.0, np.inf, -np.inf)).residual.tolist() == pytest.approx([0.0, 0.1, -0.4])


def test_when_noise_is_not_a_number_expect_no_action():
    assert acted(array(0.0, 0.0, 0.0), noise=array(0.0, np.nan, 0.0)) is None


# --- RLPD: no base policy ----------------------------------------------------------------------

WHOLE = ActingSchedule(residual_scale=1.0, exploration_std=0.1, warm_up=False, without_base=True)


def test_when_there_is_no_base_policy_expect_the_range_about_its_centre():
    commands = [acted(array(x, x, x), schedule=WHOLE).command for x in (-1.0, 0.0, 1.0)]
    np.testing.assert_allclose(commands[0], [-0.9, -0.3, -1.7], atol=1e-6)
    np.testing.assert_allclose(commands[1], [0.1, 0.2, 0.3], atol=1e-6)
    np.testing.assert_allclose(commands[2], [1.1, 0.7, 2.3], atol=1e-6)


@given(proposal=directions, first=joints, second=joints)
def test_when_there_is_no_base_policy_expect_a_command_that_does_not_depend_on_it(
    proposal, first, second
):
    commands = [acted(proposal, schedule=WHOLE, base=base).command for base in (first, second)]
    assert commands[0].tobytes() == commands[1].tobytes()


@given(proposal=directions, base=joints)
def test_when_there_is_no_base_policy_expect_command_less_base_as_residual(proposal, base):
    action = acted(proposal, schedule=WHOLE, base=base)
    np.testing.assert_array_equal(action.residual, action.command - base)
    assert action.base.tobytes() == base.tobytes()
    assert action.command.dtype == action.residual.dtype == np.float32


def test_when_there_is_no_base_policy_and_warming_up_expect_noise_about_the_centre():
    schedule = ActingSchedule(1.0, 0.1, warm_up=True, without_base=True)
    action = acted(array(1.0, 1.0, 1.0), array(1.0, -1.0, 0.5), schedule)
    assert action.command.tolist() == pytest.approx([0.2, 0.15, 0.4])
