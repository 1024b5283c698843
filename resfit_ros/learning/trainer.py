"""When to update what: warm-up, critic-only updates, update-to-data ratio, demonstrations half and half."""

from collections.abc import Iterable

import numpy as np

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import LearnerPhase, Segment
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.batch import TransitionBatch
from resfit_ros.learning.replay import ReplayBuffer, concatenate

METRIC_SMOOTHING = 0.01  # share of the newest update in the running averages


class Trainer:
    """Owns the agent and both replay buffers; does one update at a time when updates are owed."""

    def __init__(self, config: LearningConfig, normaliser: Normaliser, device: str = "cpu") -> None:
        self.config = config
        self.normaliser = normaliser
        self.agent = Agent(normaliser.state_dim, normaliser.action_dim, config, device)
        self.online = ReplayBuffer(config.replay_capacity, normaliser)
        self.demonstrations = ReplayBuffer(config.replay_capacity, normaliser)
        self.rng = np.random.default_rng(config.seed)
        self.env_steps = 0
        self.metrics: dict[str, float] = {}

    def add(self, segment: Segment) -> None:
        """Adds steps the robot has just taken."""
        self.online.add(segment)
        self.env_steps += len(segment)

    def add_demonstrations(self, segments: Iterable[Segment]) -> None:
        """Adds demonstrations whose bases were computed by the base policy."""
        for segment in segments:
            self.demonstrations.add(segment)

    @property
    def updates_due(self) -> int:
        """Critic updates that should have been done by now."""
        learning_steps = min(self.env_steps, self.config.total_steps) - self.config.warmup_steps
        if learning_steps < 0:
            return 0
        return self.config.critic_only_updates + int(self.config.utd * learning_steps)

    @property
    def owed_updates(self) -> int:
        return max(0, self.updates_due - self.agent.critic_updates)

    @property
    def phase(self) -> LearnerPhase:
        """Where the schedule stands."""
        if self.env_steps < self.config.warmup_steps:
            return LearnerPhase.WARM_UP
        if self.env_steps >= self.config.total_steps and self.owed_updates == 0:
            return LearnerPhase.DONE
        if self.agent.critic_updates < self.config.critic_only_updates:
            return LearnerPhase.CRITIC_ONLY
        return LearnerPhase.TRAINING

    def sample(self) -> TransitionBatch:
        """A batch with `offline_fraction` of it from the demonstrations, where there are any."""
        c = self.config
        offline = round(c.batch_size * c.offline_fraction) if len(self.demonstrations) else 0
        batch = self.online.sample(c.batch_size - offline, c.n_step, c.discount, self.rng)
        if not offline:
            return batch
        return concatenate(
            batch, self.demonstrations.sample(offline, c.n_step, c.discount, self.rng)
        )

    def train_one(self) -> bool:
        """Does one owed update; False when none is owed."""
        if not self.owed_updates or not len(self.online):
            return False
        with_actor = self.agent.critic_updates >= self.config.critic_only_updates
        for name, value in self.agent.update(self.sample(), with_actor).items():
            new = float(value)
            old = self.metrics.get(name, new)
            self.metrics[name] = old + METRIC_SMOOTHING * (new - old)
        return True
