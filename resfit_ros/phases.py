"""The phases of a run as functions: record, train the base policy, fine-tune, evaluate.

Each runs a graph under supervision until its goal is reached. Progress goes to a callback, so that
the command line and scripts share them.
"""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from resfit_ros import graphs
from resfit_ros.bringup import NodeSpec, RunConfig
from resfit_ros.core import run_layout
from resfit_ros.core.errors import DataError, ResfitError
from resfit_ros.core.learning_config import MLP
from resfit_ros.core.types import EpisodeEnded, LearnerPhase, Outcome
from resfit_ros.data.bag_directory import bag_ids, count_successes, next_episode_id
from resfit_ros.data.demonstrations import successful_segments
from resfit_ros.data.expected import configured_about
from resfit_ros.learning.blind_record import BlindRecord, files, is_unfinished, lock
from resfit_ros.ros.monitor import GraphMonitor
from resfit_ros.runner.cloning import clone_policy, policy_inputs
from resfit_ros.supervise import Supervisor

STALL_S = 90.0
TICK_S = 0.1
SETTLE_S = 0.5

# on_progress(done, total, words)
Progress = Callable[[float, float, str], None]


@dataclass(frozen=True)
class FinetuneResult:
    """What the learner had done when it finished or was stopped."""

    env_steps: int
    gradient_updates: int
    steps_lost: int


def run_graph(
    specs: Sequence[NodeSpec],
    run_dir: Path,
    phase: str,
    is_done: Callable[[GraphMonitor, set[str]], bool],
    on_episode: Callable[[EpisodeEnded], None] = lambda e: None,
) -> None:
    """Runs the nodes until `is_done(monitor, names of nodes that finished)`.

    Raises NodeFailed when a node dies, ResfitError when nothing moves for STALL_S, ConfigError when
    the ROS domain is in use.
    """
    with GraphMonitor(on_episode) as monitor:
        monitor.refuse_running_graph()
        with Supervisor(specs, run_dir / "config" / phase, run_dir / "logs" / phase) as supervisor:
            while not is_done(monitor, supervisor.check()):
                monitor.spin(TICK_S)
                # A person may take as long as a reset or a label needs; a simulation may not.
                simulated = any(s.name == "sim_robot" for s in specs)
                paused = monitor.learner and monitor.learner.phase == LearnerPhase.PAUSED
                if simulated and not paused and time.monotonic() - monitor.last_activity > STALL_S:
                    raise ResfitError(
                        f"{phase}: nothing has moved for {STALL_S:g} s. The nodes say:\n"
                        f"{monitor.complaints()}\n  logs: {run_dir / 'logs' / phase}"
                    )
            # The last messages of the last episode are still on their way to the recorder.
            monitor.spin(SETTLE_S)


def run_until_interrupted(specs: Sequence[NodeSpec], directory: Path) -> None:
    """Runs the nodes until Ctrl-C; raises NodeFailed when one dies."""
    with GraphMonitor() as monitor:
        monitor.refuse_running_graph()
        with Supervisor(specs, directory / "config", directory / "logs") as supervisor:
            while True:
                supervisor.check()
                monitor.spin(TICK_S)


def record(
    config: RunConfig, run_dir: Path, bag_dir: Path, successes: int, seed: int, on_progress: Progress
) -> int:
    """Records scripted demonstrations until `successes` succeeded; returns the episodes it took.

    Bags that are there already are kept and counted.
    """
    won, tried = count_successes(bag_dir), len(bag_ids(bag_dir))

    def on_episode(end: EpisodeEnded) -> None:
        nonlocal won, tried
        tried += 1
        won += end.outcome is Outcome.SUCCESS

    def is_done(_monitor: GraphMonitor, finished: set[str]) -> bool:
        on_progress(min(won, successes), successes, f"{min(won, successes)} of {tried} succeeded")
        return "recorder" in finished  # it ends with the last bag closed, and takes no more

    if won < successes:
        first = next_episode_id(bag_dir)
        specs = graphs.record_graph(config, bag_dir, seed, first, successes=successes - won)
        run_graph(specs, run_dir, "record", is_done, on_episode)
    return tried


def train_base(
    config: RunConfig,
    bag_dir: Path,
    out: Path,
    seed: int,
    on_progress: Progress,
    on_note: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Behaviour-clones a chunk policy from the successful bags into the new directory `out`.

    on_note: takes what is wrong with a bag that is left out; without it that is raised. Raises DataError
    naming the bags when they do not fit the configuration.
    """
    bc = dataclasses.replace(config.behaviour_cloning, seed=seed)
    if out.exists():
        raise DataError(f"{out}: already exists; choose another directory or remove it")
    policy_inputs(config, bc)  # what is wrong with the configuration is said before the bags are read
    if bc.kind == MLP:
        torch.set_num_threads(1)  # a small network: threads would only wait for each other
    segments = successful_segments(
        bag_dir, len(config.joint_names), config.state_dim, configured_about(config), on_note
    )

    def on_update(update: int, loss: float, validation: float) -> None:
        words = "" if math.isnan(validation) else f", validation {validation:.4f}"
        on_progress(update, bc.updates, f"loss {loss:.4f}{words}")

    try:
        summary = clone_policy(config, bc, segments, out, on_update)
    except DataError as error:
        raise DataError(f"{bag_dir}: {error}") from None
    told = ("demonstrations", "steps", "loss", "validation_loss", "best_update", "diverged_by", "seconds")
    return {key: summary[key] for key in told}


def finetune(
    config: RunConfig,
    run_dir: Path,
    policy: graphs.Policy,
    demos: Path | None,
    seed: int,
    on_progress: Progress,
    simulate: bool = True,
    learner: dict[str, Any] | None = None,
) -> FinetuneResult:
    """Fine-tunes until the learner's step budget is used up; resumes what is in `run_dir`."""
    first = next_episode_id(run_dir / run_layout.FINETUNE_BAGS)
    specs = graphs.finetune_graph(config, run_dir, policy, demos, seed, first, simulate, learner)
    total = next(s for s in specs if s.name == "learner").parameters["total_steps"]
    status = None

    def is_done(monitor: GraphMonitor, _finished: set[str]) -> bool:
        nonlocal status
        status = monitor.learner
        if status is None:
            on_progress(0, total, "starting")
            return False
        phase = LearnerPhase(status.phase)
        words = f"{phase.name.lower().replace('_', ' ')}, success {status.success_rate:.0%}"
        if status.success_rate != status.success_rate:
            words = phase.name.lower().replace("_", " ")
        on_progress(min(status.env_steps, total), total, words)
        return phase is LearnerPhase.DONE

    run_graph(specs, run_dir, "finetune", is_done)
    return FinetuneResult(
        env_steps=status.env_steps,
        gradient_updates=status.gradient_updates,
        steps_lost=status.steps_lost,
    )


def evaluate(
    config: RunConfig,
    run_dir: Path,
    policy: graphs.Policy,
    actor: Path | None,
    result_path: Path,
    episodes: int,
    first_scene: int,
    seed: int,
    on_progress: Progress,
    bag_dir: Path | None = None,
    simulate: bool = True,
    against: Path | None = None,
    evaluator: dict[str, Any] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Runs the evaluation and returns what the evaluator wrote to `result_path`.

    resume: goes on with one that was interrupted there; else it starts over.
    """
    first, done, won = _evaluated_so_far(result_path, bag_dir, resume)
    specs = graphs.evaluate_graph(
        config, policy, actor, result_path, bag_dir, episodes, first_scene, seed, simulate, against, evaluator, first
    )
    arms = 2 if actor else 1

    def on_episode(end: EpisodeEnded) -> None:
        nonlocal done, won
        if end.outcome is not Outcome.ABORTED:
            done += 1
            won += end.outcome is Outcome.SUCCESS

    def is_done(_monitor: GraphMonitor, finished: set[str]) -> bool:
        rate = f"success {won / done:.0%}" if done else "starting"
        # Blind: which arm an episode belonged to is known only at the end.
        on_progress(done, episodes * arms, rate + (" (both policies)" if arms == 2 and done else ""))
        return "evaluator" in finished

    phase = result_path.stem
    run_graph(specs, run_dir, phase, is_done, on_episode)
    return json.loads(result_path.read_text())


def _evaluated_so_far(result_path: Path, bag_dir: Path | None, resume: bool) -> tuple[int, int, int]:
    """(id of the next episode, episodes done, of these successful); what is there is removed unless it goes on."""
    first = next_episode_id(bag_dir) if bag_dir is not None else 1
    result_path.parent.mkdir(parents=True, exist_ok=True)
    with lock(result_path):  # the evaluator takes it again; what a running one writes is not touched
        if not (resume and is_unfinished(result_path)):
            for path in (result_path, *files(result_path)):
                path.unlink(missing_ok=True)
            return first, 0, 0
        record = BlindRecord.resume(result_path)
    won = sum(r.outcome is Outcome.SUCCESS for r in record.results)
    return max(first, record.last_episode_id + 1), record.next_position, won
