"""One seed from demonstrations to a fine-tuned policy, in this process."""

import shutil
import time
from typing import Any

import torch

from resfit_ros.bringup import RunConfig
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.run_layout import CHECKPOINTS, LEARNING_LOG
from resfit_ros.core.whole_file import write_json
from resfit_ros.data.demonstrations import labelled
from resfit_ros.policies.chunk_policy import ChunkPolicy, policy_sha256
from resfit_ros.runner.base_policy import (
    Progress,
    load_policy,
    record_demonstrations,
    train_base_policy,
)
from resfit_ros.runner.job import JOB, RESULT, Job, Result, finished_result
from resfit_ros.runner.settings import RobotSettings, learner_parameters
from resfit_ros.runner.training import SimTraining, check_images


def check_job(job: Job, config: RunConfig) -> Result | None:
    """The job's result where it is done already. Writes nothing.

    Raises ConfigError or DataError on anything that would make the job fail.
    """
    learner = learner_parameters(config, job.seed, job.overrides)
    check_images(learner, RobotSettings.of(config))
    if learner.device != "cpu" and not torch.cuda.is_available():
        raise ConfigError(f"device '{learner.device}' is not available to torch; set device to cpu")
    if job.policy_dir.exists():
        load_policy(config, job.policy_dir)
    return finished_result(job, config)


def train_seed(job: Job, config: RunConfig, on_progress: Progress = lambda d, t, w: None) -> Result:
    """Demonstrations, base policy, fine-tuning with evaluations, checkpoint; returns what it writes
    to `out_dir`/result.json.

    A finished job is not run again; an unfinished one starts over, but keeps its base policy. The
    result depends on the job, the configuration and the base policy alone, but for wall times.
    Sets the number of torch threads of the process to the learner's.
    """
    finished = check_job(job, config)
    if finished is not None:
        return finished
    learner = learner_parameters(config, job.seed, job.overrides)
    torch.set_num_threads(learner.threads)
    job.out_dir.mkdir(parents=True, exist_ok=True)
    write_json(job.out_dir / JOB, job.identity(config))
    (job.out_dir / LEARNING_LOG).unlink(missing_ok=True)
    shutil.rmtree(job.out_dir / CHECKPOINTS, ignore_errors=True)
    started = time.monotonic()
    policy, demonstrations = _prepare(job, config, on_progress)
    training = SimTraining(config, policy, job.policy_dir, learner, demonstrations)
    evaluations = _fine_tune(job, training, on_progress)
    training.save(job.out_dir)
    training.robot.close()
    result = {
        **job.identity(config),
        "name": job.name,
        "base_policy_sha256": policy_sha256(job.policy_dir),
        "demonstration_steps": sum(len(s) for s in demonstrations),
        "evaluations": evaluations,
        "total_wall_s": time.monotonic() - started,
    }
    write_json(job.out_dir / RESULT, result)
    return result


def _prepare(job: Job, config: RunConfig, on_progress: Progress) -> tuple[ChunkPolicy, list]:
    """(base policy, demonstrations for the learner with its base actions)."""
    segments = []
    if job.demonstrations or not job.policy_dir.exists():
        segments = record_demonstrations(config, job.seed, on_progress)
    if not job.policy_dir.exists():
        train_base_policy(config, segments, job.policy_dir, job.seed, on_progress)
    policy = load_policy(config, job.policy_dir)
    chunking = RobotSettings.of(config).base_policy.chunking
    return policy, labelled(segments, policy, chunking) if job.demonstrations else []


def _fine_tune(job: Job, training: SimTraining, on_progress: Progress) -> list[dict[str, Any]]:
    """Trains to the end; one entry per evaluation, the first of the base policy alone."""
    total = training.trainer.config.total_steps
    evaluations: list[dict[str, Any]] = []

    def evaluate() -> None:
        on_progress(min(training.trainer.env_steps, total), total, "evaluating")
        evaluations.append(_evaluation(job, training))

    evaluate()
    due = job.eval_every
    while not training.done:
        training.learn_one_episode()
        training.log(job.out_dir)
        steps, last = training.trainer.env_steps, evaluations[-1]
        rate = last["successes"] / last["episodes"]
        on_progress(min(steps, total), total, f"success {rate:.0%}")
        if steps >= due and not training.done:
            evaluate()
            due = (steps // job.eval_every + 1) * job.eval_every
    evaluate()
    return evaluations


def _evaluation(job: Job, training: SimTraining) -> dict[str, Any]:
    trainer = training.trainer
    return {
        "env_steps": trainer.env_steps,
        "critic_updates": trainer.agent.critic_updates,
        "successes": training.evaluate(job.eval_episodes),
        "episodes": job.eval_episodes,
        "wall_s": training.training_s,
        "metrics": dict(trainer.metrics),
    }
