"""Off-policy residual reinforcement learning: update_critic, update_actor, update.

Randomised ensembled double Q-learning (REDQ) with layer normalisation, n-step returns, Polyak
averaging and target policy smoothing, on a residual over a frozen base policy (arXiv 2509.19301,
section III).
"""

import copy

import torch
from torch import Tensor

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.networks import CriticEnsemble, ObservationEncoder, ResidualActor

Metrics = dict[str, Tensor]


class Agent:
    """Residual actor, its running average, critic ensemble and target critics.

    `actor` learns and explores; `average_actor` (running average of its weights) is evaluated.
    """

    def __init__(
        self, state_dim: int, action_dim: int, config: LearningConfig, device: str = "cpu"
    ) -> None:
        self.config = config
        self.device = torch.device(device)
        torch.manual_seed(config.seed)
        self.generator = torch.Generator(device=self.device).manual_seed(config.seed)
        self.encoder = ObservationEncoder(state_dim, action_dim).to(self.device)
        features = self.encoder.feature_dim
        width, layers = config.hidden_width, config.hidden_layers
        self.actor = ResidualActor(features, action_dim, width, layers).to(self.device)
        self.average_actor = copy.deepcopy(self.actor).requires_grad_(False)
        critic = CriticEnsemble(config.critic_ensemble, features, action_dim, width, layers)
        self.critic = critic.to(self.device)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self.critic_optimiser = torch.optim.Adam(
            self.critic.parameters(), lr=config.critic_lr, fused=True
        )
        self.actor_optimiser = torch.optim.Adam(
            self.actor.parameters(), lr=config.actor_lr, fused=True
        )
        self.critic_updates = 0
        self.actor_updates = 0

    @property
    def behaviour_actor(self) -> ResidualActor:
        """The actor that collects data: it changes more slowly when it is the average."""
        return self.average_actor if self.config.act_with_average else self.actor

    def residual(self, observation: ObservationBatch, features: Tensor) -> Tensor:
        """Residual (B, A) of the learning actor, normalised action space, within +-scale."""
        return self.config.residual_scale * self.actor(features)

    def _smoothed_next_action(self, batch: TransitionBatch, features: Tensor) -> Tensor:
        """The action at the bootstrap step, with smoothing noise, clamped as it would be executed."""
        c, scale = self.config, self.config.residual_scale
        residual = self.residual(batch.next_observation, features)
        noise = torch.randn(residual.shape, generator=self.generator, device=self.device)
        noise = (noise * c.target_noise).clamp_(-c.target_noise_clip, c.target_noise_clip)
        return batch.next_observation.base + (residual + noise * scale).clamp_(-scale, scale)

    @torch.no_grad()
    def td_target(self, batch: TransitionBatch) -> Tensor:
        """n-step return plus the bootstrapped minimum over random members, (B,).

        r + discount * min_{m in subset} Q_m(o', b' + residual'); REDQ, arXiv 2101.05982, eq. 1.
        """
        c = self.config
        features = self.encoder(batch.next_observation)
        action = self._smoothed_next_action(batch, features)
        subset = min(c.critic_subset, c.critic_ensemble)
        order = torch.randperm(c.critic_ensemble, generator=self.generator, device=self.device)
        value = self.target_critic(features, action, order[:subset]).amin(dim=0)
        target = batch.reward + batch.discount * value
        return target.clamp_(0.0, 1.0) if c.clip_targets else target

    def update_critic(self, batch: TransitionBatch) -> Metrics:
        """One step on the squared TD error, averaged over batch and members; then Polyak averaging."""
        target = self.td_target(batch)
        q = self.critic(self.encoder(batch.observation), batch.action)
        loss = (q - target).square().mean()
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.critic.parameters(), self.config.max_grad_norm)
        self.critic_optimiser.step()
        _move_towards(self.target_critic, self.critic, self.config.polyak)
        self.critic_updates += 1
        return {
            "critic_loss": loss.detach(),
            "q_mean": q.detach().mean(),
            "q_spread": q.detach().std(dim=0, correction=0).mean(),
            "target_mean": target.mean(),
        }

    def update_actor(self, observation: ObservationBatch) -> Metrics:
        """One step up the ensemble's mean Q of base + residual, less the residual penalty."""
        c = self.config
        features = self.encoder(observation).detach()
        residual = self.residual(observation, features)
        self.critic.requires_grad_(False)
        q = self.critic(features, observation.base + residual).mean()
        self.critic.requires_grad_(True)
        size = residual / c.residual_scale
        loss = -q + c.residual_penalty * size.square().mean()
        self.actor_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.actor.parameters(), c.max_grad_norm)
        self.actor_optimiser.step()
        self.actor_updates += 1
        # The first updates count in full, so that the average does not lag behind its start.
        rate = max(c.actor_average, 1.0 / self.actor_updates)
        _move_towards(self.average_actor, self.actor, rate)
        magnitude = size.detach().abs()
        return {
            "actor_loss": loss.detach(),
            "residual_ratio": magnitude.mean(),
            "saturated_share": (magnitude > 0.95).float().mean(),
        }

    def update(self, batch: TransitionBatch, with_actor: bool = True) -> Metrics:
        """One critic update and, every `actor_delay`-th time when `with_actor`, one actor update."""
        metrics = self.update_critic(batch)
        if with_actor and self.critic_updates % self.config.actor_delay == 0:
            metrics |= self.update_actor(batch.observation)
        return metrics


@torch.no_grad()
def _move_towards(average: torch.nn.Module, source: torch.nn.Module, rate: float) -> None:
    """average <- (1 - rate) average + rate source, for every parameter."""
    torch._foreach_lerp_(list(average.parameters()), list(source.parameters()), rate)
