"""Proportional prioritisation of a replay buffer (Schaul et al. 2016, arXiv 1511.05952, section 3.3)."""

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Float32

Slots = NDArray[np.int64]

SMALLEST_PRIORITY = 1e-6  # added to |TD error|, so that no transition is lost for good


class SumTree:
    """Non-negative values of `capacity` slots, and where a running sum over them reaches a given value.

    A complete binary tree in one array: node i has children 2i and 2i + 1, and every node holds
    exactly the sum of its children, so that rounding errors never add up. Each call works on all its
    slots at once, level by level.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._depth = max(0, capacity - 1).bit_length()
        self._first_leaf = 1 << self._depth
        self._nodes = np.zeros(2 * self._first_leaf)

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self._nodes[1])

    @property
    def nbytes(self) -> int:
        return self._nodes.nbytes

    def get(self, slots: Slots) -> NDArray[np.float64]:
        """Values of `slots`."""
        return self._nodes[slots + self._first_leaf]

    def set(self, slots: Slots, values: NDArray[np.float64] | float) -> None:
        """Sets the values of `slots`; of a slot that occurs twice, the last value counts."""
        nodes, node = self._nodes, slots + self._first_leaf
        nodes[node] = values
        for _ in range(self._depth):
            node >>= 1
            left = node * 2
            nodes[node] = nodes.take(left) + nodes.take(left + 1)

    def find(self, sums: NDArray[np.float64]) -> Slots:
        """For each s in `sums`, 0 <= s < total: the first slot at which the running sum exceeds s.

        A slot of value 0 is never found, even where rounding puts s at or beyond the total. The total
        must not be 0.
        """
        nodes, node, rest = self._nodes, np.ones(len(sums), np.int64), sums
        for _ in range(self._depth):
            node *= 2
            left = nodes.take(node)
            right = (rest >= left) & (nodes.take(node + 1) > 0.0)
            rest = rest - left * right
            node += right
        return node - self._first_leaf


class Priorities:
    """Which slots of a ring to replay: P(i) = p_i ** exponent / sum_k p_k ** exponent, eq. 1."""

    def __init__(self, capacity: int, exponent: float) -> None:
        if not 0.0 <= exponent <= 1.0:
            raise ConfigError(
                f"replay: priority_exponent is {exponent}; give a number from 0 (uniform) to 1 "
                "(proportional to |TD error|)"
            )
        self.exponent = exponent
        self._tree = SumTree(capacity)
        self._greatest = 1.0

    @property
    def nbytes(self) -> int:
        return self._tree.nbytes

    def insert(self, slots: Slots, can_be_drawn: NDArray[np.bool_]) -> None:
        """New slots get the greatest priority so far, so that each is replayed soon; others get 0."""
        self._tree.set(slots, can_be_drawn * self._greatest**self.exponent)

    def update(self, slots: Slots, td_errors: NDArray[np.floating]) -> None:
        """Sets priorities |TD error| + 1e-6; raises DataError on errors that are not finite."""
        if not np.isfinite(td_errors).all():
            bad = int(np.count_nonzero(~np.isfinite(td_errors)))
            raise DataError(
                f"replay: {bad} of {len(td_errors)} TD errors are not finite: training has diverged; "
                "lower the learning rates or look for non-finite observations and rewards"
            )
        priorities = np.abs(td_errors, dtype=np.float64) + SMALLEST_PRIORITY
        self._greatest = max(self._greatest, float(priorities.max(initial=0.0)))
        self._tree.set(slots, priorities**self.exponent)

    def draw(self, count: int, rng: np.random.Generator) -> Slots:
        """`count` slots, one from each of `count` equal shares of the total (appendix B.2.1)."""
        sums = (np.arange(count) + rng.random(count)) * (self._tree.total / count)
        return self._tree.find(sums)

    def weights(self, slots: Slots, correction: float) -> Float32:
        """Importance weights (N P(i)) ** -correction over their maximum, section 3.4.

        N and the sum of priorities cancel out.
        """
        priorities = self._tree.get(slots)
        return ((priorities / priorities.min()) ** -correction).astype(np.float32)
