"""Tables and pictures of a run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from resfit_ros.cli.console import console
from resfit_ros.core.run_layout import LEARNING_LOG
from resfit_ros.reporting.evaluation_words import name_of, percent

NO_TEST_NAMED = "McNemar's exact test"  # in results of older releases


def print_evaluation(result: dict[str, Any]) -> None:
    """Success per arm with its 95 % interval, and the exact test."""
    scenes = "same initial scenes" if result.get("matched", True) else "scenes set up by hand"
    table = Table(title=f"evaluation (blind, interleaved, {scenes})")
    for column in ("policy", "success", "95 % interval", "episodes"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for arm, figures in result["arms"].items():
        low, high = figures["wilson_95"]
        rate, interval = percent(figures["success_rate"]), f"{percent(low)} to {percent(high)}"
        table.add_row(name_of(result, arm), rate, interval, str(figures["episodes"]))
    console.print(table)
    if "p_value" in result and not result.get("stopped_early"):
        console.print(f"{result.get('test', NO_TEST_NAMED)}, two-sided: p = {result['p_value']:.2g}")


def learning_points(run_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """(environment steps (N,), rolling success rate (N,)) that the learner logged."""
    steps, rates = [], []
    for line in (run_dir / LEARNING_LOG).read_text().splitlines():
        try:
            point = json.loads(line)
        except json.JSONDecodeError:  # half a line: the learner was killed while it wrote
            continue
        if point["success_rate"] == point["success_rate"]:
            steps.append(point["env_steps"])
            rates.append(point["success_rate"])
    return np.array(steps), np.array(rates)


def plot_learning_curve(run_dir: Path, result: dict[str, Any], path: Path) -> None:
    """Success while learning (with exploration) against environment steps, with both evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    steps, rates = learning_points(run_dir)
    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    axes.plot(steps, rates, color="#3367b0", label="while learning (last 50 episodes)")
    colours = {"base": "#888888", "finetuned": "#2c8a4b"}
    names = {"base": "base policy", "finetuned": "base + residual"}
    end = steps[-1] if len(steps) else 1
    for arm, figures in result["arms"].items():
        rate, (low, high) = figures["success_rate"], figures["wilson_95"]
        axes.axhline(rate, color=colours[arm], linestyle="--", linewidth=1)
        axes.fill_between([0, end], low, high, color=colours[arm], alpha=0.15, linewidth=0)
        label = f"{names[arm]}: {rate:.0%} of {figures['episodes']}"
        axes.plot([], [], color=colours[arm], linestyle="--", label=label)
    axes.set(xlabel="environment steps", ylabel="success rate", ylim=(0, 1.02), xlim=(0, end))
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
