"""A human drives and hands back: which action, which chunks, what is learnt."""

import dataclasses

import numpy as np
import pytest
from builders import episode_messages, identity_normaliser, make_segment, small_config
from hypothesis import given
from hypothesis import strategies as st
from test_chunk_server import Scripted, running, seen

from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.intervention import Intervention, intervention_action
from resfit_ros.core.parameter_groups import TeleopParameters
from resfit_ros.core.transitions import TransitionAssembler
from resfit_ros.core.types import Action, Executed, Mode, Reason
from resfit_ros.learning.trainer import Trainer

MS = 1_000_000
TIMEOUT = 250 * MS


def at(*position: float) -> CommandPath:
    return CommandPath(np.zeros(1), np.array([position]))


def driven() -> Intervention:
    human = Intervention(TIMEOUT, 50 * MS)
    human.receive(at(0.5, -0.5), 0)
    assert not human.handed_back(7, 0)
    return human


# -- who drives -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age_ms", "active"), [(0, True), (250, True), (251, False)])
def test_when_a_command_ages_expect_it_active_up_to_the_timeout(age_ms, active):
    assert driven().active(age_ms * MS) is active


def test_when_teleoperation_is_switched_off_expect_commands_unused():
    human = Intervention(0, 50 * MS)
    human.receive(at(0.5), 0)
    assert not human.active(0)


def test_when_a_new_intervention_begins_expect_no_way_from_the_last_ones_end():
    human = driven()
    human.receive(CommandPath(np.array([0.1]), np.array([[1.0, 1.0]])), 900 * MS)
    np.testing.assert_array_equal(human.target(900 * MS), [1.0, 1.0])


def test_when_a_human_drives_expect_the_target_as_command_beside_the_base():
    base = np.array([0.1, 0.2], np.float32)
    action = intervention_action(seen(7), base, 0.5, driven().target(MS), "/resfit/residual")
    assert action.mode is Mode.INTERVENTION
    np.testing.assert_array_equal(action.command, np.array([0.5, -0.5], np.float32))
    np.testing.assert_array_equal(action.base, base)
    assert not action.residual.any()


def test_when_lockstep_and_teleoperation_are_asked_for_expect_refusal():
    with pytest.raises(ConfigError, match="teleop needs timing realtime"):
        TeleopParameters(timing="lockstep", teleop=True)


# -- hand-back --------------------------------------------------------------------------------------


def test_when_teleoperation_falls_silent_expect_one_hand_back_and_only_later_chunks():
    human = driven()
    assert human.handed_back(12, 300 * MS)
    assert not human.handed_back(13, 350 * MS)
    assert [human.accepts(k) for k in (8, 11, 12, 16)] == [False, False, True, True]


def test_when_nobody_drove_expect_every_chunk_accepted():
    human = Intervention(TIMEOUT, 50 * MS)
    assert not human.handed_back(3, 0)
    assert human.accepts(0)


def test_when_an_episode_begins_expect_its_first_chunk_accepted():
    human = driven()
    human.handed_back(12, 300 * MS)
    human.begin_episode()
    assert human.accepts(0)
    assert not human.handed_back(0, 400 * MS)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_when_a_human_comes_and_goes_expect_chunks_from_the_newest_hand_back_on(drives):
    human, newest = Intervention(TIMEOUT, 50 * MS), 0
    for step, drive in enumerate(drives):
        now = step * 300 * MS
        if drive:
            human.receive(at(0.0), now)
        if step and drives[step - 1] and not drive:
            newest = step
        assert human.handed_back(step, now) is (newest == step and step > 0)
        assert human.first_chunk_step == newest


# -- the base policy --------------------------------------------------------------------------------


def test_when_chunks_are_flushed_expect_a_fresh_one_from_the_newest_observation_at_once():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        assert rig.next().step == 0
        rig.server.observe(seen(1))
        rig.server.observe(seen(2))
        rig.server.flush(1, 2)
        assert rig.next().step == 2


def test_when_a_flush_overtakes_its_observation_expect_the_chunk_with_that_observation():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        assert rig.next().step == 0
        rig.server.flush(1, 2)
        rig.server.observe(seen(1))
        assert rig.nothing_more()
        rig.server.observe(seen(2))
        assert rig.next().step == 2
        rig.server.observe(seen(3))
        assert rig.nothing_more()


def test_when_a_flush_is_repeated_expect_one_chunk():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.server.observe(seen(2))
        rig.server.flush(1, 2)
        assert rig.next().step == 2
        rig.server.flush(1, 2)
        assert rig.nothing_more()


def test_when_an_answer_was_under_way_at_the_flush_expect_it_discarded():
    policy = Scripted(free=False)
    with running(policy) as rig:
        rig.server.observe(seen(4))
        assert policy.entered.get(timeout=10.0) == (1, 4)
        rig.server.observe(seen(5))
        rig.server.flush(1, 5)
        policy.gate.set()
        assert rig.next().step == 5
        assert rig.nothing_more()
        assert rig.server.status().discarded == 1


def test_when_chunks_are_flushed_expect_the_policy_to_forget():
    policy = Scripted()
    with running(policy) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.server.observe(seen(2))
        rig.server.flush(1, 2)
        rig.next()
        assert policy.resets == [1, 1]


def test_when_a_flushed_step_is_observed_again_expect_the_fresh_chunk_not_the_old():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.server.observe(seen(2))
        rig.server.flush(1, 2)
        assert rig.next().step == 2
        rig.server.observe(seen(2))
        assert rig.next().step == 2


def test_when_a_flush_is_of_a_past_episode_expect_nothing():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0, episode_id=2))
        rig.next()
        rig.server.flush(1, 9)
        assert rig.nothing_more()
        assert rig.policy.resets == [2]


def test_when_the_episode_ends_before_the_flush_is_answered_expect_only_the_new_ones_chunks():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.server.flush(1, 3)
        rig.server.observe(seen(0, episode_id=2))
        assert rig.next().episode_id == 2
        rig.server.observe(seen(1, episode_id=2))
        assert rig.nothing_more()


# -- what is learnt ---------------------------------------------------------------------------------


def assembled(marked_actions: set[int], marked_executed: set[int], steps: int = 6):
    assembler, done = TransitionAssembler(2), []
    for m in episode_messages(np.random.default_rng(0), steps):
        if isinstance(m, Action) and m.step in marked_actions:
            m = dataclasses.replace(m, mode=Mode.INTERVENTION)
        if isinstance(m, Executed) and m.step in marked_executed:
            m = dataclasses.replace(m, reasons=Reason.INTERVENTION | Reason.VELOCITY_LIMIT)
        done += assembler.add(m)
    return done[0].segments[0]


def test_when_action_or_execution_is_marked_expect_the_step_an_intervention():
    segment = assembled({1, 2}, {2, 3})
    assert segment.interventions.tolist() == [False, True, True, True, False, False]


def test_when_no_interventions_are_given_expect_none():
    assert make_segment(np.random.default_rng(0), 4).interventions.tolist() == [False] * 4


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_when_stretches_are_cut_expect_exactly_the_marked_steps(marks):
    rng = np.random.default_rng(0)
    segment = make_segment(rng, len(marks), terminal=True, interventions=np.array(marks))
    parts = segment.intervention_stretches()
    assert sum(map(len, parts)) == sum(marks)
    for part in parts:
        assert len(part.states) == len(part) + 1
        assert part.interventions.all()
    driven_actions = [a for part in parts for a in part.actions.tolist()]
    assert driven_actions == segment.actions[np.array(marks)].tolist()
    assert any(p.terminal for p in parts) is marks[-1]


@pytest.mark.parametrize(
    ("demonstrations", "option", "added"), [(True, True, 3), (True, False, 0), (False, True, 0)]
)
def test_when_a_human_drove_expect_the_steps_among_the_demonstrations_where_there_are_any(
    demonstrations, option, added
):
    rng = np.random.default_rng(0)
    trainer = Trainer(small_config(interventions_as_demonstrations=option), identity_normaliser(3, 2))
    if demonstrations:
        trainer.add_demonstrations([make_segment(rng, 5)])
    before = len(trainer.demonstrations)
    trainer.add(make_segment(rng, 6, interventions=np.array([0, 1, 1, 0, 1, 0], bool)))
    assert len(trainer.demonstrations) - before == added
    assert (len(trainer.online), trainer.intervention_steps) == (6, 3)
