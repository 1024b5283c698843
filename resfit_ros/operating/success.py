"""The rolling success rate, with how sure one can be of it."""

from collections import deque

from resfit_ros.core.intervals import wilson_interval
from resfit_ros.core.types import Outcome


class RollingSuccess:
    """Over the last finished episodes that were heard; discarded ones do not count."""

    def __init__(self, window: int) -> None:
        """window: of how many episodes at most."""
        self.window = window
        self._outcomes: deque[Outcome] = deque(maxlen=window)

    def add(self, outcome: Outcome) -> None:
        """An episode ended."""
        if outcome is not Outcome.ABORTED:
            self._outcomes.append(outcome)

    def snapshot(self) -> dict:
        """rate (None before the first), 95 % interval low and high, successes, episodes, window, outcomes."""
        episodes = len(self._outcomes)
        successes = sum(o is Outcome.SUCCESS for o in self._outcomes)
        low, high = wilson_interval(successes, episodes)
        return {
            "rate": successes / episodes if episodes else None,
            "low": low,
            "high": high,
            "successes": successes,
            "episodes": episodes,
            "window": self.window,
            "outcomes": [o.name.lower() for o in self._outcomes],
        }
