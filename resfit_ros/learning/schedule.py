"""When to update what: pretraining, warm-up, critic-only updates, update-to-data ratio."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.types import LearnerPhase


@dataclass(frozen=True)
class Pretraining:
    """Updates done on recorded data before fine-tuning, and the bags these were read from.

    bags: empty where they were played over topics.
    """

    updates: int = 0
    bags: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Pretraining":
        """The inverse of `dataclasses.asdict`, after a journey through JSON."""
        return cls(int(values.get("updates", 0)), tuple(values.get("bags", ())))


class Schedule:
    """Where training stands and what is owed; whoever trains counts steps and updates."""

    critic_updates: int  # done, pretraining included

    def __init__(self, config: LearningConfig) -> None:
        self.config = config
        self.env_steps = 0
        self.recorded_steps = 0  # of recorded data in replay; no environment steps
        self.pretraining = config.pretrain_updates > 0
        self.all_heard = False  # pretraining: no more data will come
        self.before = Pretraining()  # what fine-tuning starts from

    @property
    def warmup_steps(self) -> int:
        """Steps with base + noise before the first update of fine-tuning."""
        start_known = self.before.updates and self.recorded_steps
        return self.config.warmup_after_pretraining if start_known else self.config.warmup_steps

    @property
    def pretrained(self) -> Pretraining:
        """What checkpoints remember of pretraining, done now or before."""
        if self.pretraining:
            return dataclasses.replace(self.before, updates=self.critic_updates)
        return self.before

    @property
    def updates_before_actor(self) -> int:
        """Critic updates before the first actor update; pretraining stands for those of fine-tuning."""
        if self.pretraining:
            return self.config.pretrain_updates
        return self.before.updates or self.config.critic_only_updates

    @property
    def updates_due(self) -> int:
        """Critic updates that should have been done by now."""
        c = self.config
        if self.pretraining:
            in_all = c.pretrain_updates + c.warm_start_updates
            return in_all if self.all_heard else min(in_all, int(c.utd * self.recorded_steps))
        learning_steps = min(self.env_steps, c.total_steps) - self.warmup_steps
        if learning_steps < 0:
            return 0
        return self.updates_before_actor + int(c.utd * learning_steps)

    @property
    def owed_updates(self) -> int:
        return max(0, self.updates_due - self.critic_updates)

    @property
    def phase(self) -> LearnerPhase:
        """Where the schedule stands."""
        if self.pretraining:
            return self._pretraining_phase()
        if self.env_steps < self.warmup_steps:
            return LearnerPhase.WARM_UP
        if self.env_steps >= self.config.total_steps and self.owed_updates == 0:
            return LearnerPhase.DONE
        if self.critic_updates < self.updates_before_actor:
            return LearnerPhase.CRITIC_ONLY
        return LearnerPhase.TRAINING

    def _pretraining_phase(self) -> LearnerPhase:
        if not self.recorded_steps:
            return LearnerPhase.WAITING
        if self.all_heard and not self.owed_updates:
            return LearnerPhase.DONE
        first = self.critic_updates < self.updates_before_actor
        return LearnerPhase.CRITIC_ONLY if first else LearnerPhase.TRAINING

    def _ramp(self, start: float, end: float, steps: int) -> float:
        """From `start` at the end of the warm-up linearly to `end`, `steps` later; 0: `end` at once."""
        done = (self.env_steps - self.warmup_steps) / steps if steps else 1.0
        return start + (end - start) * min(1.0, max(0.0, done))

    @property
    def residual_scale(self) -> float:
        """Bound of the residual at this point of training, normalised action space."""
        c = self.config
        if c.rlpd:
            return c.largest_residual
        return self._ramp(c.residual_scale_start, c.residual_scale, c.residual_scale_steps)

    @property
    def exploration_std(self) -> float:
        """Exploration noise at this point of training, normalised action space."""
        c = self.config
        if self.phase is LearnerPhase.WARM_UP:
            return c.warmup_std
        end = c.exploration_std_end if c.exploration_steps else c.exploration_std
        return self._ramp(c.exploration_std, end, c.exploration_steps)
