"""Actor weights across process borders: safetensors with a hash, never pickles."""

import hashlib

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from resfit_ros.core.errors import DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Float32
from resfit_ros.learning.networks import ObservationEncoder, ResidualActor


def pack(module: torch.nn.Module) -> bytes:
    """The module's parameters as a safetensors file."""
    return save({k: v.detach().cpu().contiguous() for k, v in module.state_dict().items()})


def sha256(data: bytes) -> str:
    """Hexadecimal hash of a weights file."""
    return hashlib.sha256(data).hexdigest()


class ActorPolicy:
    """A residual actor as a function of numpy vectors, for one observation at a time."""

    def __init__(self, actor: ResidualActor, normaliser: Normaliser) -> None:
        self._actor = actor.eval().requires_grad_(False)
        self._normaliser = normaliser

    @torch.inference_mode()
    def __call__(self, state: Float32, base: Float32, phase: float) -> Float32:
        """Residual direction in [-1, 1], float32 (A,), from raw state (S,) and base (A,) [rad]."""
        n = self._normaliser
        features = np.concatenate(
            (n.normalise_state(state), n.normalise_action(base), np.array([phase], np.float32))
        )
        return self._actor(torch.from_numpy(features)[None])[0].numpy()


def load_actor(data: bytes, expected_sha256: str, normaliser: Normaliser) -> ActorPolicy:
    """Rebuilds the actor from its weights and runs it once on zeros before anybody relies on it.

    Raises DataError on another hash, another shape than the normaliser's, NaN or Inf.
    """
    if sha256(data) != expected_sha256:
        raise DataError("actor weights: the hash does not match; they were damaged on the way")
    try:
        weights = load(data)
        width = weights["head.weight"].shape[1]
        layers = sum(k.startswith("trunk.") and v.ndim == 2 for k, v in weights.items())
        encoder = ObservationEncoder(normaliser.state_dim, normaliser.action_dim)
        actor = ResidualActor(encoder.feature_dim, normaliser.action_dim, width, layers)
        actor.load_state_dict(weights)
    except (SafetensorError, KeyError, IndexError, RuntimeError) as error:
        raise DataError(f"actor weights do not fit this robot and policy: {error}") from None
    if not all(bool(torch.isfinite(v).all()) for v in weights.values()):
        raise DataError("actor weights hold NaN or Inf")
    policy = ActorPolicy(actor, normaliser)
    probe = policy(normaliser.state_mean, normaliser.action_center, 0.0)
    if probe.shape != (normaliser.action_dim,) or not np.all(np.isfinite(probe)):
        raise DataError("actor weights: the probe action is not finite")
    return policy
