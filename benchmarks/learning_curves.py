"""Success against environment steps on `bimanual_lift`, for the default settings and one change at a time.

Every variant is trained from the same base policies, one per seed, by the in-process runner. Runs
that are finished in --out are not run again. --figure and --table write what docs/learning.md shows.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.bringup import load_config
from resfit_ros.core.errors import ResfitError
from resfit_ros.core.intervals import wilson_interval
from resfit_ros.paths import find_config
from resfit_ros.runner.job import Job
from resfit_ros.runner.sweep import run_jobs

CONFIG = "bimanual_lift"
# Title and overrides; panels of the figure, each beside the default.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("default (UTD 1.5, n = 5)", {}),
    "utd_half": ("UTD 0.5", {"utd": 0.5}),
    "utd_1": ("UTD 1", {"utd": 1.0}),
    "utd_4": ("UTD 4", {"utd": 4.0}),
    "utd_8": ("UTD 8", {"utd": 8.0}),
    "n_1": ("n = 1", {"n_step": 1}),
    "n_3": ("n = 3", {"n_step": 3}),
    "no_layer_norm": ("no layer normalisation", {"layer_norm": False}),
    "no_demonstrations": ("no demonstrations", {}),
    "critics_2": ("2 critics", {"critic_ensemble": 2}),
    "bfloat16": ("bfloat16 products", {"matmul_precision": "bfloat16"}),
}
PANELS = (
    ("Update-to-data ratio", ("utd_half", "utd_1", "default", "utd_4", "utd_8")),
    ("n-step return", ("n_1", "n_3", "default")),
    ("Parts left out", ("default", "no_layer_norm", "no_demonstrations", "critics_2")),
)


def jobs_of(arguments: argparse.Namespace) -> list[Job]:
    """One job per variant and seed; the slowest first, so that none is left over at the end."""
    jobs = []
    for name in arguments.variants:
        for seed in arguments.seeds:
            steps = {"total_steps": arguments.steps}
            jobs.append(
                Job(
                    name=name,
                    seed=seed,
                    out_dir=arguments.out / f"{name}-seed{seed}",
                    overrides=VARIANTS[name][1] | steps,
                    base_policy=arguments.out / f"base-seed{seed}",
                    demonstrations=name != "no_demonstrations",
                    eval_every=arguments.eval_every,
                    eval_episodes=arguments.eval_episodes,
                )
            )
    return sorted(jobs, key=lambda job: -job.overrides.get("utd", 1.5))


def curve(results: Sequence[dict[str, Any]], eval_every: int) -> tuple[np.ndarray, np.ndarray]:
    """(environment steps (E,), success rates (seeds, E)) on the grid that all seeds share."""
    rates = [[e["successes"] / e["episodes"] for e in r["evaluations"]] for r in results]
    length = min(map(len, rates))
    return np.arange(length) * eval_every, np.array([r[:length] for r in rates])


def summary(results: Sequence[dict[str, Any]], eval_every: int) -> dict[str, Any]:
    """Figures of one variant over its seeds."""
    _, rates = curve(results, eval_every)
    last = [r["evaluations"][-1] for r in results]
    won, tried = sum(e["successes"] for e in last), sum(e["episodes"] for e in last)
    low, high = wilson_interval(won, tried)
    return {
        "seeds": [r["seed"] for r in results],
        "base": [float(r[0]) for r in rates],
        "final": [e["successes"] / e["episodes"] for e in last],
        "final_mean": won / tried,
        "low": low,
        "high": high,
        "mean_over_run": float(rates[:, 1:].mean()),
        "critic_updates": last[0]["critic_updates"],
        "wall_s": float(np.mean([e["wall_s"] for e in last])),
    }


def write_figure(path: Path, by_variant: dict[str, list], eval_every: int, episodes: int) -> None:
    """Mean over the seeds as a line, each seed's range as a band."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(13, 4), sharey=True, layout="constrained")
    for axis, (title, names) in zip(axes, PANELS, strict=True):
        for name in (n for n in names if n in by_variant):
            steps, rates = curve(by_variant[name], eval_every)
            colour = "black" if name == "default" else None
            (line,) = axis.plot(steps / 1000, rates.mean(axis=0), "o-", ms=3, color=colour, label=VARIANTS[name][0])
            axis.fill_between(
                steps / 1000, rates.min(axis=0), rates.max(axis=0), color=line.get_color(), alpha=0.12
            )
        axis.set(title=title, xlabel="environment steps [1000]", ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right", fontsize=8)
    axes[0].set_ylabel(f"success rate of {episodes} episodes")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per variant."""
    lines = [
        "| Variant | Base, per seed | End, per seed | End, all seeds (95 % interval) | Mean over the run | Critic updates | Training time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, s in summaries.items():
        base, final = (", ".join(f"{rate:.0%}" for rate in s[key]) for key in ("base", "final"))
        lines.append(
            f"| {VARIANTS[name][0]} | {base} | {final} | {s['final_mean']:.0%} ({s['low']:.0%} to {s['high']:.0%}) "
            f"| {s['mean_over_run']:.0%} | {s['critic_updates']:,} | {s['wall_s']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing and prints a row per variant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/learning_curves"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=15_000, help="environment steps")
    parser.add_argument("--eval-every", type=int, default=1500, help="environment steps")
    parser.add_argument("--eval-episodes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--figure", type=Path, help="PNG file to write")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = load_config(find_config(CONFIG))
    try:
        results = run_jobs(jobs_of(arguments), config, arguments.jobs)
    except ResfitError as error:
        raise SystemExit(str(error)) from None
    by_variant = {n: [r for r in results if r["name"] == n] for n in arguments.variants}
    for runs in by_variant.values():
        runs.sort(key=lambda r: r["seed"])
    summaries = {name: summary(runs, arguments.eval_every) for name, runs in by_variant.items()}
    print(table(summaries), end="")
    if arguments.figure:
        write_figure(arguments.figure, by_variant, arguments.eval_every, arguments.eval_episodes)
    if arguments.table:
        arguments.table.write_text(table(summaries))
    if arguments.json:
        print(json.dumps({"steps": arguments.steps, "variants": summaries}))


if __name__ == "__main__":
    main()
