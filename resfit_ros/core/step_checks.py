"""Steps whose values nobody should learn from, although all their messages are there."""

from collections.abc import Iterator, Mapping

import numpy as np

from resfit_ros.core.types import Action, Executed, Observation

# By then the safety filter has held (action_timeout_s, 0.1 s), or the clock or the recording jumped. Shorter
# delays are how computers are: leaving them out would cost whole demonstrations.
GAP_PERIODS = 4.0


def unfit_steps(
    observations: Mapping[int, Observation], actions: Mapping[int, Action], executed: Mapping[int, Executed]
) -> dict[int, str]:
    """Why each of these steps of an episode is left out, in words: NaN or Inf in it, or a gap in time.

    Every mapping is by step; observations: those that the actions answer.
    """
    if not observations or not actions:
        return {}
    found: dict[int, str] = {}
    for step, why in (*_not_finite(observations, actions, executed), *_gaps(observations)):
        found.setdefault(step, why)
    return found


def _not_finite(
    observations: Mapping[int, Observation], actions: Mapping[int, Action], executed: Mapping[int, Executed]
) -> Iterator[tuple[int, str]]:
    vectors = [o.state for o in observations.values()] + [a.base for a in actions.values()]
    vectors += [e.action for e in executed.values()] + [np.array([a.chunk_phase for a in actions.values()])]
    if np.isfinite(np.concatenate(vectors)).all():
        return  # one look for the whole episode, which is nearly always sound
    for k, observation in observations.items():
        # An observation and the base action for it end one step and begin the next.
        yield from _of(observation.state, f"state of observation {k}", k - 1, k)
    for k, action in actions.items():
        yield from _of(action.base, f"base action {k}", k - 1, k)
        yield from _of(np.array([action.chunk_phase]), f"chunk phase of action {k}", k - 1, k)
    for k, done in executed.items():
        yield from _of(done.action, f"executed action {k}", k)


def _of(vector: np.ndarray, what: str, *steps: int) -> Iterator[tuple[int, str]]:
    bad = np.flatnonzero(~np.isfinite(vector))
    if len(bad):
        words = f"{what} holds {vector[bad[0]]} at place {bad[0]}"
        yield from ((step, words) for step in steps)


def _gaps(observations: Mapping[int, Observation]) -> Iterator[tuple[int, str]]:
    lengths = {
        k: observations[k + 1].stamp_ns - o.stamp_ns for k, o in observations.items() if k + 1 in observations
    }
    # The control period as the episode itself shows it: the assembler knows no configuration.
    period = float(np.median(list(lengths.values()))) if lengths else 0.0
    if period <= 0:
        return
    for k, length in lengths.items():
        if length < 0:
            yield k, f"time runs back by {-length / 1e9:.3f} s between observations {k} and {k + 1}"
        elif length > GAP_PERIODS * period:
            periods = length / period
            seconds = length / 1e9
            yield k, f"{seconds:.3f} s between observations {k} and {k + 1}, {periods:.0f} control periods"
