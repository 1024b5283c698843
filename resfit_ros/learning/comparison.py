"""Success rates compared: intervals and exact tests for a number of episodes fixed beforehand."""

import math
from collections.abc import Callable

from resfit_ros.core.intervals import Z_95, wilson_interval

BISECTIONS = 60
ROUNDING = 1e-9  # tables whose probabilities differ by less count as equally likely


def newcombe_interval(first: tuple[int, int], second: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of rate(second) - rate(first) where the episodes are not paired.

    first, second: (successes, trials). R. G. Newcombe's hybrid score interval (Statistics in Medicine 17,
    1998, pp. 873-890, method 10).
    """
    if not (first[1] and second[1]):
        return -1.0, 1.0
    (p1, (l1, u1)), (p2, (l2, u2)) = ((s / n, wilson_interval(s, n)) for s, n in (first, second))
    difference = p2 - p1
    low = difference - math.hypot(p2 - l2, u1 - p1)
    high = difference + math.hypot(u2 - p2, p1 - l1)
    return max(-1.0, low), min(1.0, high)


def tango_interval(only_first: int, only_second: int, pairs: int) -> tuple[float, float]:
    """95 % score interval of rate(second) - rate(first) over pairs (T. Tango, Statistics in
    Medicine 17, 1998, pp. 891-908).

    only_first, only_second: pairs in which only that arm succeeded.
    """
    if pairs == 0:
        return -1.0, 1.0

    def score(difference: float) -> float:
        return _tango_score(only_second, only_first, pairs, difference)

    estimate = (only_second - only_first) / pairs
    low = _crossing(lambda d: score(d) - Z_95, -1.0, estimate)
    high = _crossing(lambda d: score(d) + Z_95, estimate, 1.0)
    return low, high


def _tango_score(better: int, worse: int, pairs: int, difference: float) -> float:
    """Standardised distance of the estimate from `difference`, with the rates that fit it best."""
    a = 2.0 * pairs
    b = -better - worse + (2.0 * pairs - better + worse) * difference
    c = -worse * difference * (1.0 - difference)
    only_first = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = pairs * (2.0 * only_first + difference * (1.0 - difference))
    distance = better - worse - pairs * difference
    if variance <= 0.0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def _crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero; the end of the range that it does not reach zero before."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if function(middle) > 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def exact_paired_test(only_first: int, only_second: int) -> float:
    """Two-sided p-value of McNemar's exact test on scenes where exactly one arm succeeded."""
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0
    tail = sum(math.comb(discordant, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**discordant)


def fisher_exact_test(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Two-sided p-value of Fisher's exact test; first, second: (successes, trials)."""
    (s1, n1), (s2, n2) = first, second
    successes, everything = s1 + s2, math.comb(n1 + n2, s1 + s2)

    def ways(of_first: int) -> int:
        return math.comb(n1, of_first) * math.comb(n2, successes - of_first)

    seen = ways(s1) * (1.0 + ROUNDING)
    tables = (ways(k) for k in range(max(0, successes - n2), min(n1, successes) + 1))
    return min(1.0, sum(w for w in tables if w <= seen) / everything)
