"""When an evaluation may stop: a test of paired episodes that may be looked at as often as one likes.

Each block runs every arm once, in random order. Its difference D is +1 where only the second arm
succeeded, -1 where only the first did, 0 else. For a supposed mean difference d, let m = (d + 1) / 2 and
let a gambler stake a fixed part of his wealth on each block. With the stake written as u in (0, 1), a
block multiplies his wealth by

    u / m  (D = +1),    (1 - u) / (1 - m)  (D = -1),    the mean of both  (D = 0),

which is a fair game if the mean of D is d. So is the average over many stakes, the wealth e(d): a
nonnegative martingale that starts at 1 and reaches 1 / alpha with probability alpha at most (J. Ville,
1939). Hence

- e(0) >= 1 / alpha shows a difference, at any time; 1 / max e(0) is a p-value. At d = 0 blocks without a
  difference do not count, and e is the Bayes factor of a uniform prior against "each arm wins half of
  the others": 2^n b! c! / (n + 1)!, n = b + c (H. Robbins, Annals of Mathematical Statistics 41, 1970).
- the d with e(d) < 1 / alpha are a confidence sequence: it holds the true difference at all times together
  with probability 1 - alpha (I. Waudby-Smith and A. Ramdas, JRSS B 86, 2024). In d, e is log-convex, so it
  is an interval.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

STAKES = 200  # a finite average is as valid as an integral
EDGE = 1e-9  # distance that supposed means keep from 0 and 1
BISECTIONS = 40
_U = (np.arange(STAKES) + 0.5) / STAKES
_LOG_U, _LOG_REST = np.log(_U), np.log1p(-_U)


class Verdict(enum.Enum):
    """Why an evaluation may stop, or that it may not."""

    GO_ON = "not decided yet"
    DIFFERENCE = "a difference is shown"
    NO_DIFFERENCE = "a difference of the size asked for is ruled out"
    HOPELESS = "the episodes left cannot show a difference any more"


@dataclass(frozen=True)
class Tally:
    """Pairs of episodes: where only the second arm succeeded, where only the first did, and the others."""

    better: int = 0
    worse: int = 0
    ties: int = 0

    @property
    def pairs(self) -> int:
        """All pairs."""
        return self.better + self.worse + self.ties

    @property
    def difference(self) -> float:
        """Success rate of the second arm minus that of the first; 0 without pairs."""
        return (self.better - self.worse) / self.pairs if self.pairs else 0.0

    def plus(self, first_won: bool, second_won: bool) -> "Tally":
        """With one more pair."""
        return Tally(
            self.better + (second_won and not first_won),
            self.worse + (first_won and not second_won),
            self.ties + (first_won == second_won),
        )


def log_evidence(tally: Tally, difference: float = 0.0) -> float:
    """log e(difference): evidence against that mean difference, in [-1, 1]."""
    m = min(1.0 - EDGE, max(EDGE, (difference + 1.0) / 2.0))
    up, down = _LOG_U - math.log(m), _LOG_REST - math.log1p(-m)
    middle = np.logaddexp(up, down) - math.log(2.0)
    wealth = tally.better * up + tally.worse * down
    if tally.ties:
        wealth = wealth + tally.ties * middle
    top = float(wealth.max())
    return top + math.log(float(np.exp(wealth - top).mean()))


def confidence_interval(tally: Tally, alpha: float) -> tuple[float, float]:
    """The differences that the pairs so far do not rule out, of a confidence sequence of level 1 - alpha."""
    limit = -math.log(alpha)
    # At the observed difference every stake has lost or stands even: it is never ruled out.
    return _edge(tally, limit, tally.difference, -1.0), _edge(tally, limit, tally.difference, 1.0)


def _edge(tally: Tally, limit: float, inside: float, outside: float) -> float:
    if log_evidence(tally, outside) < limit:
        return outside
    for _ in range(BISECTIONS):
        middle = (inside + outside) / 2
        if log_evidence(tally, middle) < limit:
            inside = middle
        else:
            outside = middle
    return outside


@dataclass(frozen=True)
class StoppingRule:
    """Stops at a shown difference, or where going on to `max_pairs` cannot change the answer.

    alpha: probability of showing a difference where there is none. min_difference: a difference smaller than
    this does not matter; 0: any does.
    """

    max_pairs: int
    alpha: float = 0.05
    min_difference: float = 0.0

    def verdict(self, tally: Tally) -> Verdict:
        """What the pairs so far allow to be said."""
        limit, left = -math.log(self.alpha), max(0, self.max_pairs - tally.pairs)
        if log_evidence(tally) >= limit:
            return Verdict.DIFFERENCE
        if self.min_difference > 0.0:
            low, high = confidence_interval(tally, self.alpha)
            if -self.min_difference < low and high < self.min_difference:
                return Verdict.NO_DIFFERENCE
        best = (
            Tally(tally.better + left, tally.worse, tally.ties),
            Tally(tally.better, tally.worse + left, tally.ties),
        )
        if self.min_difference <= 0.0 and left and all(log_evidence(t) < limit for t in best):
            return Verdict.HOPELESS
        return Verdict.GO_ON


@dataclass(frozen=True)
class Progress:
    """What was known after each pair; arrays would hide that each row is one moment.

    p_value: valid at any time. low, high: the confidence sequence so far, which never widens.
    """

    pairs: int
    difference: float
    p_value: float
    low: float
    high: float


def history(pairs: Sequence[tuple[bool, bool]], alpha: float) -> list[Progress]:
    """One entry per pair (first arm succeeded, second arm succeeded), in the order they were run."""
    tally, rows, most, low, high = Tally(), [], 0.0, -1.0, 1.0
    for first, second in pairs:
        tally = tally.plus(first, second)
        most = max(most, log_evidence(tally))
        now = confidence_interval(tally, alpha)
        # What was ruled out once stays ruled out.
        low, high = max(low, now[0]), min(high, now[1])
        rows.append(Progress(tally.pairs, tally.difference, min(1.0, math.exp(-most)), low, high))
    return rows
