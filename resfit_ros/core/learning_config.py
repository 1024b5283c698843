"""Every setting of the learning algorithm, with the paper's defaults (arXiv 2509.19301, section III-C)."""

import dataclasses

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.schema import param, validate


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """Settings of the agent and its training schedule; steps are environment steps unless said."""

    # Residual
    residual_scale: float = param(
        0.2, gt=0.0, le=2.0, doc="bound of the residual per joint", unit="normalised action"
    )
    residual_penalty: float = param(
        0.0, ge=0.0, doc="weight of the mean squared residual / scale in the actor loss"
    )
    # Networks
    hidden_width: int = param(256, ge=8, le=4096, doc="units per hidden layer of actor and critics")
    hidden_layers: int = param(2, ge=1, le=8, doc="hidden layers of actor and critics")
    critic_ensemble: int = param(10, ge=1, le=64, doc="members of the critic ensemble")
    critic_subset: int = param(2, ge=1, le=64, doc="random members whose minimum is the target")
    # Off-policy reinforcement learning
    discount: float = param(0.99, gt=0.0, lt=1.0, doc="discount per environment step")
    n_step: int = param(3, ge=1, le=100, doc="steps of the n-step return")
    utd: float = param(4.0, gt=0.0, le=64.0, doc="critic updates per environment step")
    actor_delay: int = param(4, ge=1, le=64, doc="critic updates per actor update")
    batch_size: int = param(256, ge=2, le=65536, doc="transitions per update")
    offline_fraction: float = param(
        0.5, ge=0.0, lt=1.0, doc="share of each batch drawn from the demonstrations"
    )
    critic_lr: float = param(3e-4, gt=0.0, lt=1.0, doc="learning rate of the critics")
    actor_lr: float = param(1e-4, gt=0.0, lt=1.0, doc="learning rate of the actor")
    polyak: float = param(0.005, gt=0.0, le=1.0, doc="Polyak averaging rate of the target critics")
    actor_average: float = param(
        0.005, gt=0.0, le=1.0, doc="averaging rate, per actor update, of the evaluated actor"
    )
    act_with_average: bool = param(False, doc="collect data with the averaged actor")
    target_noise: float = param(
        0.25, ge=0.0, le=2.0, doc="target policy smoothing: noise", unit="residual scale"
    )
    target_noise_clip: float = param(
        0.5, ge=0.0, le=4.0, doc="target policy smoothing: clip of the noise", unit="residual scale"
    )
    clip_targets: bool = param(True, doc="clip TD targets to the range of returns, [0, 1]")
    max_grad_norm: float = param(10.0, gt=0.0, doc="gradients are scaled down to this norm")
    # Exploration
    exploration_std: float = param(
        0.05, ge=0.0, le=2.0, doc="exploration noise", unit="normalised action"
    )
    exploration_correlation: float = param(
        0.8, ge=0.0, lt=1.0, doc="correlation of the noise from one step to the next, AR(1)"
    )
    warmup_std: float = param(0.1, ge=0.0, le=2.0, doc="noise on the base action before learning")
    # Schedule
    warmup_steps: int = param(1000, ge=0, doc="steps with base + noise before the first update")
    critic_only_updates: int = param(1000, ge=0, doc="critic updates before the first actor update")
    total_steps: int = param(20000, ge=1, doc="steps after which training is done")
    replay_capacity: int = param(200_000, ge=100, doc="observations the online replay buffer holds")
    publish_every: int = param(50, ge=1, doc="actor updates between two published actors")
    seed: int = param(0, ge=0, doc="seed of weights, sampling and noise")

    def __post_init__(self) -> None:
        validate(self)
        if self.total_steps <= self.warmup_steps:
            raise ConfigError(
                f"total_steps {self.total_steps} must be above warmup_steps {self.warmup_steps}: "
                "nothing would be learnt"
            )


@dataclasses.dataclass(frozen=True)
class BCConfig:
    """Settings of the action-chunking behaviour-cloning policy."""

    demonstrations: int = param(8, ge=1, doc="successful demonstrations the demo records")
    horizon: int = param(10, ge=1, le=200, doc="actions per chunk", unit="steps")
    hidden_width: int = param(256, ge=8, le=4096, doc="units per hidden layer")
    hidden_layers: int = param(2, ge=1, le=8, doc="hidden layers")
    updates: int = param(3000, ge=1, doc="optimiser steps")
    batch_size: int = param(128, ge=1, doc="chunks per optimiser step")
    learning_rate: float = param(1e-3, gt=0.0, lt=1.0, doc="initial learning rate, cosine decay")
    weight_decay: float = param(1e-4, ge=0.0, doc="decoupled weight decay")
    min_action_range: float = param(
        0.1, gt=0.0, doc="floor of a joint's demonstrated range in the scaling", unit="rad"
    )
    seed: int = param(0, ge=0, doc="seed of weights and sampling")

    def __post_init__(self) -> None:
        validate(self)
