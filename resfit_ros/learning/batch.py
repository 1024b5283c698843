"""What one update of the agent is computed from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resfit_ros.learning.hardware import LARGEST_KEPT_BLOCK


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    # Towards the CPU nothing would tell when an asynchronous copy is complete.
    return tensor.to(device, non_blocking=device.type != "cpu")


@dataclass(frozen=True, slots=True)
class ObservationBatch:
    """What the residual sees, float32: state (B, S) standardised, base (B, A) normalised, phase (B, 1).

    images: one uint8 (B, H, W, 3) per camera. image_features: float32 (B, F), computed beforehand, in
    the images' place. vector: float32 (B, S + A + 1) = (state, base, phase), of which those three are
    views where it is present.
    """

    state: Tensor
    base: Tensor
    phase: Tensor
    images: tuple[Tensor, ...] = ()
    image_features: Tensor | None = None
    vector: Tensor | None = None

    @classmethod
    def from_vector(
        cls,
        vector: Tensor,
        state_dim: int,
        images: tuple[Tensor, ...] = (),
        image_features: Tensor | None = None,
    ) -> "ObservationBatch":
        """An observation batch whose state, base and phase are views of `vector` (B, S + A + 1)."""
        state, base, phase = vector.split((state_dim, vector.shape[-1] - state_dim - 1, 1), dim=-1)
        return cls(state, base, phase, images, image_features, vector)

    def joined(self) -> Tensor:
        """State, base and phase side by side, (B, S + A + 1)."""
        if self.vector is not None:
            return self.vector
        return torch.cat((self.state, self.base, self.phase), dim=-1)

    def to(self, device: torch.device | str) -> "ObservationBatch":
        """The batch on `device`; itself when it is there already. All its tensors lie on one device."""
        device = torch.device(device)
        first = self.state if self.vector is None else self.vector
        moved = _moved(first, device)
        if moved is first:
            return self
        images = tuple(_moved(image, device) for image in self.images)
        features = None if self.image_features is None else _moved(self.image_features, device)
        if self.vector is not None:
            return ObservationBatch.from_vector(moved, self.state.shape[-1], images, features)
        base, phase = _moved(self.base, device), _moved(self.phase, device)
        return ObservationBatch(moved, base, phase, images, features)


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """n-step transitions, float32.

    action (B, A): executed, normalised. reward (B,): discounted sum over the window. discount (B,):
    discount ** steps of the window, 0 where bootstrapping ends. weight (B,): importance weights; None
    stands for ones.
    """

    observation: ObservationBatch
    action: Tensor
    reward: Tensor
    discount: Tensor
    next_observation: ObservationBatch
    weight: Tensor | None = None

    def to(self, device: torch.device | str) -> "TransitionBatch":
        """The batch on `device`; itself when it is there already. All its tensors lie on one device."""
        device = torch.device(device)
        action = _moved(self.action, device)
        if action is self.action:
            return self
        return TransitionBatch(
            observation=self.observation.to(device),
            action=action,
            reward=_moved(self.reward, device),
            discount=_moved(self.discount, device),
            next_observation=self.next_observation.to(device),
            weight=None if self.weight is None else _moved(self.weight, device),
        )


@dataclass(frozen=True, slots=True)
class BatchLayout:
    """Sizes of one transition: state S, action A, images (H, W, 3) per camera or F image features."""

    state_dim: int
    action_dim: int
    image_shapes: tuple[tuple[int, int, int], ...] = ()
    feature_dim: int = 0

    def observations(
        self, count: int, images: Sequence[np.ndarray], allocate: Callable = np.empty
    ) -> tuple[np.ndarray, ...]:
        """Arrays of `count` observations: the joined vector, then `images` or image features.

        State, base and phase share one array so that one gather fetches them all.
        """
        vector = allocate((count, self.state_dim + self.action_dim + 1), np.float32)
        features = [allocate((count, self.feature_dim), np.float32)] if self.feature_dim else []
        return (vector, *images, *features)


def _image_arrays(shapes: Sequence[tuple[int, int, int]], count: int) -> list[np.ndarray]:
    """One fresh uint8 (count, H, W, 3) per shape.

    They share one block where they can: freed at once, several large arrays exceed what glibc keeps
    for the next batch, and fetching fresh pages takes longer than gathering the images. Beyond 32 MiB
    glibc never keeps a single block.
    """
    sizes = [count * math.prod(shape) for shape in shapes]
    if sum(sizes) > LARGEST_KEPT_BLOCK:
        return [np.empty((count, *shape), np.uint8) for shape in shapes]
    parts = np.split(np.empty(sum(sizes), np.uint8), np.cumsum(sizes)[:-1])
    return [part.reshape(count, *shape) for part, shape in zip(parts, shapes, strict=True)]


class BatchArrays:
    """Fresh arrays of one batch, which replay buffers gather into and tensors then share memory with."""

    def __init__(self, layout: BatchLayout, count: int, weighted: bool) -> None:
        self.layout = layout
        cameras = len(layout.image_shapes)
        images = _image_arrays(layout.image_shapes * 2, count) if cameras else []
        self.observation = layout.observations(count, images[:cameras])
        self.next_observation = layout.observations(count, images[cameras:])
        self.action = np.empty((count, layout.action_dim), np.float32)
        self.reward = np.empty(count, np.float32)
        self.discount = np.empty(count, np.float32)
        self.weight = np.ones(count, np.float32) if weighted else None

    def tensors(self) -> TransitionBatch:
        """The batch, without a copy."""
        return TransitionBatch(
            observation=self._observation(self.observation),
            action=torch.from_numpy(self.action),
            reward=torch.from_numpy(self.reward),
            discount=torch.from_numpy(self.discount),
            next_observation=self._observation(self.next_observation),
            weight=None if self.weight is None else torch.from_numpy(self.weight),
        )

    def _observation(self, arrays: tuple[np.ndarray, ...]) -> ObservationBatch:
        vector, *rest = map(torch.from_numpy, arrays)
        features = rest.pop() if self.layout.feature_dim else None
        return ObservationBatch.from_vector(vector, self.layout.state_dim, tuple(rest), features)
