"""How many episodes the sequential test saves, and how often it is wrong: computed exactly, and simulated.

python benchmarks/sequential_evaluation.py [--pairs 100] [--runs 20000] [--out FILE.json]
"""

import argparse
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resfit_ros.learning.comparison import exact_paired_test
from resfit_ros.learning.sequential import StoppingRule, Tally, Verdict, confidence_interval, log_evidence

RATES = (
    (0.3, 0.3),
    (0.5, 0.5),
    (0.8, 0.8),
    (0.5, 0.6),
    (0.5, 0.7),
    (0.3, 0.6),
    (0.3, 0.8),
    (0.1, 0.9),
    (0.8, 0.3),
)
ALPHA = 0.05


@dataclass(frozen=True)
class Figures:
    """What comes of an evaluation of at most N pairs, exactly."""

    shown: float  # probability that a difference is shown, in whichever direction
    wrong_side: float  # probability that the worse arm is said to be better
    mean_pairs: float
    median_pairs: int
    fixed_shown: float  # power of McNemar's exact test after all N pairs
    peeking_shown: float  # of the same test looked at after every pair, with no correction


def exact(first: float, second: float, rule: StoppingRule) -> Figures:
    """By the distribution over (better, worse) after each pair; the arms' outcomes are independent."""
    up, down = second * (1 - first), first * (1 - second)
    alive = {(0, 0): 1.0}
    shown = wrong = mean = done = 0.0
    median = rule.max_pairs
    verdicts: dict[Tally, Verdict] = {}
    for n in range(1, rule.max_pairs + 1):
        following: dict[tuple[int, int], float] = {}
        for (b, c), mass in _step(alive, up, down).items():
            # At no difference ties do not matter, and "hopeless" only looks at the pairs left.
            verdict = verdicts.setdefault(Tally(b, c, n - b - c), rule.verdict(Tally(b, c, n - b - c)))
            over = verdict is not Verdict.GO_ON or n == rule.max_pairs
            shown += mass * (verdict is Verdict.DIFFERENCE)
            wrong += mass * (verdict is Verdict.DIFFERENCE and (b - c) * (second - first) < 0)
            mean += mass * n * over
            done += mass * over
            if not over:
                following[b, c] = mass
        if done >= 0.5:
            median = min(median, n)
        alive = following
    return Figures(shown, wrong, mean, median, *_mcnemar(up, down, rule.max_pairs))


def _step(alive: dict[tuple[int, int], float], up: float, down: float) -> dict[tuple[int, int], float]:
    following: dict[tuple[int, int], float] = {}
    for (b, c), mass in alive.items():
        for state, share in (((b + 1, c), up), ((b, c + 1), down), ((b, c), 1 - up - down)):
            if share > 0.0:
                following[state] = following.get(state, 0.0) + mass * share
    return following


def _mcnemar(up: float, down: float, pairs: int) -> tuple[float, float]:
    """(power after all pairs, probability that it ever says p <= alpha when looked at after each)."""
    fixed, watched, ever = {(0, 0): 1.0}, {(0, 0): 1.0}, 0.0
    p_value = {(b, c): exact_paired_test(c, b) for b in range(pairs + 1) for c in range(pairs + 1 - b)}
    for _ in range(pairs):
        fixed, watched = _step(fixed, up, down), _step(watched, up, down)
        ever += sum(m for s, m in watched.items() if p_value[s] <= ALPHA)
        watched = {s: m for s, m in watched.items() if p_value[s] > ALPHA}
    return sum(m for s, m in fixed.items() if p_value[s] <= ALPHA), ever


def simulated_coverage(first: float, second: float, pairs: int, runs: int, seed: int) -> float:
    """Share of runs whose confidence sequence held the true difference after every pair."""
    rng, limit, held = np.random.default_rng(seed), -math.log(ALPHA), 0
    evidence: dict[Tally, float] = {}
    for _ in range(runs):
        tally, inside = Tally(), True
        for a, b in rng.random((pairs, 2)) < (first, second):
            tally = tally.plus(bool(a), bool(b))
            if tally not in evidence:
                evidence[tally] = log_evidence(tally, second - first)
            inside &= evidence[tally] < limit
        held += inside
    return held / runs


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rule = StoppingRule(options.pairs, ALPHA)
    rows = []
    print(
        "| A | B | shown | shown, wrong side | mean pairs | median | fixed N: shown "
        "| looked at each time: shown | coverage |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for first, second in RATES:
        f = exact(first, second, rule)
        coverage = simulated_coverage(first, second, options.pairs, options.runs, seed=0)
        rows.append({"first": first, "second": second, **vars(f), "coverage": coverage})
        print(
            f"| {first:.0%} | {second:.0%} | {f.shown:.1%} | {f.wrong_side:.2%} | {f.mean_pairs:.1f} "
            f"| {f.median_pairs} | {f.fixed_shown:.1%} | {f.peeking_shown:.1%} | {coverage:.1%} |"
        )
    worst = exact_type_one(rule)
    print(f"\nworst case under no difference (every pair differs): {worst:.2%}; least pairs to show one: "
          f"{least_pairs(rule)}")  # fmt: skip
    low, high = confidence_interval(Tally(24, 1, 25), ALPHA)
    print(f"24 to 1 of 50 pairs: confidence sequence {low:+.2f} to {high:+.2f}")
    if options.out:
        options.out.write_text(
            json.dumps({"alpha": ALPHA, "pairs": options.pairs, "rows": rows, "worst": worst}, indent=1)
        )


def exact_type_one(rule: StoppingRule) -> float:
    """Type-I error where every pair differs: the most looks that count."""
    alive, wrong = {(0, 0): 1.0}, 0.0
    for _ in range(rule.max_pairs):
        alive = _step(alive, 0.5, 0.5)
        stopped = [s for s in alive if log_evidence(Tally(*s)) >= -math.log(rule.alpha)]
        wrong += sum(alive.pop(s) for s in stopped)
    return wrong


def least_pairs(rule: StoppingRule) -> int:
    """Pairs it takes where only one arm ever succeeds."""
    n = 1
    while log_evidence(Tally(n)) < -math.log(rule.alpha):
        n += 1
    return n


if __name__ == "__main__":
    main()
