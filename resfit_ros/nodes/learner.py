"""Learns the residual from the message stream and sends actor weights to the robot."""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import rclpy
import torch
from std_srvs.srv import SetBool, Trigger

from resfit_ros.core.errors import ConfigError, ResfitError
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.run_layout import CHECKPOINTS, FINETUNE_BAGS
from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import EpisodeStarted, LearnerPhase
from resfit_ros.data.base_of_run import BaseOfRun, base_of, demonstrations_of, policy_of_run
from resfit_ros.data.episode_bag import MISSING_GRACE_NS
from resfit_ros.data.offline_data import kept_episodes, refuse_fine_tuned, with_base_actions
from resfit_ros.data.played_episodes import PlayedEpisodes
from resfit_ros.data.run_bags import RunBags
from resfit_ros.learning.advice import Advice
from resfit_ros.learning.checkpoint import restore_newest
from resfit_ros.learning.hardware import keep_freed_memory
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.log import LearningLog
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.worker import LearnerWorker, Progress, PublishedActor
from resfit_ros.msg import Action, ActorWeights, Episode, ExecutedAction, LearnerStatus, Observation
from resfit_ros.ros.convert import (
    action_from_msg,
    episode_from_msg,
    executed_from_msg,
    header,
    observation_from_msg,
)
from resfit_ros.ros.node import ERROR, OK, WARN, ResfitNode, run_node
from resfit_ros.ros.qos import EPISODES, LATCHED, STEPS

Labeller = Callable[[AssembledEpisode], AssembledEpisode]
STATUS_PERIOD_S = 0.05
LOG_PERIOD_S = 1.0
# When nothing came for so long, an ended episode is taken as it is; longer than the recorder waits for its steps.
LOST_AFTER_NS = MISSING_GRACE_NS + 1_000_000_000
# Pretraining: when nothing was played for so long, no more is coming; longer than `ros2 bag play` takes to start.
ALL_PLAYED_AFTER_NS = 5_000_000_000
# Fields of LearnerStatus that the trainer's figures of the same name fill.
SCALARS = (
    "critic_loss",
    "actor_loss",
    "q_mean",
    "q_spread",
    "target_mean",
    "residual_ratio",
    "saturated_share",
    "residual_scale",
    "exploration_std",
    "saturated_joints",
    "q_observed",
    "return_observed",
    "q_bias",
    "demo_share",
    "update_lag",
    "critic_grad_norm",
    "actor_grad_norm",
)


class LearningFailed(ResfitError):
    """The training thread ended with an error."""


class Learner(ResfitNode[LearnerParameters]):
    """Message stream to transitions to updates; the training itself runs in a thread of its own."""

    niceness = 5

    def __init__(self) -> None:
        super().__init__("learner")
        p = self.params
        torch.set_num_threads(p.threads)
        keep_freed_memory()
        if p.device != "cpu" and not torch.cuda.is_available():
            raise ConfigError(f"device '{p.device}' is not available to torch; set device to cpu")
        self._run_dir = Path(p.run_dir)
        self._damaged_bags = 0
        self._policy = ExitStack()  # holds the base policy as long as episodes are to be labelled
        base, labeller = self._look_at_base()
        self._base = base
        self._trainer = Trainer(p.learning, base.normaliser, p.device, p.cameras, base.sha256)
        about = {"base_policy": base.record, "joint_names": list(p.joint_names)}
        self._worker = LearnerWorker(
            self._trainer,
            self._run_dir / CHECKPOINTS,
            about,
            p.checkpoint_every_s,
            self._keep_actor,
            labeller,
        )
        self._bags = RunBags(
            self._run_dir / FINETUNE_BAGS, len(p.joint_names), p.layout.size, self._on_damaged_bag
        )
        self._resume()
        kind = PlayedEpisodes if self._trainer.pretraining else TransitionAssembler
        self._assembler = kind(len(p.joint_names))
        self._last_message_ns = self.now_ns()
        self._played_ns: int | None = None  # when the newest message was heard
        self._fresh_actor: PublishedActor | None = None
        self._actor_lock = threading.Lock()
        self._weights = self.create_publisher(ActorWeights, "actor_weights", LATCHED)
        self._status = self.create_publisher(LearnerStatus, "learner_status", LATCHED)
        self._last_phase: LearnerPhase | None = None
        self._subscribe()
        self.create_service(SetBool, "learner/pause", self._on_pause)
        self.create_service(Trigger, "learner/save", self._on_save)
        self._log = LearningLog(self._run_dir)
        self._warned: list[str] = []
        self._warnings: tuple[str, ...] = ()
        self._version = 0
        self.every(STATUS_PERIOD_S, self._publish)
        self.every(LOG_PERIOD_S, lambda: self._log.write(self._worker.progress(), self._warnings))
        self._worker.start()

    def _look_at_base(self) -> tuple[BaseOfRun, Labeller | None]:
        """The base policy as the run learns on top of it; in pretraining what labels episodes, too."""
        p = self.params
        with ExitStack() as stack:
            policy = stack.enter_context(policy_of_run(p))
            base = base_of(p, policy, demonstrations_of(p, self.get_logger().warning))
            if not p.learning.pretrain_updates:
                return base, None
            self._policy = stack.pop_all()
            return base, partial(with_base_actions, policy=policy, p=p)

    def _subscribe(self) -> None:
        for kind, topic, convert in (
            (Observation, "observation", observation_from_msg),
            (Action, "action", action_from_msg),
            (ExecutedAction, "executed_action", executed_from_msg),
        ):
            self.hear(kind, topic, lambda m, c=convert: self._on_step(c(m)), STEPS)
        if self._trainer.pretraining:  # bags that are played are signed by whoever recorded them
            self.hear(Episode, "episode", self._on_episode, EPISODES)
        else:
            self.hear_episodes(self._on_episode)

    def _on_episode(self, message: Episode) -> None:
        self._on_step(episode_from_msg(message))

    def _resume(self) -> None:
        """After a crash, a stop or pretraining: newest valid checkpoint, replay rebuilt from bags."""
        if self._trainer.pretraining:
            refuse_fine_tuned(self._run_dir)
        path, problems = restore_newest(self._run_dir / CHECKPOINTS, self._trainer)
        for problem in problems:
            self.get_logger().warning(f"checkpoint passed over: {problem}")
        self._add_recorded_before()
        for episode in self._bags.all():
            self._worker.take_in(episode)
        if path or self._trainer.env_steps:
            self.get_logger().info(f"resumed at {self._trainer.env_steps} steps from {path or 'bags alone'}")

    def _add_recorded_before(self) -> None:
        """The demonstrations, and what the critics were pretrained on."""
        self._trainer.add_demonstrations(self._base.demonstrations)
        self._trainer.successes_demonstrate = not self.params.demo_dir
        for episode in kept_episodes(self._trainer.before.bags, self.params, self._on_damaged_bag):
            self._trainer.add_recorded(episode, self.params.keep_offline_data)

    def _on_damaged_bag(self, problem: str) -> None:
        self._damaged_bags += 1
        self.get_logger().warning(f"a bag is used in part: {problem}")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        now = self._worker.progress()
        return {
            "env steps": now.env_steps,
            "critic updates": now.critic_updates,
            "owed updates": now.owed_updates,
            "updates per s": f"{now.updates_per_s:.0f}",
            "steps lost": now.steps_lost,
            "intervention steps": now.intervention_steps,
            "duplicate messages": self._assembler.duplicates,
            "damaged bags": self._damaged_bags,
            "warnings": "; ".join(self._warnings) or "none",
            "last checkpoint": self._worker.last_checkpoint or "none",
        }

    def _on_step(self, value) -> None:
        if not isinstance(value, EpisodeStarted) or self._trainer.pretraining:
            self._played_ns = self._last_message_ns = self.now_ns()
            self._take(self._assembler.add(value))

    def _take(self, episodes: Sequence[AssembledEpisode]) -> None:
        for heard in episodes:
            for episode in self._bags.completed(heard):
                self._worker.add(episode)

    def _notice_the_end(self) -> None:
        played = self._played_ns
        self._trainer.all_heard = played is not None and self.now_ns() - played > ALL_PLAYED_AFTER_NS

    def _give_up_on_lost_steps(self) -> None:
        # Steps of before this node was up never come: they are in the bag, if anywhere. Neither they nor an
        # end that nobody heard may keep the next episode waiting.
        if self.now_ns() - self._last_message_ns > LOST_AFTER_NS:
            self._last_message_ns = self.now_ns()
            self._take(self._assembler.flush())
            for episode in self._bags.missed():
                self._worker.add(episode)

    def _keep_actor(self, actor: PublishedActor) -> None:
        with self._actor_lock:
            self._fresh_actor = actor

    def _publish(self) -> None:
        self._give_up_on_lost_steps()
        self._notice_the_end()
        with self._actor_lock:
            actor, self._fresh_actor = self._fresh_actor, None
        if actor is not None:
            self._version = actor.schedule.version
            self._weights.publish(self._weights_message(actor))
        if self._worker.failure is not None:
            raise LearningFailed(f"training stopped: {self._worker.failure!r}") from self._worker.failure
        progress = self._worker.progress()
        self._keep_warnings(progress.warnings)
        self._status.publish(self._status_message(progress))
        problem = self._worker.problem or self._log.problem
        if problem:
            self.report(ERROR, problem)
        elif self._warnings:
            self.report(WARN, next(iter(self._warnings)))
        elif progress.steps_lost:
            self.report(WARN, f"{progress.steps_lost} steps were lost on the way to the learner")
        else:
            self.report(OK, progress.phase.name.lower().replace("_", " "))
        if progress.phase is LearnerPhase.DONE and self.params.exit_when_done:
            rclpy.try_shutdown()

    def _keep_warnings(self, advice: Sequence[Advice]) -> None:
        # Their figures change all the time: a warning is worded anew only when another one joins it.
        keys = [a.key for a in advice]
        if keys != self._warned:
            self._warned, self._warnings = keys, tuple(a.sentence for a in advice)

    def _weights_message(self, actor: PublishedActor) -> ActorWeights:
        schedule = actor.schedule
        return ActorWeights(
            header=header(self.stamp_ns()),
            version=schedule.version,
            data=actor.data,
            sha256=sha256(actor.data),
            normaliser=json.dumps(self._base.normaliser.to_dict()),
            normaliser_sha256=self._base.normaliser.sha256,
            base_policy_sha256=self._base.sha256,
            base_policy=json.dumps(self._base.record),
            residual_scale=schedule.residual_scale,
            exploration_std=schedule.exploration_std,
            warm_up=schedule.warm_up,
            without_base=schedule.without_base,
            env_steps=actor.env_steps,
        )

    def _status_message(self, now: Progress) -> LearnerStatus:
        nan, known = float("nan"), now.metrics
        scalars = {name: float(known.get(name, nan)) for name in SCALARS}
        dead = [known[n] for n in ("dead_share_critic", "dead_share_actor") if n in known]
        return LearnerStatus(
            header=header(self.stamp_ns()),
            phase=int(now.phase),
            env_steps=now.env_steps,
            episodes=now.episodes,
            last_episode_id=now.last_episode_id,
            gradient_updates=now.critic_updates,
            actor_updates=now.actor_updates,
            owed_updates=now.owed_updates,
            steps_lost=now.steps_lost,
            replay_size=len(self._trainer.online),
            demo_size=len(self._trainer.demonstrations),
            actor_version=self._version,
            success_rate=now.success_rate,
            updates_per_s=now.updates_per_s,
            intervention_steps=now.intervention_steps,
            dead_share=max(dead, default=nan),
            warnings=list(self._warnings),
            **scalars,
        )

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response):
        self._worker.pause(request.data)
        response.success, response.message = True, "paused" if request.data else "resumed"
        return response

    def _on_save(self, _request: Trigger.Request, response: Trigger.Response):
        self._worker.ask_to_save()
        response.success = True
        response.message = f"saving to {self._run_dir / CHECKPOINTS}"
        return response

    def shutdown(self) -> None:
        """Stops training after a last checkpoint."""
        self._worker.stop()
        self._policy.close()
        self._log.close()


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros learner`."""
    return run_node(Learner, args)


if __name__ == "__main__":
    raise SystemExit(main())
