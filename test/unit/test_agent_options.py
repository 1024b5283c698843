"""The agent's options: kinds of critics, actor objectives, RLPD, images, arithmetic."""

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from learning_builders import (
    ACTIONS,
    CAMERAS,
    SHAPE_WITH_IMAGES,
    STATES,
    TINY_VISION,
    constant_targets,
    copied,
    make_agent,
    observations,
    same,
    transitions,
)

from resfit_ros.learning.agent import Agent
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.hardware import matmul_precision

KINDS = ["scalar", "c51", "hl_gauss"]


def image_agent(**changes) -> Agent:
    return make_agent(scramble=False, shape=SHAPE_WITH_IMAGES, **(TINY_VISION | changes))


# --- kinds of critics --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_when_one_action_is_rewarded_expect_the_actor_to_learn_it(kind):
    """One step, reward 1 where the first joint's residual lies within 0.1 of +0.2 (scale 0.4)."""
    agent = make_agent(
        scramble=False,
        critic_kind=kind,
        value_bins=21,
        residual_scale=0.4,
        critic_lr=3e-3,
        actor_lr=3e-3,
        actor_delay=1,
        hidden_width=32,
    )
    rng = torch.Generator().manual_seed(0)
    o = ObservationBatch(torch.zeros(256, STATES), torch.zeros(256, ACTIONS), torch.zeros(256, 1))

    def success_rate() -> float:
        first = agent.residual(agent.encode(o))[:, 0]
        return ((first - 0.2).abs() < 0.1).float().mean().item()

    assert success_rate() == 0.0
    for _ in range(300):
        action = (torch.rand(256, ACTIONS, generator=rng) * 2 - 1) * 0.4
        reward = ((action[:, 0] - 0.2).abs() < 0.1).float()
        agent.update(TransitionBatch(o, action, reward, torch.zeros(256), o))
    assert success_rate() == 1.0
    best = agent.q_values(o, o.base + agent.residual(agent.encode(o))).mean()
    assert best.item() > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_when_transitions_repeat_expect_q_to_meet_the_discounted_reward(kind):
    agent = make_agent(
        scramble=False, critic_kind=kind, value_bins=21, critic_lr=3e-3, hidden_width=32, polyak=0.1
    )
    batch = transitions(reward=0.4, discount=0.0)
    for _ in range(200):
        agent.update_critic(batch)
    q = agent.q_values(batch.observation, batch.action)
    assert q.tolist() == pytest.approx([0.4] * len(q), abs=0.05)


# --- what the actor maximises ------------------------------------------------------------------


def member_values(agent: Agent, o: ObservationBatch) -> torch.Tensor:
    """Q of the policy's own action by each member, (M, B)."""
    features = agent.encode(o)
    action = o.base + agent.residual(features)
    return torch.stack([
        agent.values.value(agent.critic(features, action, torch.tensor([m])))[0]
        for m in range(agent.config.critic_ensemble)
    ]).detach()


@pytest.mark.parametrize("kind", KINDS)
def test_when_objective_is_mean_expect_the_mean_over_all_members(kind):
    agent = make_agent(actor_objective="mean", critic_kind=kind)
    by_hand = member_values(agent, observations(0)).mean().item()
    assert agent.update_actor(observations(0))["actor_loss"].item() == pytest.approx(-by_hand, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_when_objective_is_first_expect_the_first_member_alone(kind):
    agent = make_agent(actor_objective="first", critic_kind=kind)
    by_hand = member_values(agent, observations(0))[0].mean().item()
    assert agent.update_actor(observations(0))["actor_loss"].item() == pytest.approx(-by_hand, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_when_objective_is_a_random_pair_expect_the_lesser_of_two_members_per_transition(kind):
    agent = make_agent(actor_objective="random_pair_min", critic_kind=kind, critic_ensemble=4)
    torch.nn.init.zeros_(agent.critic.head.bias)  # so that no member is the least everywhere
    o = observations(0)
    q = member_values(agent, o)
    members = [(q[i], q[j]) for i in range(4) for j in range(i)]
    pairs = torch.stack([torch.minimum(a, b).mean() for a, b in members])
    assert any(pair < min(a.mean(), b.mean()) for pair, (a, b) in zip(pairs, members, strict=True))
    actor = {name: value.clone() for name, value in agent.actor.state_dict().items()}
    drawn = set()
    for _ in range(40):
        agent.actor.load_state_dict(actor)
        distance = (pairs + agent.update_actor(o)["actor_loss"]).abs()
        assert distance.min() < 1e-6
        drawn |= set((distance < 1e-6).nonzero().flatten().tolist())
    assert drawn == set(range(6))


# --- RLPD: no base policy ----------------------------------------------------------------------


def test_when_there_is_no_base_policy_expect_the_centre_of_the_range_at_the_start():
    agent = make_agent(scramble=False, rlpd=True)
    o = observations(0)
    assert (agent.start_of(o) + agent.residual(agent.encode(o))).abs().max() == 0


def test_when_there_is_no_base_policy_expect_the_whole_range_within_reach():
    agent = make_agent(rlpd=True, residual_scale=0.2)
    torch.nn.init.constant_(agent.actor.head.bias, 100.0)
    features = agent.encode(observations(0))
    assert agent.residual(features).unique().tolist() == [1.0]


def test_when_there_is_no_base_policy_expect_base_and_phase_not_seen():
    first, second = make_agent(rlpd=True), make_agent(rlpd=True)
    batch = transitions()

    def other_base(o: ObservationBatch) -> ObservationBatch:
        return dataclasses.replace(o, base=o.base + 5.0, phase=1.0 - o.phase)

    changed = dataclasses.replace(
        batch,
        observation=other_base(batch.observation),
        next_observation=other_base(batch.next_observation),
    )
    for _ in range(4):
        first.update(batch)
        second.update(changed)
    assert first.actor_updates == 2
    for name in ("actor", "critic", "target_critic"):
        assert same(getattr(first, name), copied(getattr(second, name)))


def test_when_base_is_a_view_of_the_joined_vector_expect_it_not_seen_either():
    agent = make_agent(rlpd=True)
    o = observations(0)
    joined = ObservationBatch.from_vector(o.joined(), STATES)
    torch.testing.assert_close(agent.encode(joined), agent.encode(o), rtol=0, atol=0)
    assert agent.encode(joined)[:, STATES:].abs().max() == 0


# --- images ------------------------------------------------------------------------------------


def test_when_critic_learns_from_images_expect_it_to_train_the_encoders_only_on_the_actors_side():
    agent = image_agent()
    encoder, trunk = copied(agent.actor.encoder), copied(agent.actor.trunk)
    agent.update_critic(transitions(cameras=CAMERAS))
    changed = [
        not torch.equal(a, b) for a, b in zip(agent.actor.encoder.parameters(), encoder, strict=True)
    ]
    assert changed == [True] * len(encoder)
    assert same(agent.actor.trunk, trunk)
    assert all(p.grad is None for p in agent.actor.trunk.parameters())


def test_when_actor_learns_from_images_expect_no_gradient_in_the_encoders():
    agent = image_agent()
    encoder = copied(agent.actor.encoder)
    agent.update_actor(observations(0, cameras=CAMERAS))
    assert all(p.grad is None for p in agent.actor.encoder.parameters())
    assert same(agent.actor.encoder, encoder)


def test_when_encoder_is_shared_in_an_update_expect_its_gradient_from_the_critics_alone():
    """`update` encodes once for both; the actor's loss must not leak into the encoders."""
    both, critic_only = image_agent(actor_delay=1), image_agent(actor_delay=1)
    batch = transitions(cameras=CAMERAS)
    both.update(batch)
    critic_only.update(batch, with_actor=False)
    assert (both.actor_updates, critic_only.actor_updates) == (1, 0)
    assert same(both.actor.encoder, copied(critic_only.actor.encoder))


def test_when_encoder_is_frozen_expect_it_bit_identical():
    agent = image_agent(freeze_encoder=True, actor_delay=1)
    encoder, critic = copied(agent.actor.encoder), copied(agent.critic)
    for seed in range(3):
        agent.update(transitions(seed, cameras=CAMERAS))
    assert same(agent.actor.encoder, encoder)
    assert same(agent.average_actor.encoder, encoder)
    assert not same(agent.critic, critic)


def test_when_images_are_shifted_expect_the_replayed_batch_untouched():
    agent = image_agent()
    batch = transitions(cameras=CAMERAS)
    before = [i.clone() for i in (*batch.observation.images, *batch.next_observation.images)]
    agent.update(batch)
    after = (*batch.observation.images, *batch.next_observation.images)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_when_images_are_not_used_expect_those_of_the_batch_ignored():
    plain, given = make_agent(), make_agent()
    plain.update(transitions())
    given.update(transitions(cameras=CAMERAS))
    assert same(given.critic, copied(plain.critic))


def test_when_the_rewarded_action_shows_in_the_picture_alone_expect_the_actor_to_learn_it():
    """A bright picture asks for +0.2, a dark one for -0.2; state and base action say nothing."""
    agent = image_agent(
        residual_scale=0.4, critic_lr=3e-3, actor_lr=3e-3, actor_delay=1, hidden_width=32, random_shift=0
    )
    rng = torch.Generator().manual_seed(0)
    bright = torch.arange(64) % 2 == 0
    images = tuple(
        torch.where(bright[:, None, None, None], 220, 30).to(torch.uint8).expand(64, *size, 3).contiguous()
        for size in CAMERAS
    )
    o = ObservationBatch(torch.zeros(64, STATES), torch.zeros(64, ACTIONS), torch.zeros(64, 1), images)
    wanted = torch.where(bright, 0.2, -0.2)
    for _ in range(250):
        action = (torch.rand(64, ACTIONS, generator=rng) * 2 - 1) * 0.4
        reward = ((action[:, 0] - wanted).abs() < 0.15).float()
        agent.update(TransitionBatch(o, action, reward, torch.zeros(64), o))
    first = agent.residual(agent.encode(o))[:, 0]
    assert ((first - wanted).abs() < 0.15).float().mean().item() == 1.0


# --- arithmetic --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def default_precision() -> Iterator[None]:
    """Whatever a test leaves behind, the next one starts from torch's own setting."""
    torch.backends.mkldnn.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "none"
    yield
    torch.backends.mkldnn.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "none"


def precision() -> tuple[str, str]:
    """Of this process, on CPU and GPU."""
    return (
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    )


def test_when_products_are_bfloat16_expect_losses_close_to_float32():
    def losses(**changes) -> list[float]:
        agent = make_agent(hidden_width=64, actor_delay=1, **changes)
        updates = [agent.update(transitions(seed)).metrics for seed in range(3)]
        return [float(m[name]) for m in updates for name in ("critic_loss", "actor_loss")]

    assert losses(matmul_precision="bfloat16") == pytest.approx(losses(), rel=2e-2)


def test_when_updated_in_bfloat16_expect_the_process_setting_restored_and_float32_weights():
    before = precision()
    agent = make_agent(matmul_precision="bfloat16")
    agent.update(transitions())
    assert precision() == before
    assert {p.dtype for p in agent.critic.parameters()} == {torch.float32}


def test_when_an_update_fails_in_bfloat16_expect_the_process_setting_restored():
    before = precision()
    with pytest.raises(RuntimeError, match="broken"), matmul_precision("bfloat16"):
        assert precision() == ("bf16", "tf32")
        raise RuntimeError("broken")
    assert precision() == before


def test_when_precision_is_float32_expect_no_setting_touched():
    before = precision()
    with matmul_precision("float32"):
        assert precision() == before


def test_when_members_disagree_expect_the_spread_reported():
    agent = make_agent(critic_ensemble=2)
    constant_targets(agent, [0.5, 0.5])
    with torch.no_grad():
        agent.critic.head.weight.zero_()
        agent.critic.head.bias[:, 0, 0] = torch.tensor([0.2, 0.6])
    metrics = agent.update_critic(transitions()).metrics
    assert metrics["q_mean"].item() == pytest.approx(0.4)
    assert metrics["q_spread"].item() == pytest.approx(0.2)
    assert metrics["target_mean"].item() == pytest.approx(0.7)


@pytest.mark.parametrize("kind", KINDS)
def test_when_images_are_learnt_from_in_bfloat16_expect_losses_close_to_float32(kind):
    def losses(**changes) -> list[float]:
        agent = image_agent(critic_kind=kind, actor_delay=1, **changes)
        updates = [agent.update(transitions(seed, cameras=CAMERAS)).metrics for seed in range(2)]
        assert {p.dtype for p in agent.actor.parameters()} == {torch.float32}
        return [float(m[name]) for m in updates for name in ("critic_loss", "actor_loss")]

    assert losses(matmul_precision="bfloat16") == pytest.approx(losses(), rel=2e-2, abs=2e-3)
