"""Replay sampling, batches of 256 half from each of two buffers, beside a plain list of transitions."""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.replay import ReplayBuffer, sample_batch

STATES, ACTIONS, BATCH, STEPS = 70, 29, 256, 60
CAMERAS = ((84, 84, 3), (84, 84, 3))
N_STEP, DISCOUNT = 3, 0.99
WARM_UP, REPEATS = 5, 5


@dataclass(frozen=True, slots=True)
class StoredTransition:
    """An n-step transition in the plain buffer; observations are (state, base, phase, *images)."""

    observation: tuple[np.ndarray, ...]
    action: np.ndarray
    reward: float
    discount: float
    next_observation: tuple[np.ndarray, ...]


class PlainBuffer:
    """A list of transitions with both observations in each, stacked when sampled."""

    def __init__(self, normaliser: Normaliser) -> None:
        self.normaliser = normaliser
        self.transitions: list[StoredTransition] = []

    def add(self, segment: Segment) -> None:
        """Stores the n-step transitions of a segment."""
        steps = len(segment)
        for k in range(steps):
            end = min(k + N_STEP, steps)
            reward = sum(DISCOUNT**i * segment.rewards[k + i] for i in range(end - k))
            ends = end == steps and segment.terminal
            self.transitions.append(
                StoredTransition(
                    self._observation(segment, k),
                    self.normaliser.normalise_action(segment.actions[k]),
                    reward,
                    0.0 if ends else DISCOUNT ** (end - k),
                    self._observation(segment, end),
                )
            )

    def _observation(self, segment: Segment, k: int) -> tuple[np.ndarray, ...]:
        state = self.normaliser.normalise_state(segment.states[k])
        base = self.normaliser.normalise_action(segment.bases[k])
        images = (camera[k].copy() for camera in segment.images)
        return state, base, segment.phases[k : k + 1].copy(), *images

    def draw(self, count: int, rng: np.random.Generator) -> list[StoredTransition]:
        return [self.transitions[i] for i in rng.integers(0, len(self.transitions), count)]

    @property
    def bytes_per_transition(self) -> float:
        """Bytes of the arrays of a transition, without what Python adds."""
        t = self.transitions[0]
        arrays = (*t.observation, t.action, *t.next_observation)
        return float(sum(array.nbytes for array in arrays) + 2 * np.dtype(np.float32).itemsize)


def stack(transitions: list[StoredTransition]) -> TransitionBatch:
    """One batch from drawn transitions."""

    def observation(rows: list[tuple[np.ndarray, ...]]) -> ObservationBatch:
        state, base, phase, *images = (torch.from_numpy(np.stack(x)) for x in zip(*rows, strict=True))
        return ObservationBatch(state, base, phase, tuple(images))

    return TransitionBatch(
        observation=observation([t.observation for t in transitions]),
        action=torch.from_numpy(np.stack([t.action for t in transitions])),
        reward=torch.tensor([t.reward for t in transitions], dtype=torch.float32),
        discount=torch.tensor([t.discount for t in transitions], dtype=torch.float32),
        next_observation=observation([t.next_observation for t in transitions]),
    )


def make_normaliser() -> Normaliser:
    joints = tuple(f"joint_{i}" for i in range(ACTIONS))
    return Normaliser(
        joints, np.zeros(ACTIONS), np.ones(ACTIONS), np.zeros(STATES), np.ones(STATES)
    )


def make_segment(rng: np.random.Generator, cameras: tuple[tuple[int, int, int], ...]) -> Segment:
    """A random episode of 60 steps."""
    rows = STEPS + 1
    return Segment(
        episode_id=0,
        states=rng.standard_normal((rows, STATES), np.float32),
        bases=rng.standard_normal((rows, ACTIONS), np.float32),
        phases=rng.random(rows, np.float32),
        actions=rng.standard_normal((STEPS, ACTIONS), np.float32),
        rewards=np.zeros(STEPS, np.float32),
        terminal=True,
        images=tuple(rng.integers(0, 256, (rows, *shape), np.uint8) for shape in cameras),
    )


def milliseconds(sample: Callable[[], object], batches: int) -> float:
    """Time of one call: median over repeats of the mean over `batches`, in ms."""
    for _ in range(WARM_UP):
        sample()
    means = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for _ in range(batches):
            sample()
        means.append((time.perf_counter() - begin) / batches * 1e3)
    return float(np.median(means))


def fill(
    transitions: int, cameras: tuple[tuple[int, int, int], ...], priority_exponent: float | None = None
) -> list[ReplayBuffer]:
    """Two buffers, exactly full with `transitions` each."""
    rng, episodes = np.random.default_rng(0), -(-transitions // STEPS)
    buffers = [
        ReplayBuffer(
            episodes * (STEPS + 1),
            make_normaliser(),
            image_shapes=cameras,
            priority_exponent=priority_exponent,
        )
        for _ in range(2)
    ]
    for buffer in buffers:
        for _ in range(episodes):
            buffer.add(make_segment(rng, cameras))
    return buffers


def fill_plain(transitions: int, cameras: tuple[tuple[int, int, int], ...]) -> list[PlainBuffer]:
    """The same transitions in two plain buffers."""
    rng, buffers = np.random.default_rng(0), [PlainBuffer(make_normaliser()) for _ in range(2)]
    for buffer in buffers:
        for _ in range(-(-transitions // STEPS)):
            buffer.add(make_segment(rng, cameras))
    return buffers


def compare(transitions: int, cameras: tuple[tuple[int, int, int], ...], batches: int) -> dict:
    """Our buffers and the plain ones, one after the other so that only one pair holds memory."""
    rng, half = np.random.default_rng(1), BATCH // 2
    ours = fill(transitions, cameras)
    parts = [(buffer, half) for buffer in ours]
    sample_ms = milliseconds(lambda: sample_batch(parts, N_STEP, DISCOUNT, rng), batches)
    figures = {"ms": sample_ms, "batches_per_s": 1e3 / sample_ms}
    figures["bytes_per_transition"] = ours[0].bytes_per_transition
    del ours, parts
    plain = fill_plain(transitions, cameras)
    plain_ms = milliseconds(
        lambda: stack([t for buffer in plain for t in buffer.draw(half, rng)]), max(1, batches // 5)
    )
    figures |= {"plain_ms": plain_ms, "plain_batches_per_s": 1e3 / plain_ms}
    figures["plain_bytes_per_transition"] = plain[0].bytes_per_transition
    figures["speed_ratio"] = plain_ms / sample_ms
    figures["bytes_ratio"] = figures["bytes_per_transition"] / figures["plain_bytes_per_transition"]
    return figures


def prioritised(transitions: int, batches: int) -> dict:
    """Sampling with importance weights, alone and together with setting the new priorities."""
    rng, half = np.random.default_rng(1), BATCH // 2
    buffers = fill(transitions, (), priority_exponent=0.6)
    parts = [(buffer, half) for buffer in buffers]
    td_errors = rng.standard_normal(BATCH)

    def cycle() -> None:
        _, rows = sample_batch(parts, N_STEP, DISCOUNT, rng, correction=0.4)
        rows.update_priorities(td_errors)

    sample_ms = milliseconds(lambda: sample_batch(parts, N_STEP, DISCOUNT, rng, 0.4), batches)
    return {
        "ms": sample_ms,
        "batches_per_s": 1e3 / sample_ms,
        "with_update_ms": milliseconds(cycle, batches),
        "bytes_per_transition": buffers[0].bytes_per_transition,
    }


def main() -> None:
    """Prints a line per case; with --json, one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transitions", type=int, default=2000, help="stored in each buffer")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    stored = arguments.transitions
    figures = {
        "state": compare(stored, (), 1000),
        "images": compare(stored, CAMERAS, 40),
        "prioritised": prioritised(stored, 1000),
    }
    for name in ("state", "images"):
        f = figures[name]
        print(
            f"{name}: {f['batches_per_s']:.0f} batches/s ({f['ms']:.3f} ms), "
            f"{f['bytes_per_transition']:.0f} bytes per transition; list of transitions: "
            f"{f['plain_batches_per_s']:.0f} batches/s ({f['plain_ms']:.3f} ms), "
            f"{f['plain_bytes_per_transition']:.0f} bytes; {f['speed_ratio']:.1f} times as fast in "
            f"{f['bytes_ratio']:.2f} of the memory"
        )
    f = figures["prioritised"]
    print(
        f"prioritised: {f['batches_per_s']:.0f} batches/s ({f['ms']:.3f} ms, {f['with_update_ms']:.3f} "
        f"ms with the update of priorities), {f['bytes_per_transition']:.0f} bytes per transition"
    )
    if arguments.json:
        rounded = {
            name: {key: round(value, 4) for key, value in case.items()}
            for name, case in figures.items()
        }
        print(json.dumps({"transitions": stored, "batch": BATCH, **rounded}))


if __name__ == "__main__":
    main()
