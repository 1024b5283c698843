"""Scaling of states and actions, fitted once to the demonstrations and then frozen."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resfit_ros.core.errors import DataError, ShapeError
from resfit_ros.core.types import Float32


def _vector(name: str, values: Any) -> Float32:
    array = np.asarray(values, dtype=np.float32)
    if array.ndim != 1 or not np.all(np.isfinite(array)):
        raise DataError(f"normaliser: {name} must be a finite vector, got shape {array.shape}")
    return array


@dataclass(frozen=True, eq=False)
class Normaliser:
    """Maps joint units to the normalised action space and raw states to standardised ones.

    Actions: [-1, 1] spans the demonstrations' range per joint (values outside are not clipped).
    States: zero mean, unit variance over the demonstrations, clipped to +-state_clip.

    action_center, action_half_range: float32 (A,), joint units. state_mean, state_std: float32 (S,).
    """

    joint_names: tuple[str, ...]
    action_center: Float32
    action_half_range: Float32
    state_mean: Float32
    state_std: Float32
    state_clip: float = 5.0

    def __post_init__(self) -> None:
        for name in ("action_center", "action_half_range", "state_mean", "state_std"):
            object.__setattr__(self, name, _vector(name, getattr(self, name)))
        actions, joints = len(self.action_center), len(self.joint_names)
        if not actions == len(self.action_half_range) == joints:
            raise ShapeError(f"normaliser: {joints} joint names but {actions} action scales")
        if len(self.state_mean) != len(self.state_std):
            raise ShapeError(
                f"normaliser: {len(self.state_mean)} state means but {len(self.state_std)} deviations"
            )
        if np.any(self.action_half_range <= 0) or np.any(self.state_std <= 0):
            raise DataError("normaliser: ranges and deviations must be positive")

    @classmethod
    def fit(
        cls,
        joint_names: Sequence[str],
        states: Float32,
        actions: Float32,
        min_action_range: float = 0.1,
        min_state_std: float = 0.02,
    ) -> "Normaliser":
        """Fits to states (N, S) and executed actions (N, A) of the demonstrations.

        min_action_range [rad or m] keeps a joint that hardly moves from being scaled to noise;
        min_state_std does the same for state entries.
        """
        low, high = actions.min(axis=0), actions.max(axis=0)
        return cls(
            joint_names=tuple(joint_names),
            action_center=(low + high) / 2,
            action_half_range=np.maximum(high - low, min_action_range) / 2,
            state_mean=states.mean(axis=0),
            state_std=np.maximum(states.std(axis=0), min_state_std),
        )

    @property
    def action_dim(self) -> int:
        return len(self.action_center)

    @property
    def state_dim(self) -> int:
        return len(self.state_mean)

    def normalise_action(self, action: Float32) -> Float32:
        """Joint units (..., A) to the normalised action space (..., A)."""
        return (action - self.action_center) / self.action_half_range

    def denormalise_action(self, action: Float32) -> Float32:
        """Normalised action space (..., A) to joint units (..., A)."""
        return action * self.action_half_range + self.action_center

    def denormalise_residual(self, residual: Float32) -> Float32:
        """A difference in the normalised action space (..., A) to joint units (..., A)."""
        return residual * self.action_half_range

    def normalise_state(self, state: Float32) -> Float32:
        """Raw states (..., S) to standardised, clipped states (..., S).

        Raises ShapeError on states of another length.
        """
        if state.shape[-1] != self.state_dim:
            raise ShapeError(f"state has {state.shape[-1]} numbers, expected {self.state_dim}")
        standardised = (state - self.state_mean) / self.state_std
        return np.clip(standardised, -self.state_clip, self.state_clip)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists; float32 values survive the round trip through JSON exactly."""
        return {
            "joint_names": list(self.joint_names),
            "action_center": self.action_center.tolist(),
            "action_half_range": self.action_half_range.tolist(),
            "state_mean": self.state_mean.tolist(),
            "state_std": self.state_std.tolist(),
            "state_clip": self.state_clip,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Normaliser":
        """Inverse of `to_dict`; raises DataError when entries are missing or unknown."""
        expected = set(cls.__dataclass_fields__)
        if set(values) != expected:
            odd = sorted(expected.symmetric_difference(values))
            raise DataError(f"normaliser: entries missing or unknown: {', '.join(odd)}")
        return cls(**{**values, "joint_names": tuple(values["joint_names"])})

    @property
    def sha256(self) -> str:
        """Identity of this normaliser: hash of its canonical JSON."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
