"""Replay buffer: each observation stored once, n-step windows gathered when sampling."""

import threading

import numpy as np
import torch

from resfit_ros.core.errors import ShapeError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Segment
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch


class ReplayBuffer:
    """A preallocated ring of observation rows.

    A segment of K steps takes K + 1 rows; its last row has no action and is only bootstrapped from.
    Rows are counted from the start of time; row r lies at r % capacity. One writer and one sampling
    thread may use it at once.
    """

    def __init__(self, capacity: int, normaliser: Normaliser) -> None:
        states, actions = normaliser.state_dim, normaliser.action_dim
        self.capacity = capacity
        self.normaliser = normaliser
        self._state = np.zeros((capacity, states), np.float32)
        self._base = np.zeros((capacity, actions), np.float32)
        self._action = np.zeros((capacity, actions), np.float32)
        self._phase = np.zeros((capacity, 1), np.float32)
        self._reward = np.zeros(capacity, np.float32)
        self._last_row = np.zeros(capacity, np.int64)  # row of the segment's last observation
        self._terminal = np.zeros(capacity, bool)  # of the segment
        self._rows = 0
        self._transitions = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._transitions

    def add(self, segment: Segment) -> None:
        """Stores a segment; values are scaled once, here."""
        steps = len(segment)
        if steps == 0:
            return
        if steps + 1 > self.capacity:
            raise ShapeError(f"replay: {steps} steps do not fit a capacity of {self.capacity} rows")
        n = self.normaliser
        with self._lock:
            rows = np.arange(self._rows, self._rows + steps + 1)
            at = rows % self.capacity
            replaced = rows - self.capacity
            self._transitions -= int(np.sum((replaced >= 0) & (replaced != self._last_row[at])))
            self._state[at] = n.normalise_state(segment.states)
            self._base[at] = n.normalise_action(segment.bases)
            self._phase[at, 0] = segment.phases
            self._action[at[:-1]] = n.normalise_action(segment.actions)
            self._reward[at[:-1]] = segment.rewards
            self._last_row[at] = rows[-1]
            self._terminal[at] = segment.terminal
            self._rows += steps + 1
            self._transitions += steps

    def sample(
        self, count: int, n_step: int, discount: float, rng: np.random.Generator
    ) -> TransitionBatch:
        """`count` n-step transitions, uniform over the stored steps.

        A window stops at its segment's end: it is bootstrapped from the segment's last observation
        unless that is terminal.
        """
        with self._lock:
            start = self._sample_rows(count, rng)
            last = self._last_row[start % self.capacity]
            reward = np.zeros(count, np.float32)
            for i in range(n_step):
                inside = start + i < last
                reward += discount**i * inside * self._reward[(start + i) % self.capacity]
            end = np.minimum(start + n_step, last)
            stops = (end == last) & self._terminal[start % self.capacity]
            gamma = np.where(stops, 0.0, discount ** (end - start)).astype(np.float32)
            action = torch.from_numpy(self._action[start % self.capacity])
            return TransitionBatch(
                observation=self._gather(start),
                action=action,
                reward=torch.from_numpy(reward),
                discount=torch.from_numpy(gamma),
                next_observation=self._gather(end),
            )

    def _sample_rows(self, count: int, rng: np.random.Generator) -> np.ndarray:
        oldest = max(0, self._rows - self.capacity)
        rows = rng.integers(oldest, self._rows, size=count)
        while True:
            at_end = rows == self._last_row[rows % self.capacity]
            if not at_end.any():
                return rows
            rows[at_end] = rng.integers(oldest, self._rows, size=int(at_end.sum()))

    def _gather(self, rows: np.ndarray) -> ObservationBatch:
        at = rows % self.capacity
        return ObservationBatch(
            state=torch.from_numpy(self._state[at]),
            base=torch.from_numpy(self._base[at]),
            phase=torch.from_numpy(self._phase[at]),
        )


def concatenate(first: TransitionBatch, second: TransitionBatch) -> TransitionBatch:
    """One batch from two, e.g. online and demonstration samples."""

    def join(a: ObservationBatch, b: ObservationBatch) -> ObservationBatch:
        return ObservationBatch(
            state=torch.cat((a.state, b.state)),
            base=torch.cat((a.base, b.base)),
            phase=torch.cat((a.phase, b.phase)),
            images=tuple(torch.cat(pair) for pair in zip(a.images, b.images, strict=True)),
        )

    return TransitionBatch(
        observation=join(first.observation, second.observation),
        action=torch.cat((first.action, second.action)),
        reward=torch.cat((first.reward, second.reward)),
        discount=torch.cat((first.discount, second.discount)),
        next_observation=join(first.next_observation, second.next_observation),
    )
