"""Off-policy residual reinforcement learning: update_critic, update_actor, update.

Randomised ensembled double Q-learning (REDQ) with layer normalisation, n-step returns, Polyak
averaging and target policy smoothing, on a residual over a frozen base policy (arXiv 2509.19301,
section III).
"""

import copy
import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from resfit_ros.core.learning_config import BFLOAT16, FIRST, NONE, RANDOM_PAIR_MIN, LearningConfig
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.conservative import conservative_loss
from resfit_ros.learning.diagnostics import SATURATED_RATIO, gradient_norm, saturated_joints
from resfit_ros.learning.hardware import matmul_precision
from resfit_ros.learning.networks import CriticEnsemble, ObservationShape, ResidualActor
from resfit_ros.learning.values import make_value_head
from resfit_ros.learning.vision import random_shift

Metrics = dict[str, Tensor]


class Update(NamedTuple):
    """Scalars to watch, and the TD error of each transition, (B,)."""

    metrics: Metrics
    td_error: Tensor


class Agent:
    """Residual actor, its running average, critic ensemble and target critics.

    `actor` learns and explores; `average_actor` (running average of its weights) is evaluated.
    `residual_scale` may be changed between updates (schedule), as may `conservative` (pretraining).
    """

    def __init__(self, shape: ObservationShape, config: LearningConfig, device: str = "cpu") -> None:
        self.config = config
        self.shape = shape
        self.device = torch.device(device)
        torch.manual_seed(config.seed)
        self.generator = torch.Generator(device=self.device).manual_seed(config.seed)
        self.residual_scale = config.largest_residual
        self.conservative = False  # whether the critics learn as `config.conservative` says
        self.values = make_value_head(config)
        self.actor = ResidualActor(shape, config).to(self.device)
        self.average_actor = copy.deepcopy(self.actor).requires_grad_(False)
        features = self.actor.encoder.feature_dim
        critic = CriticEnsemble(features, shape.action_dim, self.values.initial_bias(), config)
        self.critic = critic.to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        encoder = list(self.actor.encoder.parameters())
        self.trains_encoder = bool(encoder) and not config.freeze_encoder
        self._critic_side = list(self.critic.parameters()) + (encoder if self.trains_encoder else [])
        self._actor_side = [*self.actor.trunk.parameters(), *self.actor.head.parameters()]
        adam = torch.optim.Adam
        self.critic_optimiser = adam(self._critic_side, lr=config.critic_lr, fused=True)
        self.actor_optimiser = adam(self._actor_side, lr=config.actor_lr, fused=True)
        self.critic_updates = 0
        self.actor_updates = 0

    @property
    def behaviour_actor(self) -> ResidualActor:
        """The actor that collects data: it changes more slowly when it is the average."""
        return self.average_actor if self.config.act_with_average else self.actor

    def encode(self, observation: ObservationBatch, train: bool = False) -> Tensor:
        """Features (B, F); with gradient into the encoders only when `train`."""
        half = self.config.matmul_precision == BFLOAT16 and bool(observation.images)
        with (
            torch.set_grad_enabled(train and self.trains_encoder),
            torch.autocast(self.device.type, torch.bfloat16, enabled=half),
        ):
            return self.actor.encode(observation)

    def residual(self, features: Tensor) -> Tensor:
        """Residual (B, A) of the learning actor, normalised action space, within +-scale."""
        return self.residual_scale * self.actor.direction(features)

    def start_of(self, observation: ObservationBatch) -> Tensor:
        """What the residual is added to, (B, A): the base action, or nothing (RLPD)."""
        return torch.zeros_like(observation.base) if self.config.rlpd else observation.base

    def smoothed_next_action(self, batch: TransitionBatch, features: Tensor) -> Tensor:
        """The action at the bootstrap step, with smoothing noise, clamped as it would be executed.

        Target policy smoothing: TD3, arXiv 1802.09477, section 5.3.
        """
        c, scale = self.config, self.residual_scale
        residual = self.residual(features)
        noise = torch.randn(residual.shape, generator=self.generator, device=self.device)
        noise = (noise * c.target_noise).clamp_(-c.target_noise_clip, c.target_noise_clip)
        return self.start_of(batch.next_observation) + (residual + noise * scale).clamp_(-scale, scale)

    @torch.no_grad()
    def td_target(self, batch: TransitionBatch) -> tuple[Tensor, Tensor]:
        """(what the critics are compared with, its value (B,)), over a random subset of members."""
        c = self.config
        features = self.encode(batch.next_observation)
        action = self.smoothed_next_action(batch, features)
        subset = self._random_members(c.critic_subset)
        outputs = self.target_critic(features, action, subset)
        return self.values.target(outputs, batch.reward, batch.discount)

    def _random_members(self, count: int) -> Tensor:
        members = self.config.critic_ensemble
        order = torch.randperm(members, generator=self.generator, device=self.device)
        return order[: min(count, members)]

    def update_critic(
        self,
        batch: TransitionBatch,
        features: Tensor | None = None,
        observed_return: Tensor | None = None,
    ) -> Update:
        """One step on the loss averaged over batch and members; then Polyak averaging.

        features: of `batch.observation`, where they are known already. observed_return: (B,), Cal-QL.
        """
        target, target_value = self.td_target(batch)
        features = self.encode(batch.observation, train=True) if features is None else features
        outputs = self.critic(features, batch.action)
        losses = self.values.loss(outputs, target).mean(dim=0)
        td_loss = (losses if batch.weight is None else losses * batch.weight).mean()
        loss, more = td_loss, {}
        if self.conservative and self.config.conservative != NONE:
            q_data = self.values.value(outputs)
            gap = conservative_loss(self, batch.observation, features, q_data, observed_return)
            loss, more = td_loss + self.config.conservative_weight * gap, {"conservative_gap": gap.detach()}
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = _clip(self._critic_side, self.config.max_grad_norm)
        self.critic_optimiser.step()
        _move_towards(self.target_critic, self.critic, self.config.polyak)
        self.critic_updates += 1
        q = self.values.value(outputs.detach())
        mean = q.mean(dim=0)
        metrics = {
            "critic_loss": td_loss.detach(),
            "critic_grad_norm": norm,
            "q_mean": mean.mean(),
            "q_spread": q.std(dim=0, correction=0).mean(),
            "target_mean": target_value.mean(),
        }
        return Update(metrics | more, mean - target_value)

    def policy_value(self, features: Tensor, action: Tensor) -> Tensor:
        """What the actor maximises: the ensemble's mean, the least of a random pair, or the first."""
        objective, chosen = self.config.actor_objective, None
        if objective == RANDOM_PAIR_MIN:
            chosen = self._random_members(2)
        elif objective == FIRST:
            chosen = torch.zeros(1, dtype=torch.long, device=self.device)
        q = self.values.value(self.critic(features, action, chosen))
        return q.amin(dim=0).mean() if objective == RANDOM_PAIR_MIN else q.mean()

    def update_actor(self, observation: ObservationBatch, features: Tensor | None = None) -> Metrics:
        """One step up the value of base + residual, less the residual penalty."""
        c = self.config
        features = self.encode(observation) if features is None else features.detach()
        residual = self.residual(features)
        self.critic.requires_grad_(False)
        value = self.policy_value(features, self.start_of(observation) + residual)
        self.critic.requires_grad_(True)
        size = residual / self.residual_scale
        loss = -value + c.residual_penalty * size.square().mean()
        self.actor_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = _clip(self._actor_side, c.max_grad_norm)
        self.actor_updates += 1
        ramp = min(1.0, self.actor_updates / c.actor_lr_warmup) if c.actor_lr_warmup else 1.0
        self.actor_optimiser.param_groups[0]["lr"] = c.actor_lr * ramp
        self.actor_optimiser.step()
        # The first updates count in full, so that the average does not lag behind its start.
        _move_towards(self.average_actor, self.actor, max(c.actor_average, 1.0 / self.actor_updates))
        magnitude = size.detach().abs()
        return {
            "actor_loss": loss.detach(),
            "actor_grad_norm": norm,
            "residual_ratio": magnitude.mean(),
            "saturated_share": (magnitude > SATURATED_RATIO).float().mean(),
            "saturated_joints": saturated_joints(magnitude),
        }

    def update(
        self, batch: TransitionBatch, with_actor: bool = True, observed_return: Tensor | None = None
    ) -> Update:
        """One critic update and, every `actor_delay`-th time when `with_actor`, one actor update.

        observed_return: (B,), where the critics learn as Cal-QL does.
        """
        with matmul_precision(self.config.matmul_precision):
            batch = self._augmented(batch)
            features = self.encode(batch.observation, train=True)
            floor = None if observed_return is None else observed_return.to(self.device)
            update = self.update_critic(batch, features, floor)
            if with_actor and self.critic_updates % self.config.actor_delay == 0:
                update.metrics.update(self.update_actor(batch.observation, features))
        return update

    def _augmented(self, batch: TransitionBatch) -> TransitionBatch:
        """The batch on the agent's device, each camera's pictures shifted at random."""
        batch = batch.to(self.device)
        if not batch.observation.images or not self.config.use_images:
            return batch

        def shifted(observation: ObservationBatch) -> ObservationBatch:
            pixels = self.config.random_shift
            images = (random_shift(i, pixels, self.generator) for i in observation.images)
            return dataclasses.replace(observation, images=tuple(images))

        return dataclasses.replace(
            batch,
            observation=shifted(batch.observation),
            next_observation=shifted(batch.next_observation),
        )

    @torch.no_grad()
    def q_values(self, observation: ObservationBatch, action: Tensor) -> Tensor:
        """Mean over the ensemble, (B,): how the critics value `action` (B, A), normalised."""
        return self.values.value(self.critic(self.encode(observation), action)).mean(dim=0)


def _clip(parameters: list[torch.nn.Parameter], limit: float) -> Tensor:
    """Scales the gradients down to the norm `limit`; returns their norm before."""
    norm = gradient_norm(parameters)
    # On a GPU asking whether it is needed would wait for it; scaling by one does not.
    if norm.device.type != "cpu" or norm > limit:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


@torch.no_grad()
def _move_towards(average: torch.nn.Module, source: torch.nn.Module, rate: float) -> None:
    """average <- (1 - rate) average + rate source, for every parameter."""
    parameters = list(average.parameters())
    if parameters:
        torch._foreach_lerp_(parameters, list(source.parameters()), rate)
