"""Which step a sampling tick is for, by the clock of a real robot."""

REPEAT_NS = 40_000_000  # shorter than the age up to which an action is used


class StepClock:
    """Step k + 1 is observed once step k has its action; until then step k is observed again.

    A base policy that is slow or silent stops the steps, not only the robot: otherwise its chunks,
    which are indexed by step, would be late for ever. Nothing is skipped, and the first chunk of an
    episode may take its time.
    """

    def __init__(self, repeat_ns: int = REPEAT_NS) -> None:
        self._repeat_ns = repeat_ns
        self.reset()

    def reset(self) -> None:
        """A new episode: the next observation is step 0."""
        self._step = -1  # newest that was observed
        self._answered = -1
        self._first_ns = self._last_ns = 0

    def on_action(self, step: int) -> None:
        """The action of `step` has been decided."""
        self._answered = max(self._answered, step)

    def waited_s(self, now_ns: int) -> float:
        """How long the newest step has been without its action, [s]."""
        return 0.0 if self._answered >= self._step else (now_ns - self._first_ns) * 1e-9

    def due(self, now_ns: int) -> int | None:
        """The step to observe at this tick: the next, the same one again, or none."""
        if self._answered >= self._step:
            return self._step + 1
        return self._step if now_ns - self._last_ns >= self._repeat_ns else None

    def observed(self, step: int, now_ns: int) -> None:
        """`step` has just been observed and published."""
        if step != self._step:
            self._step, self._first_ns = step, now_ns
        self._last_ns = now_ns
