"""Demonstrations as tensors to clone a policy from: split by episode, cut into chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resfit_ros.core.errors import DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32, Segment
from resfit_ros.learning.vision import random_shift


@dataclass(frozen=True)
class CameraSize:
    """One camera whose pictures a policy sees."""

    name: str
    height: int  # [px]
    width: int  # [px]


@dataclass(frozen=True)
class BCInputs:
    """What of an observation a policy sees. Without `state_slices`: the whole state."""

    cameras: tuple[CameraSize, ...] = ()
    state_slices: tuple[tuple[int, int], ...] = ()  # (start, stop) in the robot's state
    control_hz: float = 0.0  # of the demonstrations; 0: not known

    def columns(self, state_dim: int) -> np.ndarray:
        """Indices of the state's entries that the policy sees."""
        slices = self.state_slices or ((0, state_dim),)
        return np.concatenate([np.arange(start, stop) for start, stop in slices])


@dataclass(frozen=True)
class Batch:
    """Inputs and chunks: state (B, S), images uint8 (B, H, W, 3) per camera, actions (B, K, A).

    Rows of a chunk past the end of its episode are padded: they repeat the last action, and `padded`
    (B, K) is true there.
    """

    state: Tensor
    images: tuple[Tensor, ...]
    actions: Tensor
    padded: Tensor

    def masked_mean(self, error: Tensor) -> Tensor:
        """Mean of `error` (B, K, A) over the rows that are not padded."""
        counted = ~self.padded
        return (error.mean(dim=-1) * counted).sum() / counted.sum()


def chunk_rows(steps: int, horizon: int) -> np.ndarray:
    """(K, H): for each of K steps, which step each action of its chunk is; the last is repeated."""
    rows = np.arange(steps)[:, None] + np.arange(horizon)[None, :]
    return np.minimum(rows, steps - 1)


def chunk_targets(actions: Float32, horizon: int) -> Float32:
    """(K, A) executed actions to (K, H, A) chunks; past the end the last action is repeated."""
    return actions[chunk_rows(len(actions), horizon)]


def split_episodes(count: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """(indices to train on, indices to validate on), whole episodes; the second is rounded down."""
    held_out = min(int(fraction * count), count - 1)
    order = np.random.default_rng(seed).permutation(count).tolist()
    return sorted(order[held_out:]), sorted(order[:held_out])


def fit_normaliser(
    segments: Sequence[Segment], joint_names: Sequence[str], min_action_range: float
) -> Normaliser:
    """The scaling of states and actions over the demonstrations."""
    if not segments:
        raise DataError("no demonstrations to learn from; record some with 'resfit record'")
    return Normaliser.fit(
        joint_names,
        np.concatenate([s.states for s in segments]),
        np.concatenate([s.actions for s in segments]),
        min_action_range=min_action_range,
    )


def check_images(segments: Sequence[Segment], cameras: Sequence[CameraSize]) -> None:
    """Raises DataError naming the first episode, and camera, whose pictures are not as expected."""
    for segment in segments:
        where = f"episode {segment.episode_id}"
        if len(segment.images) != len(cameras):
            names = ", ".join(f"'{camera.name}'" for camera in cameras)
            raise DataError(
                f"{where}: holds pictures of {len(segment.images)} cameras, but camera_names lists "
                f"{len(cameras)} ({names}); record anew with these cameras, or correct camera_names"
            )
        for camera, images in zip(cameras, segment.images, strict=True):
            if images.shape[1:] != (camera.height, camera.width, 3):
                height, width = images.shape[1:3]
                raise DataError(
                    f"{where}, camera '{camera.name}': pictures of {height} x {width} (height x width), "
                    f"but image_height and image_width are {camera.height} x {camera.width}; set them alike"
                )


class Demonstrations:
    """Every step of some episodes, ready to be drawn as batches of chunks."""

    def __init__(
        self,
        segments: Sequence[Segment],
        normaliser: Normaliser,
        horizon: int,
        inputs: BCInputs = BCInputs(),
        device: str = "cpu",
    ) -> None:
        """Raises DataError when the pictures are not those of `inputs.cameras`."""
        if inputs.cameras:
            check_images(segments, inputs.cameras)
        columns = inputs.columns(normaliser.state_dim)
        states = [normaliser.normalise_state(s.states[:-1])[:, columns] for s in segments]
        actions = [normaliser.normalise_action(s.actions) for s in segments]
        ends = np.cumsum([len(s) for s in segments])
        rows = [chunk_rows(len(s), horizon) + end - len(s) for s, end in zip(segments, ends, strict=True)]
        padded = [np.arange(len(s))[:, None] + np.arange(horizon) >= len(s) for s in segments]
        cameras = range(len(inputs.cameras))
        images = [np.concatenate([s.images[c][:-1] for s in segments]) for c in cameras]
        self._states, self._actions, self._rows, self._padded = (
            torch.from_numpy(np.concatenate(parts)).to(device) for parts in (states, actions, rows, padded)
        )
        self._images = tuple(torch.from_numpy(pictures).to(device) for pictures in images)

    def __len__(self) -> int:
        """Steps."""
        return len(self._states)

    def batch(self, rows: Tensor) -> Batch:
        """The inputs of steps `rows` (B,) and the chunks that begin there."""
        rows = rows.to(self._states.device)
        images = tuple(camera[rows] for camera in self._images)
        return Batch(self._states[rows], images, self._actions[self._rows[rows]], self._padded[rows])

    def sample(self, count: int, generator: torch.Generator, shift: int = 0) -> Batch:
        """`count` random steps; pictures moved by up to `shift` pixels."""
        batch = self.batch(torch.randint(len(self), (count,), generator=generator))
        if not shift:
            return batch
        images = tuple(random_shift(image, shift, generator) for image in batch.images)
        return Batch(batch.state, images, batch.actions, batch.padded)

    def batches(self, size: int, most: int) -> Iterator[Batch]:
        """All steps once, or `most` evenly spaced ones where there are more."""
        count = min(len(self), most)
        rows = torch.arange(count) * len(self) // count
        return (self.batch(part) for part in rows.split(size))
