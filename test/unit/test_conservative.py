"""CQL and Cal-QL: which values are pushed down, how far, and which are not."""

import math

import numpy as np
import pytest
import torch
from builders import identity_normaliser, make_segment
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_builders import ACTIONS, BATCH, copied, make_agent, observations, transitions

from resfit_ros.learning.conservative import ObservedReturns, conservative_loss, sampled_actions
from resfit_ros.learning.diagnostics import discounted_returns
from resfit_ros.learning.replay import ReplayBuffer, sample_batch

KINDS = ({}, {"critic_kind": "c51", "value_bins": 11}, {"critic_kind": "hl_gauss", "value_bins": 11})


def constant_critic(agent, value: float) -> None:
    """Makes every (scalar) critic say `value`, whatever it is asked."""
    with torch.no_grad():
        agent.critic.head.weight.zero_()
        agent.critic.head.bias.fill_(value)


def loss_of(agent, q_data: float, observed: float | None = None) -> torch.Tensor:
    observation = observations(3)
    floor = None if observed is None else torch.full((BATCH,), observed)
    recorded = torch.full((agent.critic.members, BATCH), q_data)
    return conservative_loss(agent, observation, agent.encode(observation), recorded, floor)


def value_of(loss: torch.Tensor) -> float:
    return loss.detach().item()


def test_when_actions_are_sampled_expect_them_within_the_residuals_box_and_on_both_sides():
    agent = make_agent(conservative_actions=16, residual_scale=0.3)
    observation = observations(1)
    offsets = sampled_actions(agent, observation, agent.encode(observation)) - observation.base[:, None]
    assert offsets.shape == (BATCH, 32, ACTIONS)
    assert float(offsets.abs().max()) <= 0.3 + 1e-6
    uniform = offsets[:, :16]
    assert float(uniform.min()) < -0.25 and float(uniform.max()) > 0.25


def test_when_an_actor_is_at_rest_expect_half_of_the_actions_near_the_base():
    agent = make_agent(scramble=False, residual_scale=0.3, target_noise=0.01, target_noise_clip=0.02)
    observation = observations(1)
    offsets = sampled_actions(agent, observation, agent.encode(observation)) - observation.base[:, None]
    assert float(offsets[:, 4:].abs().max()) <= 0.3 * 0.02 + 1e-6


def test_when_there_is_no_base_policy_expect_actions_from_the_whole_range():
    agent = make_agent(rlpd=True, conservative_actions=64)
    observation = observations(1)
    actions = sampled_actions(agent, observation, agent.encode(observation))
    assert float(actions.abs().max()) <= 1.0
    assert float(actions.abs().max()) > 0.9


def test_when_all_values_are_alike_expect_their_distance_from_the_recorded_ones():
    agent = make_agent()
    constant_critic(agent, 0.7)
    assert value_of(loss_of(agent, 0.2)) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("observed", [0.9, 0.75, 0.4])
def test_when_a_return_was_observed_expect_it_as_the_least_value_of_the_policys_actions(observed):
    agent = make_agent()
    constant_critic(agent, 0.7)
    t = agent.config.conservative_temperature
    # Half of the actions are uniform, and keep their value.
    mean = (math.exp(0.7 / t) + math.exp(max(0.7, observed) / t)) / 2
    assert value_of(loss_of(agent, 0.2, observed)) == pytest.approx(t * math.log(mean) - 0.2, abs=1e-5)


@pytest.mark.parametrize("observed", [None, 0.35, 0.8])
def test_when_values_lie_below_the_observed_return_expect_only_uniform_actions_pushed(observed):
    agent = make_agent()
    constant_critic(agent, 0.3)
    loss_of(agent, 0.0, observed=observed).backward()
    ratio = 0.0 if observed is None else math.exp((observed - 0.3) / agent.config.conservative_temperature)
    pushed = 1.0 / (1.0 + ratio)
    assert float(agent.critic.head.bias.grad.sum()) == pytest.approx(pushed, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=["scalar", "c51", "hl_gauss"])
def test_when_a_step_is_taken_down_the_loss_expect_recorded_actions_valued_more_against_the_others(kind):
    agent, batch = make_agent(**kind), transitions()
    features = agent.encode(batch.observation)

    def gap() -> torch.Tensor:
        agent.generator.manual_seed(0)
        q_data = agent.values.value(agent.critic(features, batch.action))
        return conservative_loss(agent, batch.observation, features, q_data)

    before = gap()
    before.backward()
    torch.optim.SGD(agent.critic.parameters(), lr=0.01).step()
    assert value_of(gap()) < value_of(before)


def test_when_pretraining_is_over_expect_updates_without_regularisation():
    plain, conservative = make_agent(), make_agent(conservative="cql", conservative_weight=5.0)
    for seed in range(3):
        plain.update_critic(transitions(seed))
        update = conservative.update_critic(transitions(seed))
    assert "conservative_gap" not in update.metrics
    ours, theirs = copied(conservative.critic), copied(plain.critic)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_when_regularised_expect_the_td_loss_reported_without_it():
    plain, regularised = make_agent(), make_agent(conservative="cql", conservative_weight=5.0)
    regularised.conservative = True
    batch = transitions()
    ours, theirs = regularised.update_critic(batch).metrics, plain.update_critic(batch).metrics
    assert float(ours["critic_loss"]) == pytest.approx(float(theirs["critic_loss"]))
    assert float(ours["conservative_gap"]) != 0.0


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(20, 40))
def test_when_segments_are_stored_expect_the_return_of_every_transition_drawn(lengths, capacity):
    rng = np.random.default_rng(0)
    buffer = ReplayBuffer(capacity, identity_normaliser(3, 2))
    known, returns_of = ObservedReturns(capacity, 0.9), {}
    for steps in lengths:
        segment = make_segment(rng, steps, rewards=rng.random(steps).astype(np.float32))
        buffer.add(segment)
        known.add(segment)
        returns = discounted_returns(segment.rewards, 0.9)
        returns_of |= {tuple(s): r for s, r in zip(segment.states[:-1].tolist(), returns, strict=True)}
    batch, rows = sample_batch([(buffer, 32)], 2, 0.9, rng)
    expected = [returns_of[tuple(state)] for state in batch.observation.state.tolist()]
    np.testing.assert_allclose(known.of(rows.parts[0][1]), expected, rtol=1e-5)
