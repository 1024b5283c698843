"""Data in, updates done when they are owed, figures out."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.learning_config import ALL, CAL_QL, SUCCESSES, LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Float32, LearnerPhase, Outcome, Segment
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.conservative import ObservedReturns, returns_of_batch
from resfit_ros.learning.diagnostics import Diagnosis, ReturnCalibration, dead_units
from resfit_ros.learning.features import feature_extractor
from resfit_ros.learning.networks import ObservationShape
from resfit_ros.learning.replay import ReplayBuffer, SampledRows, sample_batch
from resfit_ros.learning.schedule import Schedule
from resfit_ros.learning.weights import ActorPolicy, load_encoder

METRIC_SMOOTHING = 0.01  # share of the newest update in the running averages
DEAD_UNITS_EVERY = 200  # updates; they change slowly and cost a forward pass
COPY_EVERY = 20  # updates on a GPU between two copies of the metrics: each copy waits for it


class Trainer(Schedule):
    """Owns the agent and both replay buffers; does one update at a time when updates are owed.

    cameras: (height, width) of each camera's pictures. base_policy_sha256: what the residual is learnt
    on top of; checkpoints remember it. With `pretrain_updates` in the configuration it learns from
    recorded data alone: `add_recorded`, until `all_heard` the update-to-data ratio at most, then the rest.
    """

    def __init__(
        self,
        config: LearningConfig,
        normaliser: Normaliser,
        device: str = "cpu",
        cameras: tuple[tuple[int, int], ...] = (),
        base_policy_sha256: str = "",
    ) -> None:
        if config.use_images and not cameras:
            raise ConfigError("use_images is true, but there is no camera; set camera_names")
        super().__init__(config)
        self.normaliser = normaliser
        self.base_policy_sha256 = base_policy_sha256
        seen = cameras if config.use_images else ()
        path = config.feature_extractor
        self.extractor = feature_extractor(path, seen, device) if path else None
        features = self.extractor.size if self.extractor else 0
        features_of = self.extractor.sha256 if self.extractor else ""
        dims = normaliser.state_dim, normaliser.action_dim
        shape = ObservationShape(*dims, seen, features, features_of)
        self.agent = Agent(shape, config, device)
        if config.encoder_path:
            load_encoder(Path(config.encoder_path), self.agent.actor)
            self.agent.average_actor.load_state_dict(self.agent.actor.state_dict())
        self.online, self.demonstrations = (self.buffer_of(config.replay_capacity) for _ in range(2))
        self.rng = np.random.default_rng(config.seed)
        self.intervention_steps = 0
        self.successes_demonstrate = True  # recorded successes, where no demonstrations are given
        self.agent.conservative = self.pretraining
        self._returns: dict[int, ObservedReturns] = {}
        if self.pretraining and config.conservative == CAL_QL:
            for buffer in (self.online, self.demonstrations):
                self._returns[id(buffer)] = ObservedReturns(buffer.capacity, config.discount)
        self.calibration = ReturnCalibration(config.discount, self.q_values)
        self.averages: dict[str, float] = {}  # of the scalars of updates
        self._dead: dict[str, float] = {}
        self._calibrated: dict[str, float] = {}
        self._demo_share = float("nan")

    @property
    def critic_updates(self) -> int:
        """Critic updates done, pretraining included."""
        return self.agent.critic_updates

    def buffer_of(self, capacity: int) -> ReplayBuffer:
        """An empty replay buffer for what the agent sees."""
        c, shape = self.config, self.agent.shape
        pictures = tuple((*size, 3) for size in shape.cameras) if not shape.features else ()
        exponent = c.priority_exponent if c.prioritised else None
        return ReplayBuffer(capacity, self.normaliser, pictures, shape.features, exponent)

    # -- data -------------------------------------------------------------------------------

    def add(self, segment: Segment) -> None:
        """Adds steps the robot has just taken."""
        if self.agent.critic_updates:
            self.calibration.add(segment)
            # Kept: another thread reads the metrics while this one adds to the window.
            self._calibrated = self.calibration.metrics()
        self.online.add(segment, self._features(segment))
        self.env_steps += len(segment)
        self.intervention_steps += int(segment.interventions.sum())
        self._show_interventions(segment)

    def _show_interventions(self, segment: Segment) -> None:
        # Without demonstrations, a few steps would make up half of every batch.
        if self.config.interventions_as_demonstrations and len(self.demonstrations):
            self.add_demonstrations(segment.intervention_stretches())

    def add_demonstrations(self, segments: Iterable[Segment]) -> None:
        """Adds demonstrations whose bases were computed by the base policy."""
        for segment in segments:
            self.store(self.demonstrations, segment)

    def add_recorded(self, episode: AssembledEpisode, keep: str = ALL) -> None:
        """Adds an episode recorded before: its steps are no environment steps of this run.

        Whole successes become demonstrations, too, unless those are given apart. keep: all, successes (as
        demonstrations alone), none.
        """
        whole = len(episode.segments) == 1 and len(episode.segments[0]) == episode.end.steps
        wanted = keep == SUCCESSES or (keep == ALL and self.successes_demonstrate)
        shown = wanted and whole and episode.end.outcome is Outcome.SUCCESS
        if shown:
            self.add_demonstrations(episode.segments)
        for segment in episode.segments if keep == ALL else ():
            self.store(self.online, segment)
            self.recorded_steps += len(segment)
            if not shown:
                self._show_interventions(segment)

    def store(self, buffer: ReplayBuffer, segment: Segment) -> None:
        """Adds a segment, with its image features, to a buffer made by `buffer_of`."""
        buffer.add(segment, self._features(segment))
        if id(buffer) in self._returns:
            self._returns[id(buffer)].add(segment)

    def _features(self, segment: Segment) -> Float32 | None:
        return self.extractor(segment.images) if self.extractor else None

    def q_values(self, segment: Segment) -> Float32:
        """The critics' mean Q of each executed action, (K,)."""
        steps, n, agent = len(segment), self.normaliser, self.agent
        features = self._features(segment)
        observation = ObservationBatch(
            state=torch.from_numpy(n.normalise_state(segment.states[:steps])),
            base=torch.from_numpy(n.normalise_action(segment.bases[:steps])),
            phase=torch.from_numpy(segment.phases[:steps, None].astype(np.float32)),
            images=tuple(torch.from_numpy(camera[:steps]) for camera in segment.images),
            image_features=None if features is None else torch.from_numpy(features[:steps]),
        ).to(agent.device)
        action = torch.from_numpy(n.normalise_action(segment.actions)).to(agent.device)
        return agent.q_values(observation, action).cpu().numpy()

    # -- acting ---------------------------------------------------------------------------------

    def acting_schedule(self, version: int = 0) -> ActingSchedule:
        """How the actor is to be used at this point of training."""
        warm_up = self.phase is LearnerPhase.WARM_UP or self.agent.actor_updates == 0
        # A scale that still has to grow is for the actor; it must not cut the noise of the warm-up.
        return ActingSchedule(
            residual_scale=self.config.largest_residual if warm_up else self.residual_scale,
            exploration_std=self.exploration_std,
            warm_up=warm_up,
            without_base=self.config.rlpd,
            version=version,
        )

    def acting_policy(self, averaged: bool = False) -> ActorPolicy:
        """The actor as it stands, on live weights: the one that explores, or the averaged one."""
        actor = self.agent.average_actor if averaged else self.agent.behaviour_actor
        return ActorPolicy(actor, self.normaliser, self.extractor)

    # -- updates ----------------------------------------------------------------------------

    def sample(self) -> tuple[TransitionBatch, SampledRows]:
        """A batch with `offline_fraction` of it from the demonstrations, where there are any."""
        c = self.config
        offline = round(c.batch_size * c.offline_fraction) if len(self.demonstrations) else 0
        self._demo_share = offline / c.batch_size
        parts = [(self.online, c.batch_size - offline), (self.demonstrations, offline)]
        done = min(1.0, self.env_steps / c.total_steps)
        correction = c.priority_correction + (1.0 - c.priority_correction) * done
        return sample_batch(parts, c.n_step, c.discount, self.rng, correction if c.prioritised else 0.0)

    def train_one(self) -> bool:
        """Does one owed update; False when none is owed."""
        if not self.owed_updates or not len(self.online):
            return False
        batch, rows = self.sample()
        self.agent.residual_scale = self.residual_scale
        with_actor = self.agent.critic_updates >= self.updates_before_actor
        floor = returns_of_batch(rows, self._returns) if self._returns else None
        metrics, td_error = self.agent.update(batch, with_actor, floor)
        if self.config.prioritised:
            rows.update_priorities(td_error.cpu().numpy())
        self._watch(metrics, batch)
        return True

    def _watch(self, metrics: dict[str, torch.Tensor], batch: TransitionBatch) -> None:
        updates = self.agent.critic_updates
        if updates % DEAD_UNITS_EVERY == 1:
            self._dead = self._dead_shares(batch)
        on_cpu = self.agent.device.type == "cpu"
        if not on_cpu and updates % COPY_EVERY not in (0, 1):
            return
        share = METRIC_SMOOTHING if on_cpu else min(1.0, COPY_EVERY * METRIC_SMOOTHING)
        for name, value in metrics.items():
            new = float(value)
            old = self.averages.get(name, new)
            self.averages[name] = old + share * (new - old)

    @torch.no_grad()
    def _dead_shares(self, batch: TransitionBatch) -> dict[str, float]:
        """Share of dead units in the hidden layer that has most of them, of critics and actor."""
        agent, batch = self.agent, batch.to(self.agent.device)
        features = agent.encode(batch.observation)
        layers = {
            "dead_share_critic": agent.critic.hidden(features, batch.action),
            "dead_share_actor": agent.actor.hidden(features),
        }
        return {name: max(float(dead_units(a)) for a in hidden) for name, hidden in layers.items()}

    # -- figures ----------------------------------------------------------------------------

    @property
    def metrics(self) -> dict[str, float]:
        """Every figure known so far, by name: running averages over updates, calibration, dead units."""
        known = self.averages | self._dead | self._calibrated
        return known | ({} if np.isnan(self._demo_share) else {"demo_share": self._demo_share})

    def diagnosis(self, **figures) -> Diagnosis:
        """What `advise` judges; `figures` are fields that only the caller knows."""
        return dataclasses.replace(
            Diagnosis.of(self.metrics),
            residual_scale=self.residual_scale,
            exploration_std=self.exploration_std,
            update_lag=self.owed_updates / self.config.utd,
            phase=self.phase,
            env_steps=self.env_steps,
            critic_updates=self.agent.critic_updates,
            actor_updates=self.agent.actor_updates,
            **figures,
        )
