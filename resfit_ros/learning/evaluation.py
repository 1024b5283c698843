"""Evaluation people can trust: interleaved order, Wilson intervals, a paired exact test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resfit_ros.core.types import Outcome

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Trial:
    """One episode to run: which arm, on which initial scene."""

    arm: str
    scene_seed: int


def schedule(arms: Sequence[str], episodes: int, first_scene: int, seed: int) -> list[Trial]:
    """Every arm on every scene; within a scene the arms come in random order."""
    rng = np.random.default_rng(seed)
    return [
        Trial(arms[arm], first_scene + i)
        for i in range(episodes)
        for arm in rng.permutation(len(arms))
    ]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate (E. B. Wilson, 1927)."""
    if trials == 0:
        return 0.0, 1.0
    p, z2 = successes / trials, Z_95 * Z_95
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def exact_paired_test(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test on scenes where exactly one arm succeeded."""
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**discordant)


@dataclass(frozen=True)
class Result:
    """A trial that was run: as which episode, how it ended, after how many steps."""

    trial: Trial
    episode_id: int
    outcome: Outcome
    steps: int


def summarise(
    arms: Sequence[str], results: Sequence[Result]
) -> dict[str, Any]:
    """Success rate per arm with its interval, the paired test, and every episode."""
    summary: dict[str, Any] = {"arms": {}, "episodes": []}
    won: dict[str, dict[int, bool]] = {arm: {} for arm in arms}
    for result in results:
        trial = result.trial
        won[trial.arm][trial.scene_seed] = result.outcome is Outcome.SUCCESS
        summary["episodes"].append(
            {
                "arm": trial.arm,
                "scene_seed": trial.scene_seed,
                "episode_id": result.episode_id,
                "outcome": result.outcome.name.lower(),
                "steps": result.steps,
            }
        )
    for arm in arms:
        successes, trials = sum(won[arm].values()), len(won[arm])
        summary["arms"][arm] = {
            "successes": successes,
            "episodes": trials,
            "success_rate": successes / trials if trials else None,
            "wilson_95": wilson_interval(successes, trials),
        }
    if len(arms) == 2:
        first, second = (won[arm] for arm in arms)
        pairs = [(first[s], second[s]) for s in first if s in second]
        summary["p_value"] = exact_paired_test(
            sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
        )
    return summary
