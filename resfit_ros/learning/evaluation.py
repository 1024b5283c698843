"""Evaluation people can trust: the order of the episodes, what each came to, and what all of them say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resfit_ros.core.intervals import wilson_interval
from resfit_ros.core.types import Outcome
from resfit_ros.learning.comparison import (
    exact_paired_test,
    fisher_exact_test,
    newcombe_interval,
    tango_interval,
)
from resfit_ros.learning.sequential import StoppingRule, Tally, Verdict, history

__all__ = ["Result", "Trial", "blocks", "exact_paired_test", "schedule", "summarise"]
UNSEEDED = -1  # initial scene that somebody else sets up


@dataclass(frozen=True)
class Trial:
    """One episode to run: which arm, on which initial scene, in which block.

    A block holds one episode of each arm. scene_seed: UNSEEDED on a robot that a person resets.
    """

    arm: str
    scene_seed: int
    block: int = 0


def schedule(
    arms: Sequence[str], episodes: int, first_scene: int, seed: int, matched: bool = True
) -> list[Trial]:
    """Blocks of one episode per arm; within a block the arms come in random order.

    matched: a block's episodes start from the same scene, seeded.
    """
    rng = np.random.default_rng(seed)
    return [
        Trial(arms[arm], first_scene + i if matched else UNSEEDED, i)
        for i in range(episodes)
        for arm in rng.permutation(len(arms))
    ]


@dataclass(frozen=True)
class Result:
    """A trial that was run: as which episode, how it ended, after how many steps.

    interventions: steps a human drove. as_planned: each of its actions came from its arm. seconds: duration
    by the stamps.
    """

    trial: Trial
    episode_id: int
    outcome: Outcome
    steps: int
    interventions: int = 0
    as_planned: bool = True
    seconds: float = 0.0
    labelled_by: str = ""

    @property
    def counts(self) -> bool:
        """Whether anything may be computed from it."""
        return self.outcome is not Outcome.ABORTED and self.as_planned

    @property
    def success(self) -> bool:
        """Success without help."""
        return self.outcome is Outcome.SUCCESS and not self.interventions


def blocks(arms: Sequence[str], results: Sequence[Result]) -> list[tuple[bool, bool]]:
    """(first arm succeeded, second arm succeeded) of each complete block, in the order they were run."""
    won: dict[int, dict[str, bool]] = {}
    for result in results:
        if result.counts:
            won.setdefault(result.trial.block, {})[result.trial.arm] = result.success
    first, second = arms
    return [(w[first], w[second]) for w in won.values() if len(w) == len(arms)]


def tally(arms: Sequence[str], results: Sequence[Result]) -> Tally:
    """What the complete blocks say of two arms."""
    counts = Tally()
    for pair in blocks(arms, results):
        counts = counts.plus(*pair)
    return counts


def summarise(
    arms: Sequence[str],
    results: Sequence[Result],
    rule: StoppingRule | None = None,
    matched: bool = True,
) -> dict[str, Any]:
    """Success rate per arm with its interval, the comparison of two arms, and every episode.

    "difference" and "p_value" hold for a number of episodes fixed beforehand, "sequential" at any time. Both
    compare the second arm with the first. Aborted episodes are listed, and nothing is computed from them.
    """
    counted = {arm: [r for r in results if r.trial.arm == arm and r.counts] for arm in arms}
    summary: dict[str, Any] = {"arms": {arm: _arm(arm, counted[arm], results) for arm in arms}}
    if len(arms) == 2:
        summary |= _comparison(arms, results, counted, matched)
        summary["sequential"] = _sequential(arms, results, rule or StoppingRule(len(results)))
    summary["episodes"] = [_episode(r) for r in results]
    return summary


def _arm(arm: str, counted: Sequence[Result], results: Sequence[Result]) -> dict[str, Any]:
    successes, trials = sum(r.success for r in counted), len(counted)
    took = [r.seconds for r in counted if r.success]
    return {
        "successes": successes,
        "episodes": trials,
        "success_rate": successes / trials if trials else None,
        "wilson_95": wilson_interval(successes, trials),
        "mean_seconds_of_successes": sum(took) / len(took) if took else None,
        "helped": sum(r.interventions > 0 for r in counted),
        "aborted": sum(r.trial.arm == arm and r.outcome is Outcome.ABORTED for r in results),
        "void": sum(r.trial.arm == arm and not r.as_planned for r in results),
    }


def _comparison(
    arms: Sequence[str], results: Sequence[Result], counted: dict[str, list[Result]], matched: bool
) -> dict[str, Any]:
    t = tally(arms, results)
    first, second = ((sum(r.success for r in counted[arm]), len(counted[arm])) for arm in arms)
    if matched:
        estimate: float | None = t.difference if t.pairs else None
        interval, p_value = tango_interval(t.worse, t.better, t.pairs), exact_paired_test(t.worse, t.better)
        method, test = "Tango's score interval", "McNemar's exact test"
    else:
        estimate = second[0] / second[1] - first[0] / first[1] if first[1] and second[1] else None
        interval, p_value = newcombe_interval(first, second), fisher_exact_test(first, second)
        method, test = "Newcombe's hybrid score interval", "Fisher's exact test"
    return {
        "p_value": p_value,
        "test": test,
        "matched": matched,
        "difference": {"estimate": estimate, "interval_95": interval, "method": method},
        "pairs": {
            "both": sum(a and b for a, b in blocks(arms, results)),
            f"only_{arms[0]}": t.worse,
            f"only_{arms[1]}": t.better,
            "neither": sum(not a and not b for a, b in blocks(arms, results)),
        },
    }


def _sequential(arms: Sequence[str], results: Sequence[Result], rule: StoppingRule) -> dict[str, Any]:
    rows = history(blocks(arms, results), rule.alpha)
    verdict = Verdict.GO_ON if not rows else rule.verdict(tally(arms, results))
    shown = bool(rows) and rows[-1].p_value <= rule.alpha
    return {
        "alpha": rule.alpha,
        "min_difference": rule.min_difference,
        "pairs": len(rows),
        "max_pairs": rule.max_pairs,
        "verdict": (Verdict.DIFFERENCE if shown else verdict).name.lower(),
        "p_value": rows[-1].p_value if rows else 1.0,
        "interval": (rows[-1].low, rows[-1].high) if rows else (-1.0, 1.0),
        "history": [vars(row) for row in rows],
    }


def _episode(result: Result) -> dict[str, Any]:
    return {
        "arm": result.trial.arm,
        "scene_seed": result.trial.scene_seed,
        "block": result.trial.block,
        "episode_id": result.episode_id,
        "outcome": result.outcome.name.lower(),
        "success": result.success,
        "counts": result.counts,
        "steps": result.steps,
        "seconds": result.seconds,
        "interventions": result.interventions,
        "as_planned": result.as_planned,
        "labelled_by": result.labelled_by,
    }
