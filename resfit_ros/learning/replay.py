"""Replay buffer: each observation stored once, n-step windows gathered when sampling."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ConfigError, DataError, ShapeError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32, Segment
from resfit_ros.learning.batch import BatchArrays, BatchLayout, TransitionBatch
from resfit_ros.learning.priorities import Priorities

Rows = NDArray[np.int64]


class ReplayBuffer:
    """A preallocated ring of observation rows.

    A segment of K steps takes K + 1 rows; its last row has no action and is only bootstrapped from.
    Rows are counted from the start of time; row r lies in slot r % capacity. One writer and one
    sampling thread may use it at once.

    image_shapes: (H, W, 3) per camera, stored as uint8. feature_dim: length of the image features that
    are stored in the images' place. Without either, a segment's images are left out. priority_exponent:
    alpha of prioritised replay; None samples uniformly.
    """

    def __init__(
        self,
        capacity: int,
        normaliser: Normaliser,
        image_shapes: tuple[tuple[int, int, int], ...] = (),
        feature_dim: int = 0,
        priority_exponent: float | None = None,
    ) -> None:
        if image_shapes and feature_dim:
            raise ConfigError("replay: give image_shapes or feature_dim, not both")
        self.capacity = capacity
        self.normaliser = normaliser
        self.layout = BatchLayout(
            normaliser.state_dim, normaliser.action_dim, image_shapes, feature_dim
        )
        # np.zeros takes memory only as rows are written.
        try:
            images = [np.zeros((capacity, *shape), np.uint8) for shape in image_shapes]
        except MemoryError as error:
            raise ConfigError(
                f"replay: no memory for {capacity} pictures of {list(image_shapes)} ({error}); lower "
                "replay_capacity, image_height and image_width, or use a feature_extractor"
            ) from None
        self._observation = self.layout.observations(capacity, images, np.zeros)
        self._action = np.zeros((capacity, normaliser.action_dim), np.float32)
        self._reward = np.zeros(capacity, np.float32)
        self._steps_left = np.zeros(capacity, np.int32)  # of the segment; 0 in its last row
        self._terminal = np.zeros(capacity, bool)  # of the segment
        self._priorities = (
            None if priority_exponent is None else Priorities(capacity, priority_exponent)
        )
        self._rows = 0
        self._transitions = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Transitions that can be sampled."""
        return self._transitions

    @property
    def prioritised(self) -> bool:
        """Whether sampling follows priorities."""
        return self._priorities is not None

    @property
    def nbytes(self) -> int:
        """Size of all arrays, used or not, in bytes."""
        rest = (self._action, self._reward, self._steps_left, self._terminal)
        arrays = sum(array.nbytes for array in (*self._observation, *rest))
        return arrays + (0 if self._priorities is None else self._priorities.nbytes)

    @property
    def bytes_per_transition(self) -> float:
        """Size of the rows in use, segments' last rows included, per transition that can be sampled."""
        with self._lock:
            rows_per_transition = min(self._rows, self.capacity) / max(1, self._transitions)
        return self.nbytes / self.capacity * max(1.0, rows_per_transition)

    def add(self, segment: Segment, image_features: Float32 | None = None) -> None:
        """Stores a segment; values are scaled once, here.

        image_features: (K + 1, F), where the buffer was made for them. Raises ShapeError on arrays that
        do not fit the buffer.
        """
        steps = len(segment)
        if steps == 0:
            return
        if steps + 1 > self.capacity:
            raise ShapeError(f"replay: {steps} steps do not fit a capacity of {self.capacity} rows")
        _check_fit(segment, image_features, self.layout)
        columns = self._columns(segment, image_features)
        with self._lock:
            slots = np.arange(self._rows, self._rows + steps + 1) % self.capacity
            replaced = np.count_nonzero(self._steps_left[slots])
            for array, values in columns:
                # At most two contiguous copies, the second one where the ring wraps around.
                before_end = min(steps + 1, self.capacity - int(slots[0]))
                array[slots[0] : slots[0] + before_end] = values[:before_end]
                array[: steps + 1 - before_end] = values[before_end:]
            if self._priorities is not None:
                self._priorities.insert(slots, self._steps_left[slots] > 0)
            self._rows += steps + 1
            self._transitions += steps - replaced

    def _columns(
        self, segment: Segment, image_features: Float32 | None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Pairs of (array of the buffer, K + 1 rows to be written into it)."""
        n, rows = self.normaliser, len(segment) + 1
        vector = np.empty((rows, n.state_dim + n.action_dim + 1), np.float32)
        vector[:, : n.state_dim] = n.normalise_state(segment.states)
        vector[:, n.state_dim : -1] = n.normalise_action(segment.bases)
        vector[:, -1] = segment.phases
        images = segment.images if self.layout.image_shapes else ()
        features = () if image_features is None else (image_features,)
        action = np.zeros((rows, n.action_dim), np.float32)
        action[:-1] = n.normalise_action(segment.actions)
        reward = np.zeros(rows, np.float32)
        reward[:-1] = segment.rewards
        return [
            *zip(self._observation, (vector, *images, *features), strict=True),
            (self._action, action),
            (self._reward, reward),
            (self._steps_left, np.arange(rows - 1, -1, -1, dtype=np.int32)),
            (self._terminal, np.full(rows, segment.terminal)),
        ]

    def sample(
        self, count: int, n_step: int, discount: float, rng: np.random.Generator
    ) -> TransitionBatch:
        """`count` n-step transitions of this buffer alone, see `sample_batch`."""
        return sample_batch([(self, count)], n_step, discount, rng)[0]

    def gather(
        self,
        batch: BatchArrays,
        part: slice,
        n_step: int,
        discount: float,
        rng: np.random.Generator,
        correction: float = 0.0,
    ) -> Rows:
        """Draws transitions into `part` of the batch's arrays; returns their rows.

        Raises DataError when there is nothing to draw from.
        """
        powers = discount ** np.arange(n_step + 1, dtype=np.float32)
        steps = np.arange(n_step)
        with self._lock:
            if not self._transitions:
                raise DataError("replay: the buffer is empty; add segments before sampling")
            slots = self._draw(part.stop - part.start, rng)
            left = self._steps_left[slots]
            # A window stops at its segment's end; what it is bootstrapped from is then the last row.
            taken = np.minimum(left, n_step)
            rewards = self._reward.take(slots[:, None] + steps, mode="wrap")
            ends = (left <= n_step) & self._terminal[slots]
            if batch.weight is not None and self._priorities is not None:
                batch.weight[part] = self._priorities.weights(slots, correction)
            last = slots + taken
            gathered = zip(self._observation, batch.observation, batch.next_observation, strict=True)
            for array, now, later in gathered:
                array.take(slots, axis=0, out=now[part], mode="wrap")
                array.take(last, axis=0, out=later[part], mode="wrap")
            self._action.take(slots, axis=0, out=batch.action[part], mode="wrap")
            newest = self._rows - 1
        np.matmul(np.where(steps < left[:, None], rewards, 0.0), powers[:-1], out=batch.reward[part])
        batch.discount[part] = np.where(ends, 0.0, powers[taken])
        return newest - (newest - slots) % self.capacity

    def _draw(self, count: int, rng: np.random.Generator) -> Rows:
        """Slots of transitions: by priority, otherwise uniform over all."""
        if self._priorities is not None:
            return self._priorities.draw(count, rng)
        used = min(self._rows, self.capacity)
        slots = rng.integers(0, used, size=count)
        while True:
            at_end = np.flatnonzero(self._steps_left[slots] == 0)
            if not at_end.size:
                return slots
            slots[at_end] = rng.integers(0, used, size=at_end.size)

    def update_priorities(self, rows: Rows, td_errors: NDArray[np.floating]) -> None:
        """Sets the priorities of the rows that are still stored; does nothing in uniform sampling."""
        if self._priorities is None:
            return
        with self._lock:
            stored = rows >= self._rows - self.capacity
            self._priorities.update(rows[stored] % self.capacity, td_errors[stored])


@dataclass(frozen=True, slots=True)
class SampledRows:
    """Where the transitions of a batch came from: rows of each buffer, in the batch's order."""

    parts: tuple[tuple[ReplayBuffer, Rows], ...]

    def update_priorities(self, td_errors: NDArray[np.floating]) -> None:
        """Sets each buffer's priorities from TD errors (B,) of the batch.

        Rows overwritten meanwhile are left out. Raises ShapeError, or DataError when errors are not
        finite.
        """
        count = sum(len(rows) for _, rows in self.parts)
        if td_errors.shape != (count,):
            raise ShapeError(
                f"replay: TD errors have shape {td_errors.shape}, expected {(count,)}: one per "
                "transition of the batch that was sampled"
            )
        begin = 0
        for buffer, rows in self.parts:
            buffer.update_priorities(rows, td_errors[begin : begin + len(rows)])
            begin += len(rows)


def sample_batch(
    parts: Sequence[tuple[ReplayBuffer, int]],
    n_step: int,
    discount: float,
    rng: np.random.Generator,
    correction: float = 0.0,
) -> tuple[TransitionBatch, SampledRows]:
    """One batch of n-step transitions from (buffer, count) parts, and where they came from.

    A window stops at its segment's end: it is bootstrapped from the segment's last observation unless
    that is terminal. correction: exponent beta of importance weights, which each prioritised part
    scales by its own maximum; uniform parts weigh 1. Raises DataError on an empty buffer, ShapeError
    on buffers that store different observations.
    """
    parts = [(buffer, count) for buffer, count in parts if count]
    if not parts:
        raise DataError("replay: a batch of no transitions; ask for at least one")
    _check_alike([buffer for buffer, _ in parts])
    weighted = correction != 0.0 and any(buffer.prioritised for buffer, _ in parts)
    arrays = BatchArrays(parts[0][0].layout, sum(count for _, count in parts), weighted)
    drawn, begin = [], 0
    for buffer, count in parts:
        part = slice(begin, begin + count)
        drawn.append((buffer, buffer.gather(arrays, part, n_step, discount, rng, correction)))
        begin += count
    return arrays.tensors(), SampledRows(tuple(drawn))


def _check_alike(buffers: Sequence[ReplayBuffer]) -> None:
    first = buffers[0].layout
    for index, buffer in enumerate(buffers):
        if buffer.layout != first:
            raise ShapeError(
                f"replay: buffer {index} of the batch stores {buffer.layout}, the first one {first}; "
                "make them for the same robot configuration and encoder"
            )


def _check_fit(segment: Segment, features: Float32 | None, layout: BatchLayout) -> None:
    """Raises ShapeError at the first array that does not fit the buffer."""
    steps, rows = len(segment), len(segment) + 1
    advice = "segment and normaliser must come from the same robot configuration"
    _check_shape("states", segment.states, (rows, layout.state_dim), advice)
    _check_shape("bases", segment.bases, (rows, layout.action_dim), advice)
    _check_shape("phases", segment.phases, (rows,), advice)
    _check_shape("actions", segment.actions, (steps, layout.action_dim), advice)
    _check_shape("rewards", segment.rewards, (steps,), advice)
    if layout.image_shapes and len(segment.images) != len(layout.image_shapes):
        raise ShapeError(
            f"replay: the segment has images of {len(segment.images)} cameras, expected "
            f"{len(layout.image_shapes)}; record with the cameras that this run is configured for"
        )
    advice = "resize them to the configured size, as uint8"
    for camera, shape in enumerate(layout.image_shapes):
        images = segment.images[camera]
        _check_shape(f"images of camera {camera}", images, (rows, *shape), advice)
        if images.dtype != np.uint8:
            raise ShapeError(f"replay: images of camera {camera} are {images.dtype}; {advice}")
    advice = "make the buffer with the encoder's feature_dim and add features of every observation"
    if (features is None) != (layout.feature_dim == 0):
        given = "given" if layout.feature_dim == 0 else "missing"
        raise ShapeError(
            f"replay: image features are {given}, the buffer stores {layout.feature_dim} per "
            f"observation; {advice}"
        )
    if features is not None:
        _check_shape("image features", features, (rows, layout.feature_dim), advice)


def _check_shape(name: str, array: np.ndarray, expected: tuple[int, ...], advice: str) -> None:
    if array.shape != expected:
        raise ShapeError(f"replay: {name} have shape {array.shape}, expected {expected}; {advice}")
