"""Fine-tuning in one process: an episode, then every update it owes, and so on."""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.residual import CorrelatedNoise
from resfit_ros.core.run_layout import CHECKPOINTS, LEARNING_LOG
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import LearnerPhase, Outcome, Segment
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.worker import LearnerWorker
from resfit_ros.policies.chunk_policy import ChunkPolicy, policy_sha256
from resfit_ros.runner.acting import Residual
from resfit_ros.runner.lockstep import LockstepRobot, base_alone
from resfit_ros.runner.settings import RobotSettings


class SimTraining:
    """Robot, base policy and learner of one seed, with the scenes and noise of the fine-tuning graph."""

    def __init__(
        self,
        config: RunConfig,
        policy: ChunkPolicy,
        policy_dir: Path,
        learner: LearnerParameters,
        demonstrations: Sequence[Segment] = (),
    ) -> None:
        settings = RobotSettings.of(config)
        self.seed = learner.seed
        self.robot = LockstepRobot(settings, policy)
        base_policy = policy_sha256(policy_dir)
        self.trainer = new_trainer(learner, policy, base_policy, settings)
        self.trainer.add_demonstrations(demonstrations)
        self.training_s = 0.0  # wall time without evaluations
        self._normaliser = policy.normaliser
        self._noise = CorrelatedNoise(policy.normaliser.action_dim, learner.exploration_correlation)
        self._about = {
            "base_policy_sha256": base_policy,
            "joint_names": list(learner.joint_names),
        }
        # The learner's bookkeeping; its thread is never started.
        self._books = LearnerWorker(self.trainer, Path(), {}, 0.0, lambda actor: None)
        self._scene = graphs.scenes(self.seed, graphs.FINETUNE_SCENES)
        self._test_scene = graphs.scenes(self.seed, graphs.FINAL_SCENES)
        self._episodes = 0

    @property
    def done(self) -> bool:
        """All steps taken and all updates done."""
        return self.trainer.phase is LearnerPhase.DONE

    def collect(self) -> AssembledEpisode:
        """Runs the next episode with exploration, without storing it."""
        self._episodes += 1
        self._noise.reset(self.seed, self._episodes)
        act = self._residual(averaged=False, noise=self._noise)
        return self.robot.run_episode(self._episodes, self._scene + self._episodes, act)

    def learn_one_episode(self) -> None:
        """An episode, and every update that is owed after it."""
        started = time.monotonic()
        self._books.take_in(self.collect())
        while self.trainer.train_one():
            pass
        self.training_s += time.monotonic() - started

    def evaluate(self, episodes: int) -> int:
        """Successes of the averaged actor, without noise, on scenes that training never sees."""
        act = self._residual(averaged=True) if self.trainer.agent.actor_updates else base_alone
        scene = self._test_scene
        ends = (self.robot.run_episode(i + 1, scene + i, act).end for i in range(episodes))
        return sum(end.outcome is Outcome.SUCCESS for end in ends)

    def _residual(self, averaged: bool, noise: CorrelatedNoise | None = None) -> Residual:
        actor = self.trainer.acting_policy(averaged)
        return Residual(actor, self.trainer.acting_schedule(), self._normaliser, noise)

    def figures(self) -> dict[str, Any]:
        """Where training stands, as the learner logs it; 'updates_per_s' is of the whole run."""
        progress = self._books.progress()
        rate = progress.critic_updates / self.training_s if self.training_s else 0.0
        figures = dataclasses.asdict(dataclasses.replace(progress, updates_per_s=rate))
        metrics = figures.pop("metrics")
        del figures["phase"]
        figures["warnings"] = [advice.sentence for advice in progress.warnings]
        return figures | metrics

    def log(self, out_dir: Path) -> None:
        """Adds a line to the learning log."""
        with (out_dir / LEARNING_LOG).open("a") as file:
            file.write(json.dumps(self.figures()) + "\n")

    def save(self, out_dir: Path) -> Path:
        """Writes a checkpoint that `resfit evaluate` and the graph can use."""
        more = {"episodes": self._episodes, "config": dataclasses.asdict(self.trainer.config)}
        return save_checkpoint(out_dir / CHECKPOINTS, self.trainer, self._about | more)


def new_trainer(
    learner: LearnerParameters, policy: ChunkPolicy, base_policy_sha256: str, settings: RobotSettings
) -> Trainer:
    """The trainer that the learner node would make."""
    cameras = settings.aggregator.cameras
    return Trainer(learner.learning, policy.normaliser, learner.device, cameras, base_policy_sha256)


def check_images(learner: LearnerParameters, settings: RobotSettings) -> None:
    """Raises ConfigError when the residual is to see images that no camera gives."""
    if learner.use_images and not settings.aggregator.cameras:
        raise ConfigError("use_images is true, but the aggregator has no camera_names; set them")
