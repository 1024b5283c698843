"""The agent's updates against their definitions."""

import pytest
import torch
from learning_builders import (
    BATCH,
    CAMERAS,
    SHAPE_WITH_IMAGES,
    TINY_VISION,
    constant_targets,
    copied,
    make_agent,
    observations,
    same,
    transitions,
)

from resfit_ros.learning.agent import Agent


# --- residual ----------------------------------------------------------------------------------


def test_when_agent_is_new_expect_exactly_the_base_policy():
    agent = make_agent(scramble=False)
    o = observations(0)
    assert agent.residual(agent.encode(o)).abs().max() == 0
    assert agent.average_actor(o).abs().max() == 0


@pytest.mark.parametrize("kind", ["scalar", "c51", "hl_gauss"])
def test_when_agent_has_images_and_is_new_expect_exactly_the_base_policy(kind):
    agent = make_agent(scramble=False, shape=SHAPE_WITH_IMAGES, critic_kind=kind, **TINY_VISION)
    o = observations(0, cameras=CAMERAS)
    assert agent.residual(agent.encode(o)).abs().max() == 0
    assert agent.average_actor(o).abs().max() == 0


def test_when_actor_is_trained_expect_residual_within_the_scale():
    agent = make_agent(residual_scale=0.3)
    torch.nn.init.normal_(agent.actor.head.weight, std=100.0)
    o = observations(0)
    assert 0.29 < agent.residual(agent.encode(o)).abs().max() <= 0.3


@pytest.mark.parametrize("average", [True, False])
def test_when_configured_expect_the_averaged_or_the_learning_actor_to_act(average):
    agent = make_agent(act_with_average=average)
    assert agent.behaviour_actor is (agent.average_actor if average else agent.actor)


def test_when_seeds_are_the_same_expect_the_same_networks():
    first, second = make_agent(scramble=False, seed=3), make_agent(scramble=False, seed=3)
    other = make_agent(scramble=False, seed=4)
    assert same(first.critic, copied(second.critic))
    assert not same(first.critic, copied(other.critic))


# --- target ------------------------------------------------------------------------------------


def test_when_smoothing_noise_is_large_expect_next_action_within_the_scale_of_the_base():
    agent = make_agent(residual_scale=0.2, target_noise=2.0, target_noise_clip=4.0)
    batch = transitions()
    action = agent.smoothed_next_action(batch, agent.encode(batch.next_observation))
    distance = (action - batch.next_observation.base).abs()
    assert 0.19 < distance.max() <= 0.2 + 1e-6  # rounding of base + residual


def test_when_smoothing_noise_is_clipped_expect_it_in_units_of_the_scale():
    agent = make_agent(scramble=False, residual_scale=0.2, target_noise=2.0, target_noise_clip=0.5)
    batch = transitions()
    action = agent.smoothed_next_action(batch, agent.encode(batch.next_observation))
    assert (action - batch.next_observation.base).abs().max().item() == pytest.approx(0.1, abs=1e-6)


def test_when_target_is_computed_expect_the_minimum_over_a_random_pair():
    agent = make_agent(critic_ensemble=4, critic_subset=2)
    constant_targets(agent, [0.1, 0.2, 0.3, 0.4])
    batch = transitions(reward=0.0, discount=1.0)
    minima = [round(agent.td_target(batch)[1].unique().item(), 3) for _ in range(600)]
    # Of the six pairs, three hold the lowest member, two more the second lowest.
    shares = [minima.count(value) / 600 for value in (0.1, 0.2, 0.3, 0.4)]
    assert shares == pytest.approx([3 / 6, 2 / 6, 1 / 6, 0.0], abs=0.08)


def test_when_target_is_computed_expect_the_policys_own_next_action_valued():
    agent = make_agent(critic_subset=3, target_noise=0.0, clip_targets=False)
    batch = transitions()
    o = batch.next_observation
    features = agent.encode(o)
    residual = 0.2 * agent.actor(o)
    q = agent.target_critic(features, o.base + residual)[..., 0]
    expected = 0.3 + 0.8 * torch.minimum(torch.minimum(q[0], q[1]), q[2])
    torch.testing.assert_close(agent.td_target(batch)[1], expected.detach())
    assert residual.abs().min() > 0


@pytest.mark.parametrize(
    ("reward", "discount", "clipped", "expected"),
    [
        (0.3, 0.8, True, 0.3 + 0.8 * 0.5),
        (1.0, 0.8, True, 1.0),
        (1.0, 0.8, False, 1.4),
        (1.0, 0.0, True, 1.0),
        (0.0, 0.0, True, 0.0),
        (-0.9, 0.8, True, 0.0),
        (-0.9, 0.8, False, -0.5),
    ],
)
def test_when_target_is_computed_expect_the_hand_computation(reward, discount, clipped, expected):
    agent = make_agent(critic_subset=3, clip_targets=clipped)
    constant_targets(agent, [0.7, 0.5, 0.9])
    target, _ = agent.td_target(transitions(reward=reward, discount=discount))
    assert target.tolist() == pytest.approx([expected] * BATCH)


def test_when_transition_is_terminal_expect_the_critics_not_to_matter():
    agent = make_agent(clip_targets=False)
    constant_targets(agent, [1e6, 1e6, 1e6])
    assert agent.td_target(transitions(reward=0.5, discount=0.0))[1].tolist() == [0.5] * BATCH


def test_when_subset_exceeds_the_ensemble_expect_all_members_used():
    agent = make_agent(critic_ensemble=2, critic_subset=8)
    constant_targets(agent, [0.7, 0.4])
    target, _ = agent.td_target(transitions(reward=0.0, discount=1.0))
    assert target.tolist() == pytest.approx([0.4] * BATCH)


# --- critic ------------------------------------------------------------------------------------


def test_when_critic_is_updated_expect_the_mean_square_over_members_and_batch_as_loss():
    agent = make_agent(critic_subset=3)
    constant_targets(agent, [0.5, 0.5, 0.5])
    batch = transitions()  # target 0.3 + 0.8 * 0.5
    q = agent.critic(agent.encode(batch.observation), batch.action).detach()[..., 0]
    by_hand = sum(float((q[m] - 0.7).square().mean()) for m in range(3)) / 3
    assert agent.update_critic(batch).metrics["critic_loss"].item() == pytest.approx(by_hand, rel=1e-5)


def test_when_critic_is_updated_often_expect_it_to_meet_the_target():
    agent = make_agent(scramble=False, critic_subset=3, critic_lr=3e-3, polyak=1e-6)
    constant_targets(agent, [0.5, 0.5, 0.5])
    batch = transitions()
    losses = [agent.update_critic(batch).metrics["critic_loss"].item() for _ in range(200)]
    assert losses[0] > 0.3
    assert losses[-1] < 0.01


def test_when_loss_is_averaged_over_members_expect_it_unchanged_by_their_number():
    """The mean of the squares over members, not their sum: ten equal members learn like one."""
    losses = []
    for members in (1, 10):
        agent = make_agent(critic_ensemble=members, clip_targets=False)
        constant_targets(agent, [0.5] * members)
        with torch.no_grad():
            agent.critic.head.weight.zero_()
            agent.critic.head.bias.fill_(0.1)
        losses.append(agent.update_critic(transitions()).metrics["critic_loss"].item())
    assert losses == pytest.approx([(0.3 + 0.8 * 0.5 - 0.1) ** 2] * 2)


def test_when_critic_is_updated_expect_mean_q_less_target_as_td_error():
    agent = make_agent(critic_subset=3, clip_targets=False)
    constant_targets(agent, [0.5, 0.5, 0.5])
    batch = transitions()
    q = agent.critic(agent.encode(batch.observation), batch.action).detach()[..., 0]
    by_hand = (q[0] + q[1] + q[2]) / 3 - (0.3 + 0.8 * 0.5)
    error = agent.update_critic(batch).td_error
    assert error.shape == (BATCH,)
    torch.testing.assert_close(error, by_hand)


def test_when_transitions_are_weighted_expect_each_ones_loss_scaled():
    agent = make_agent(critic_subset=3)
    constant_targets(agent, [0.5, 0.5, 0.5])
    batch = transitions(weight=torch.linspace(0.0, 1.0, BATCH))
    q = agent.critic(agent.encode(batch.observation), batch.action).detach()[..., 0]
    by_hand = sum(
        b / (BATCH - 1) * sum((float(q[m, b]) - 0.7) ** 2 for m in range(3)) / 3 for b in range(BATCH)
    )
    loss = agent.update_critic(batch).metrics["critic_loss"].item()
    assert loss == pytest.approx(by_hand / BATCH, rel=1e-5)


def test_when_weights_are_ones_expect_the_unweighted_gradient():
    plain, weighted = make_agent(), make_agent()
    plain.update_critic(transitions())
    weighted.update_critic(transitions(weight=torch.ones(BATCH)))
    assert same(weighted.critic, copied(plain.critic))


@pytest.mark.parametrize("rate", [0.005, 0.3])
def test_when_critic_is_updated_expect_the_polyak_step_exactly(rate):
    agent = make_agent(polyak=rate)
    before = copied(agent.target_critic)
    agent.update_critic(transitions())
    for old, new, target in zip(
        before, agent.critic.parameters(), agent.target_critic.parameters(), strict=True
    ):
        expected = (1 - rate) * old.double() + rate * new.detach().double()
        torch.testing.assert_close(target.double(), expected, atol=1e-7, rtol=1e-6)


def test_when_polyak_rate_is_one_expect_the_critic_itself():
    agent = make_agent(polyak=1.0)
    agent.update_critic(transitions())
    assert same(agent.target_critic, copied(agent.critic))


def test_when_critic_is_updated_expect_the_actor_unchanged():
    agent = make_agent()
    before = copied(agent.actor)
    agent.update_critic(transitions())
    assert same(agent.actor, before)
    assert all(p.grad is None for p in agent.actor.parameters())


# --- actor -------------------------------------------------------------------------------------


def test_when_actor_is_updated_expect_critic_and_its_gradients_unchanged():
    agent = make_agent()
    agent.update_critic(transitions())
    parameters = copied(agent.critic)
    gradients = [p.grad.clone() for p in agent.critic.parameters()]
    agent.update_actor(observations(0))
    assert same(agent.critic, parameters)
    assert all(
        torch.equal(p.grad, g) for p, g in zip(agent.critic.parameters(), gradients, strict=True)
    )
    assert all(p.requires_grad for p in agent.critic.parameters())


def test_when_actor_is_updated_expect_minus_mean_value_plus_penalty_as_loss():
    agent = make_agent(residual_penalty=0.5, residual_scale=0.2)
    o = observations(0)
    features = agent.encode(o)
    residual = agent.residual(features).detach()
    q = agent.critic(features, o.base + residual).detach()
    by_hand = -q.mean() + 0.5 * (residual / 0.2).square().mean()
    assert agent.update_actor(o)["actor_loss"].item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_when_actor_is_updated_expect_higher_value():
    agent = make_agent(actor_lr=1e-2, residual_scale=1.0)
    o = observations(0)
    losses = [agent.update_actor(o)["actor_loss"].item() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.01


def test_when_actor_is_updated_first_expect_the_average_to_follow_in_full():
    agent = make_agent(actor_average=0.01)
    agent.update_actor(observations(0))
    assert same(agent.average_actor, copied(agent.actor))


def test_when_actor_has_been_updated_often_expect_the_averaging_rate():
    agent = make_agent(actor_average=0.25)
    for seed in range(6):
        before = copied(agent.average_actor)
        agent.update_actor(observations(seed))
    for old, new, average in zip(
        before, agent.actor.parameters(), agent.average_actor.parameters(), strict=True
    ):
        torch.testing.assert_close(average, 0.75 * old + 0.25 * new.detach(), atol=1e-6, rtol=1e-5)


def test_when_residual_saturates_expect_it_reported():
    agent = make_agent()
    torch.nn.init.zeros_(agent.actor.head.weight)
    torch.nn.init.constant_(agent.actor.head.bias, 10.0)
    with torch.no_grad():
        agent.actor.head.bias[1] = 0.0
    metrics = agent.update_actor(observations(0))
    assert metrics["saturated_share"].item() == pytest.approx(0.5)
    assert metrics["residual_ratio"].item() == pytest.approx(0.5)


# --- schedule ----------------------------------------------------------------------------------


def test_when_updated_expect_one_actor_update_per_delay():
    agent = make_agent(actor_delay=4)
    for seed in range(10):
        agent.update(transitions(seed))
    assert (agent.critic_updates, agent.actor_updates) == (10, 2)


def test_when_actor_is_held_back_expect_it_exactly_at_the_base():
    agent = make_agent(scramble=False, actor_delay=1)
    for seed in range(5):
        agent.update(transitions(seed), with_actor=False)
    o = observations(0)
    assert agent.actor_updates == 0
    assert agent.residual(agent.encode(o)).abs().max() == 0


def test_when_everything_is_repeated_expect_identical_losses():
    def losses(agent: Agent) -> list[float]:
        return [agent.update(transitions(seed)).metrics["critic_loss"].item() for seed in range(5)]

    first, second = losses(make_agent()), losses(make_agent())
    assert first == second
    assert len(set(first)) == 5
