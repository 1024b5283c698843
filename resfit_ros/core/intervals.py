"""How sure one can be of a success rate."""

import math

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a success rate (E. B. Wilson, 1927)."""
    if trials == 0:
        return 0.0, 1.0
    p, z2 = successes / trials, Z_95 * Z_95
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)
