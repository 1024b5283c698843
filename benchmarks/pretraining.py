"""Success against environment steps on `bimanual_lift`, with and without critics pretrained on bags.

Per seed: demonstrations and a base policy cloned from them; rollouts of the base policy with the warm-up's
noise, recorded as bags; critics pretrained on both; fine-tuning with and without. The steps of the
rollouts are counted apart, and a second curve adds them. What is finished in --out is not run again.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.rollout_bags import record_demonstrations, record_rollouts, recorded_steps
from resfit_ros.bringup import RunConfig, load_config
from resfit_ros.data.demonstrations import labelled, successful_segments
from resfit_ros.core.intervals import wilson_interval
from resfit_ros.core.whole_file import write_json
from resfit_ros.paths import find_config
from resfit_ros.runner.base_policy import load_policy, train_base_policy
from resfit_ros.runner.pretraining import RESULT, pretrain_from_bags, pretraining_parameters, start_from
from resfit_ros.runner.settings import RobotSettings, learner_parameters
from resfit_ros.runner.training import SimTraining

CONFIG = "bimanual_lift"
AIM = 0.8
WITHOUT = "without"
# Title and learning settings; None: fine-tuning from nothing, with its warm-up and critic-only updates.
VARIANTS: dict[str, tuple[str, dict[str, Any] | None]] = {
    WITHOUT: ("without pretraining", None),
    "pretrained": ("pretrained critics", {}),
    "cal_ql": ("pretrained, Cal-QL", {"conservative": "cal_ql"}),
    "warm_start": ("pretrained, actor warm-started", {"warm_start_updates": 1000}),
    "not_kept": ("pretrained, successes alone kept", {"keep_offline_data": "successes"}),
}


class Seed:
    """Base policy, bags and results of one seed below --out."""

    def __init__(self, config: RunConfig, out: Path, seed: int, rollouts: int, std: float) -> None:
        self.config, self.seed, self.rollout_count, self.std = config, seed, rollouts, std
        self.path = out / f"seed_{seed}"
        self.demos, self.rollouts = self.path / "demos", self.path / "rollouts"
        self.policy = self.path / "base_policy"

    def prepare(self) -> None:
        """Demonstrations, base policy and rollouts, as far as they are not there."""
        settings = RobotSettings.of(self.config)
        if not (self.path / "prepared").exists():
            record_demonstrations(self.config, settings, self.seed, self.demos)
            segments = successful_segments(self.demos, len(self.config.joint_names))
            train_base_policy(self.config, segments, self.policy, self.seed, lambda *_: None)
            policy = load_policy(self.config, self.policy)
            record_rollouts(settings, policy, self.seed, self.rollout_count, self.std, self.rollouts)
            (self.path / "prepared").touch()

    def pretrain(self, name: str, settings: dict[str, Any], updates: int) -> Path:
        """The run directory of a pretraining."""
        run_dir = self.path / f"pretrain-{name}"
        if not (run_dir / RESULT).exists():
            more = {**settings, "seed": self.seed}
            p = pretraining_parameters(self.config, run_dir, str(self.policy), more, updates)
            pretrain_from_bags(p, [self.demos, self.rollouts], 0.1)
        return run_dir

    def finetune(
        self, name: str, settings: dict[str, Any] | None, arguments: argparse.Namespace
    ) -> dict[str, Any]:
        """Evaluations of a fine-tuning run, from a pretrained critic or from nothing."""
        path = self.path / f"finetune-{name}.json"
        if path.exists():
            return json.loads(path.read_text())
        learner = learner_parameters(self.config, self.seed, {**(settings or {}), "total_steps": arguments.steps})
        policy = load_policy(self.config, self.policy)
        demos: Sequence = ()  # after pretraining the kept bags hold them
        if settings is None:
            segments = successful_segments(self.demos, len(self.config.joint_names))
            demos = labelled(segments, policy, learner.chunking)
        training = SimTraining(self.config, policy, self.policy, learner, demos)
        if settings is not None:
            start = self.pretrain(name, settings, arguments.updates)
            p = pretraining_parameters(self.config, start, str(self.policy), settings)
            start_from(training.trainer, p, start, print)
        evaluations = self._curve(training, arguments.eval_every, arguments.eval_episodes)
        training.robot.close()
        result = {"name": name, "seed": self.seed, "evaluations": evaluations, "wall_s": training.training_s}
        if settings is not None:
            result["pretraining"] = _short(json.loads((start / RESULT).read_text()))
            result["rollout_steps"] = recorded_steps(self.rollouts)
        write_json(path, result)
        return result

    def _curve(self, training: SimTraining, every: int, episodes: int) -> list[dict[str, Any]]:
        evaluations, due = [], 0
        while True:
            steps = training.trainer.env_steps
            if steps >= due or training.done:
                won = training.evaluate(episodes)
                evaluations.append({"env_steps": steps, "successes": won, "episodes": episodes})
                print(self.seed, steps, f"{won / episodes:.0%}", f"{training.training_s:.0f} s", flush=True)
                due = (steps // every + 1) * every
            if training.done:
                return evaluations
            training.learn_one_episode()


def _short(result: dict[str, Any]) -> dict[str, Any]:
    errors = result["errors"]
    held_out = errors["held_out_td"]
    return {
        "data": result["data"],
        "held_out": result["held_out"],
        "td": (errors["train_td"][-1], held_out[-1] if held_out else None, min(held_out, default=None)),
        "calibration": {k: v for k, v in result["calibration"].items() if k != "bins"},
        "seconds": round(errors["seconds"], 1),
    }


def rates_of(result: dict[str, Any]) -> list[float]:
    """Success rate at each evaluation."""
    return [e["successes"] / e["episodes"] for e in result["evaluations"]]


def steps_to_aim(result: dict[str, Any]) -> int | None:
    """Environment steps at the first evaluation that reaches AIM; None: none does."""
    reached = (e["env_steps"] for e in result["evaluations"] if e["successes"] / e["episodes"] >= AIM)
    return next(reached, None)


def mean_steps_to_aim(results: Sequence[dict[str, Any]], every: int) -> int | None:
    """The first grid point at which the mean over the seeds reaches AIM."""
    length = min(len(r["evaluations"]) for r in results)
    means = np.mean([rates_of(r)[:length] for r in results], axis=0)
    reached = np.flatnonzero(means >= AIM)
    return int(reached[0]) * every if len(reached) else None


def table(by_variant: dict[str, list[dict[str, Any]]], every: int) -> str:
    """Markdown: one row per variant."""
    percent = f"{AIM:.0%}"
    lines = [
        f"| Variant | Steps to {percent}, per seed | Mean of the seeds reaches {percent} at | "
        "Success after 2,000 steps | after 4,000 | at the end | Steps of rollouts before, per seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, results in by_variant.items():
        reached = ", ".join(f"{s:,}" if (s := steps_to_aim(r)) is not None else "not" for r in results)
        mean = mean_steps_to_aim(results, every)
        ends = [f"{np.mean([rates_of(r)[i] for r in results]):.0%}" for i in (2000 // every, 4000 // every, -1)]
        before = ", ".join(f"{r['rollout_steps']:,}" if "rollout_steps" in r else "0" for r in results)
        row = [VARIANTS[name][0], reached, f"{mean:,}" if mean is not None else "not", *ends, before]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def write_figure(path: Path, by_variant: dict[str, list], every: int, episodes: int) -> None:
    """Mean over the seeds as a line, their range as a band; dashed: the steps of the rollouts counted, too."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, results in by_variant.items():
        length = min(len(r["evaluations"]) for r in results)
        steps = np.arange(length) * every / 1000
        rates = np.array([rates_of(r)[:length] for r in results])
        colour = "black" if name == WITHOUT else None
        (line,) = axis.plot(steps, rates.mean(axis=0), "o-", ms=3, color=colour, label=VARIANTS[name][0])
        axis.fill_between(steps, rates.min(axis=0), rates.max(axis=0), color=line.get_color(), alpha=0.12)
        if name == "pretrained":
            shift = np.mean([r["rollout_steps"] for r in results]) / 1000
            label = f"the same, {1000 * shift:,.0f} steps of recorded rollouts counted"
            axis.plot(steps + shift, rates.mean(axis=0), "--", color=line.get_color(), alpha=0.7, label=label)
    axis.axhline(AIM, color="#888888", linewidth=1, linestyle=":")
    seeds = len(next(iter(by_variant.values())))
    axis.set(
        xlabel="environment steps of fine-tuning [1000]",
        ylabel=f"success rate of {episodes} episodes",
        ylim=(0, 1.02),
        title=f"bimanual_lift: mean and range of {seeds} seeds",
    )
    axis.set_xlim(left=0)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right", fontsize=8)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def summary(results: Sequence[dict[str, Any]], every: int) -> dict[str, Any]:
    """Figures of one variant over its seeds."""
    last = [r["evaluations"][-1] for r in results]
    won, tried = sum(e["successes"] for e in last), sum(e["episodes"] for e in last)
    return {
        "seeds": [r["seed"] for r in results],
        "rates": [rates_of(r) for r in results],
        "env_steps": [[e["env_steps"] for e in r["evaluations"]] for r in results],
        "steps_to_aim": [steps_to_aim(r) for r in results],
        "mean_reaches_aim_at": mean_steps_to_aim(results, every),
        "final_mean": won / tried,
        "final_wilson_95": list(wilson_interval(won, tried)),
        "rollout_steps": [r.get("rollout_steps", 0) for r in results],
        "pretraining": [r.get("pretraining") for r in results],
    }


def main() -> None:
    """Runs what is missing, and prints a row per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=[WITHOUT, "pretrained"])
    parser.add_argument("--rollouts", type=int, default=60, help="recorded episodes of the base policy")
    parser.add_argument("--noise", type=float, default=0.06, help="of these, normalised action")
    parser.add_argument("--updates", type=int, default=3_000, help="of the critics, in pretraining")
    parser.add_argument("--steps", type=int, default=12_000, help="environment steps of fine-tuning")
    parser.add_argument("--eval-every", type=int, default=1000, help="environment steps")
    parser.add_argument("--eval-episodes", type=int, default=50)
    parser.add_argument("--figure", type=Path, help="PNG file to write")
    parser.add_argument("--json", type=Path, help="JSON file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(find_config(CONFIG))
    by_variant: dict[str, list] = {name: [] for name in arguments.variants}
    for seed in arguments.seeds:
        run = Seed(config, arguments.out, seed, arguments.rollouts, arguments.noise)
        run.prepare()
        for name in arguments.variants:
            by_variant[name].append(run.finetune(name, VARIANTS[name][1], arguments))
    print(table(by_variant, arguments.eval_every), end="")
    if arguments.figure:
        write_figure(arguments.figure, by_variant, arguments.eval_every, arguments.eval_episodes)
    if arguments.json:
        summaries = {name: summary(results, arguments.eval_every) for name, results in by_variant.items()}
        write_json(arguments.json, {"steps": arguments.steps, "updates": arguments.updates, "variants": summaries})


if __name__ == "__main__":
    main()
