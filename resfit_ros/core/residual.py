"""Composition of the base action and the residual correction."""

import dataclasses

import numpy as np

from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Action, Float32


class CorrelatedNoise:
    """AR(1) noise with unit variance: white noise on 29 joints averages out, correlated noise explores.

    n_0 ~ N(0, 1),  n_k = c n_{k-1} + sqrt(1 - c^2) e_k,  e_k ~ N(0, 1).
    """

    def __init__(self, size: int, correlation: float) -> None:
        self.size = size
        self.correlation = correlation
        self.reset(0, 0)

    def reset(self, seed: int, episode_id: int) -> None:
        """Restarts the process; one (seed, episode) always gives the same noise."""
        self._rng = np.random.default_rng((seed, episode_id))
        self._value: Float32 | None = None

    def sample(self) -> Float32:
        """Next value, float32 (size,)."""
        fresh = self._rng.standard_normal(self.size).astype(np.float32)
        if self._value is None:
            self._value = fresh
        else:
            keep = self.correlation
            self._value = keep * self._value + np.float32(np.sqrt(1 - keep * keep)) * fresh
        return self._value


def bounded_residual(proposal: Float32, noise: Float32 | None, scale: float, noise_std: float) -> Float32:
    """Residual in the normalised action space, never beyond +-scale.

    proposal: actor output in [-1, 1], (A,); noise: unit-variance noise (A,) or None.
    """
    residual = scale * proposal
    if noise is not None:
        residual = residual + noise_std * noise
    return np.clip(residual, -scale, scale)


def compose(base: Float32, residual: Float32, normaliser: Normaliser) -> tuple[Float32, Float32]:
    """(command, residual) in joint units from a base action (A,) and a normalised residual (A,)."""
    in_joint_units = normaliser.denormalise_residual(residual).astype(np.float32)
    return base + in_joint_units, in_joint_units


class ResidualFade:
    """What becomes of the correction when the actor's output is not finite: the last good one is faded out."""

    def __init__(self, fade_s: float, period_s: float) -> None:
        """fade_s: time until nothing is left of it; 0: at once. period_s: between two actions."""
        self._share_per_step = period_s / fade_s if fade_s else 1.0
        self.failures = 0
        self.begin_episode()

    def begin_episode(self) -> None:
        """There is no correction to fade out."""
        self._last: Float32 | None = None
        self._share = 1.0

    def keep(self, action: Action) -> None:
        """The newest action whose correction was good."""
        self._last, self._share = action.residual, 1.0

    def without(self, alone: Action) -> Action:
        """The base action with what is left of the last correction; never to be learned from as clean."""
        self.failures += 1
        self._share = max(0.0, self._share - self._share_per_step)
        if self._last is None or self._share < 1e-6:
            return dataclasses.replace(alone, tainted=True)
        residual = (self._share * self._last).astype(np.float32)
        return dataclasses.replace(alone, residual=residual, command=alone.base + residual, tainted=True)
