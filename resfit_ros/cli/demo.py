"""`resfit demo`: the main job from nothing to a fine-tuned policy, resumable at every phase."""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from resfit_ros import graphs, phases
from resfit_ros.bringup import RunConfig, config_sha256
from resfit_ros.cli.console import console, progress_bar
from resfit_ros.cli.film import make_film
from resfit_ros.cli.report import plot_learning_curve, print_evaluation
from resfit_ros.core import run_layout
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.whole_file import write_json
from resfit_ros.data.bag_directory import count_successes, successful_bags
from resfit_ros.ros.monitor import GraphMonitor

STATE, SUMMARY, LATEST = "demo.json", "summary.json", "latest"
TASK = "bimanual_lift"
BASE_EPISODES = 60  # of the first look at the base policy; the verdict comes at the end
BASE_RANGE = (0.27, 0.52)  # success rate that leaves something to learn from and something to gain
BASE_ATTEMPTS = 4


@dataclass
class DemoRun:
    """A run directory and what has been done in it; saved after every phase."""

    path: Path
    seed: int
    config_sha256: str
    done: list[str] = field(default_factory=list)
    wall_s: float = 0.0
    results: dict[str, Any] = field(default_factory=dict)

    def save(self) -> None:
        """What is done so far, for a resumption."""
        values = {k: v for k, v in vars(self).items() if k != "path"}
        write_json(self.path / STATE, values)


def run_demo(
    config: RunConfig, seed: int, runs: Path, fresh: bool, steps: int | None, episodes: int
) -> None:
    """Runs every phase that is not done yet and ends with a table."""
    learner = {"total_steps": steps} if steps else {}
    identity = config_sha256(config).encode() + json.dumps([learner, episodes]).encode()
    with GraphMonitor() as monitor:  # before anything of a run that is going on is touched
        monitor.refuse_running_graph()
    run = _open_run(config, seed, runs, fresh, hashlib.sha256(identity).hexdigest())
    with _locked(run.path):
        _run_phases(_Job(config, run, learner, episodes))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time works on a run directory."""
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{path}: another demo works on this run; wait for it or stop it") from None
        yield


def _run_phases(job: "_Job") -> None:
    run = job.run
    for name in ("base_policy", "finetune", "evaluate", "pictures"):
        if name in run.done:
            continue
        started = time.monotonic()
        try:
            getattr(job, name)()
            run.done.append(name)
        finally:
            run.wall_s += time.monotonic() - started
            run.save()
    job.finish()


def next_count(attempts: list[dict[str, Any]], first: int) -> int | None:
    """How many demonstrations to train the base policy on next; None: enough was tried.

    attempts: {"demonstrations", "success_rate"} of those made; one more demonstration where the
    policy was too poor, one fewer where it was too good. It never turns back, so it ends.
    """
    if not attempts:
        return first
    low, high = BASE_RANGE
    directions = [(a["success_rate"] < low) - (a["success_rate"] > high) for a in attempts]
    turned = len(set(directions) - {0}) > 1
    if directions[-1] == 0 or turned or len(attempts) == BASE_ATTEMPTS:
        return None
    return max(1, attempts[-1]["demonstrations"] + directions[-1])


def best_attempt(attempts: list[dict[str, Any]]) -> int:
    """Index of the attempt nearest to the middle of the range."""
    middle = sum(BASE_RANGE) / 2
    return min(range(len(attempts)), key=lambda i: abs(attempts[i]["success_rate"] - middle))


def _open_run(config: RunConfig, seed: int, runs: Path, fresh: bool, identity: str) -> DemoRun:
    latest = runs / LATEST
    if not fresh and (latest / STATE).is_file() and not (latest / SUMMARY).exists():
        state = _read_state(latest / STATE)
        if state["seed"] == seed and state["config_sha256"] == identity:
            run = DemoRun(latest.resolve(), **state)
            done = ", ".join(run.done) or "nothing"
            console.print(f"resuming {_shown(run.path)} (done so far: {done}); --fresh starts anew")
            return run
    path = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{TASK}-seed{seed}"
    try:
        (path / "config").mkdir(parents=True)
        sections = yaml.safe_dump(dict(config.sections), sort_keys=False)  # includes and all
        (path / "config" / "run.yaml").write_text(sections)
        _point_latest(latest, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be made ({error}); choose another folder with --runs") from None
    console.print(f"new run in {_shown(path)}")
    run = DemoRun(path.resolve(), seed, identity)
    run.save()
    return run


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
        DemoRun(path.parent, **state)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: damaged ({error}); start anew with --fresh") from None
    return state


def _shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _point_latest(latest: Path, path: Path) -> None:
    partial = latest.with_name(f".{LATEST}.partial")
    partial.unlink(missing_ok=True)
    partial.symlink_to(path.name)
    os.replace(partial, latest)


class _Job:
    """The phases of the demo on one run directory."""

    def __init__(self, config: RunConfig, run: DemoRun, learner: dict[str, Any], episodes: int) -> None:
        self.config, self.run, self.learner, self.episodes = config, run, learner, episodes
        self.policy = run.path / run_layout.POLICY
        self.demos = run.path / run_layout.DEMOS

    def base_policy(self) -> None:
        """As few demonstrations as give a base policy worth improving: good, but not good enough."""
        attempts = self.run.results.setdefault("base_attempts", [])
        while (wanted := next_count(attempts, self.config.behaviour_cloning.demonstrations)) is not None:
            self._record(wanted)
            self._train()
            rate = self._evaluate_base()
            attempts.append({"demonstrations": wanted, "success_rate": rate})
            self.run.save()
        best = best_attempt(attempts)
        if best != len(attempts) - 1:  # made again: one seed and the same bags give the same policy
            self._record(attempts[best]["demonstrations"])
            self._train()
        self.run.results["base"] = attempts[best]

    def _record(self, wanted: int) -> None:
        """Exactly `wanted` successful demonstrations in use; surplus ones are set aside."""
        unused = self.run.path / run_layout.UNUSED_DEMOS
        unused.mkdir(parents=True, exist_ok=True)
        for bag in unused.glob("episode_*"):
            bag.rename(self.demos / bag.name)
        if count_successes(self.demos) < wanted:
            self._record_more(wanted)
        for bag in successful_bags(self.demos)[wanted:]:
            bag.rename(unused / bag.name)

    def _record_more(self, wanted: int) -> None:
        with progress_bar("1 record demos") as on_progress:
            phases.record(self.config, self.run.path, self.demos, wanted, self.run.seed, on_progress)

    def _train(self) -> None:
        if self.policy.exists():
            shutil.rmtree(self.policy)  # of an attempt before, made in this run
        with progress_bar("2 train base policy") as on_progress:
            self.run.results["bc"] = phases.train_base(
                self.config, self.demos, self.policy, self.run.seed, on_progress
            )

    def _evaluate_base(self) -> float:
        episodes = min(BASE_EPISODES, self.episodes)
        result = self._evaluate(
            "3 evaluate base", None, "base_evaluation.json", episodes, graphs.BASE_SCENES
        )
        return result["arms"]["base"]["success_rate"]

    def _evaluate(self, title: str, actor: Path | None, name: str, episodes: int, first: int) -> dict:
        run, result = self.run, self.run.path / name
        bags = run.path / "bags" / result.stem
        if bags.exists():
            shutil.rmtree(bags)  # of an evaluation that was stopped: it starts over
        with progress_bar(title) as on_progress:
            return phases.evaluate(
                self.config,
                run.path,
                self.policy,
                actor,
                result,
                episodes,
                graphs.scenes(run.seed, first),
                run.seed,
                on_progress,
                bag_dir=bags,
            )

    def finetune(self) -> None:
        with progress_bar("4 fine-tune") as on_progress:
            result = phases.finetune(
                self.config,
                self.run.path,
                self.policy,
                self.demos,
                self.run.seed,
                on_progress,
                learner=self.learner,
            )
        self.run.results["finetune"] = vars(result)

    def evaluate(self) -> None:
        actor = self.run.path / run_layout.CHECKPOINTS
        self.run.results["evaluation"] = self._evaluate(
            "5 evaluate both", actor, run_layout.EVALUATION, self.episodes, graphs.FINAL_SCENES
        )

    def pictures(self) -> None:
        evaluation, path = self.run.results["evaluation"], self.run.path
        plot_learning_curve(path, evaluation, path / "learning_curve.png")
        make_film(path / "bags" / Path(run_layout.EVALUATION).stem, evaluation, path)

    def finish(self) -> None:
        run, results = self.run, self.run.results
        arms, learnt = results["evaluation"]["arms"], results["finetune"]
        summary = {
            "task": TASK,
            "seed": run.seed,
            "base_success_rate": arms["base"]["success_rate"],
            "finetuned_success_rate": arms["finetuned"]["success_rate"],
            "eval_episodes": arms["base"]["episodes"],
            "env_steps": learnt["env_steps"],
            "gradient_updates": learnt["gradient_updates"],
            "wall_s": round(run.wall_s, 1),
            "steps_lost": learnt["steps_lost"],
            "base_wilson_95": arms["base"]["wilson_95"],
            "finetuned_wilson_95": arms["finetuned"]["wilson_95"],
            "p_value": results["evaluation"]["p_value"],
            "demonstrations": results["bc"]["demonstrations"],
        }
        write_json(run.path / SUMMARY, summary)
        print_evaluation(results["evaluation"])
        console.print(
            f"{summary['env_steps']} environment steps, {summary['gradient_updates']} gradient "
            f"updates, {summary['steps_lost']} steps lost, {summary['wall_s']:.0f} s in all\n"
            f"everything is in {_shown(run.path)}: summary.json, learning_curve.png, film.png, "
            "before_after.gif"
        )
