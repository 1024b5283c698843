"""The episode state machine."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.episode import EpisodeMachine, EpisodeState, Refusal, starts_after_reset
from resfit_ros.core.types import EpisodeEnded, Outcome

PERIOD_NS = 50_000_000
START_NS = 1_000_000_000


def stamp(step: int) -> int:
    return START_NS + step * PERIOD_NS


def running(max_steps: int = 20, observed: int = 0, **fields) -> EpisodeMachine:
    """A machine in an episode whose first `observed` observations have arrived."""
    machine = EpisodeMachine(max_steps, **fields)
    assert machine.request_start(5) is None
    machine.reset_done(START_NS)
    for step in range(observed):
        assert observe(machine, step) is None
    return machine


def observe(machine: EpisodeMachine, step: int) -> EpisodeEnded | None:
    return machine.on_observation(machine.episode_id, step, stamp(step))


def test_when_started_expect_reset_before_running():
    machine = EpisodeMachine(20)
    assert machine.request_start(5) is None
    assert machine.state is EpisodeState.RESETTING
    started = machine.reset_done(START_NS)
    assert (started.stamp_ns, started.episode_id, started.scene_seed) == (START_NS, 1, 5)
    assert machine.state is EpisodeState.RUNNING


def test_when_episodes_follow_each_other_expect_ids_counted_from_the_first():
    machine = running(first_episode_id=7)
    machine.abort("test")
    machine.request_start(6)
    assert machine.reset_done(START_NS).episode_id == 8


def test_when_start_is_asked_while_running_expect_refusal():
    machine = running()
    assert isinstance(machine.request_start(6), Refusal)
    assert (machine.state, machine.scene_seed) == (EpisodeState.RUNNING, 5)


def test_when_start_is_asked_while_resetting_expect_refusal():
    machine = EpisodeMachine(20)
    machine.request_start(5)
    assert isinstance(machine.request_start(6), Refusal)
    assert (machine.state, machine.scene_seed) == (EpisodeState.RESETTING, 5)


def test_when_reset_fails_expect_another_start_possible():
    machine = EpisodeMachine(20)
    machine.request_start(5)
    machine.reset_failed()
    assert machine.request_start(5) is None


def test_when_step_limit_is_reached_expect_timeout():
    machine = running(max_steps=4, observed=4)
    end = observe(machine, 4)
    assert (end.outcome, end.steps, end.stamp_ns) == (Outcome.TIMEOUT, 4, stamp(4))
    assert machine.state is EpisodeState.IDLE


@given(
    step=st.integers(1, 39),
    offset_ns=st.integers(1 - PERIOD_NS, 0),
    trailing=st.integers(0, 20),
    outcome=st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE]),
)
def test_when_label_overtakes_or_trails_its_observation_expect_the_same_episode(
    step, offset_ns, trailing, outcome
):
    when = stamp(step) + offset_ns
    before, after = running(max_steps=60, observed=step), running(max_steps=60, observed=step)
    assert before.on_label(outcome, when, "button") is None
    first = observe(before, step)
    for k in range(step, step + 1 + trailing):
        assert observe(after, k) is None
    second = after.on_label(outcome, when, "button")
    assert first == second
    assert (first.outcome, first.steps, first.stamp_ns) == (outcome, step, stamp(step))


def test_when_label_is_ahead_of_observations_expect_the_episode_to_go_on_until_then():
    machine = running(observed=3)
    assert machine.on_label(Outcome.SUCCESS, stamp(5), "button") is None
    assert [observe(machine, k) for k in (3, 4)] == [None, None]
    assert observe(machine, 5).steps == 5


def test_when_label_is_beyond_the_step_limit_expect_timeout():
    machine = running(max_steps=4, observed=4)
    machine.on_label(Outcome.SUCCESS, stamp(6), "button")
    assert observe(machine, 4).outcome is Outcome.TIMEOUT


def test_when_label_comes_with_the_last_observation_expect_success_not_timeout():
    machine = running(max_steps=4, observed=4)
    machine.on_label(Outcome.SUCCESS, stamp(4), "button")
    assert observe(machine, 4).outcome is Outcome.SUCCESS


@pytest.mark.parametrize("outcome", [Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED])
def test_when_labelled_before_any_action_expect_abort(outcome):
    machine = running(observed=1)
    end = machine.on_label(outcome, stamp(0), "button")
    assert (end.outcome, end.steps) == (Outcome.ABORTED, 0)


def test_when_a_label_is_meant_for_another_episode_expect_it_refused_and_the_running_one_to_go_on():
    machine = running(observed=3, first_episode_id=7)
    refusal = machine.on_label(Outcome.FAILURE, stamp(2), "button", episode_id=6)
    assert refusal == Refusal("the label is meant for episode 6; episode 7 is running")
    assert machine.state is EpisodeState.RUNNING and observe(machine, 3) is None


@pytest.mark.parametrize("meant_for", [0, 7])
def test_when_a_label_is_meant_for_the_running_episode_or_for_any_expect_it_taken(meant_for):
    machine = running(observed=3, first_episode_id=7)
    assert machine.on_label(Outcome.FAILURE, stamp(2), "button", meant_for).outcome is Outcome.FAILURE


@pytest.mark.parametrize(
    ("auto_start", "nodes", "starts"),
    [
        (False, ("residual", "evaluator"), False),
        (False, ("residual",), True),
        (True, ("residual",), True),
        (True, ("residual", "evaluator"), True),
    ],
)
def test_when_reset_expect_a_start_unless_an_evaluator_decides(auto_start, nodes, starts):
    assert starts_after_reset(auto_start, nodes) is starts


def test_when_labelled_expect_seed_and_labeller_in_the_end():
    machine = running(observed=3)
    end = machine.on_label(Outcome.FAILURE, stamp(2), "operator")
    assert (end.episode_id, end.scene_seed, end.labelled_by) == (1, 5, "operator")


def test_when_no_episode_runs_expect_label_refused():
    assert isinstance(EpisodeMachine(20).on_label(Outcome.SUCCESS, 0, "button"), Refusal)


def test_when_episode_is_over_expect_label_refused():
    machine = running(observed=3)
    machine.on_label(Outcome.SUCCESS, stamp(2), "button")
    assert isinstance(machine.on_label(Outcome.SUCCESS, stamp(2), "button"), Refusal)


def test_when_labelled_twice_expect_second_refused_and_first_kept():
    machine = running(observed=3)
    machine.on_label(Outcome.SUCCESS, stamp(3), "button")
    assert isinstance(machine.on_label(Outcome.FAILURE, stamp(3), "operator"), Refusal)
    assert observe(machine, 3).outcome is Outcome.SUCCESS


@pytest.mark.parametrize("outcome", [Outcome.NONE, Outcome.TIMEOUT])
def test_when_label_is_no_outcome_of_an_operator_expect_refusal(outcome):
    machine = running(observed=3)
    assert isinstance(machine.on_label(outcome, stamp(2), "button"), Refusal)
    assert machine.state is EpisodeState.RUNNING


def test_when_aborted_expect_the_newest_step():
    machine = running(observed=6)
    end = machine.abort("reset")
    assert (end.outcome, end.steps, end.labelled_by) == (Outcome.ABORTED, 5, "reset")
    assert machine.state is EpisodeState.IDLE


def test_when_nothing_runs_expect_abort_to_do_nothing():
    assert EpisodeMachine(20).abort("reset") is None


def test_when_observation_is_of_another_episode_expect_it_ignored():
    machine = running(max_steps=4)
    assert machine.on_observation(2, 4, stamp(4)) is None
    assert machine.steps == 0


def test_when_next_episode_starts_expect_the_old_label_forgotten():
    machine = running(max_steps=4, observed=4)
    machine.on_label(Outcome.SUCCESS, stamp(9), "button")
    observe(machine, 4)
    machine.request_start(6)
    machine.reset_done(stamp(20))
    assert machine.on_observation(2, 0, stamp(20)) is None


def test_when_episode_is_long_expect_label_of_a_recent_step_still_found():
    machine = running(max_steps=1000, observed=300)
    assert machine.on_label(Outcome.SUCCESS, stamp(250), "button").steps == 250
