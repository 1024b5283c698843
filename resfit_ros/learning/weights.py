"""Actor weights across process borders: safetensors with a hash, never pickles."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from resfit_ros.core.errors import ConfigError, DataError, ResfitError
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.schema import from_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.features import FeatureExtractor, feature_extractor
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.networks import ObservationShape, ResidualActor

ACTOR = "actor.safetensors"  # inside a checkpoint
# What rebuilding a network raises when its file was made by something else.
UNFIT = (
    SafetensorError,
    struct.error,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
)


def pack(actor: ResidualActor) -> bytes:
    """The actor, encoders included, as a safetensors file that says how it is built."""
    weights = {k: v.detach().cpu().contiguous() for k, v in actor.state_dict().items()}
    return save(weights, metadata={"network": json.dumps(actor.description)})


def _description(data: bytes) -> dict[str, Any]:
    """What `pack` wrote beside the tensors: a safetensors file begins with its header's length."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["network"])


def load_encoder(path: Path, actor: ResidualActor) -> None:
    """Puts the image encoders of a checkpoint (or of its actor file) into `actor`.

    Raises ConfigError when there are none, or they are of another size.
    """
    file = path / ACTOR if path.is_dir() else path
    try:
        weights = load(file.read_bytes())
        encoder = {k.removeprefix("encoder."): v for k, v in weights.items() if k.startswith("encoder.")}
        actor.encoder.load_state_dict(encoder)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(
            f"encoder_path {path}: its image encoders cannot be used here ({_brief(error)}); give a "
            "checkpoint with the same cameras and vit_* settings"
        ) from None


def _brief(error: Exception) -> str:
    """PyTorch lists every tensor that does not fit; the first says enough."""
    return " ".join(line.strip() for line in str(error).splitlines()[:2])


class ActorPolicy:
    """A residual actor as a function of one observation at a time.

    extractor: turns pictures into what an actor trained on precomputed features sees.
    """

    def __init__(
        self, actor: ResidualActor, normaliser: Normaliser, extractor: FeatureExtractor | None = None
    ) -> None:
        self._actor = actor
        self._normaliser = normaliser
        self._extractor = extractor
        self._device = actor.head.weight.device
        self._cameras = actor.shape.cameras

    @torch.inference_mode()
    def __call__(self, observation: Observation, base: Float32, phase: float) -> Float32:
        """Residual direction in [-1, 1], float32 (A,); base (A,) in joint units.

        Raises DataError when the observation has other pictures than the actor was trained on.
        """
        n = self._normaliser
        batch = ObservationBatch(
            state=torch.from_numpy(n.normalise_state(observation.state))[None],
            base=torch.from_numpy(n.normalise_action(base))[None],
            phase=torch.full((1, 1), phase),
        )
        if self._cameras:
            batch = self._with_pictures(batch, observation)
        return self._actor(batch.to(self._device))[0].cpu().numpy()

    def _with_pictures(self, batch: ObservationBatch, observation: Observation) -> ObservationBatch:
        sizes = tuple(image.shape[:2] for image in observation.images)
        if sizes != self._cameras:
            raise DataError(
                f"the actor was trained on pictures of {list(self._cameras)} (height, width), the "
                f"observation has {list(sizes)}; set camera_names, image_height and image_width alike"
            )
        if self._extractor is not None:
            features = self._extractor([image[None] for image in observation.images])
            return ObservationBatch(
                batch.state, batch.base, batch.phase, image_features=torch.from_numpy(features)
            )
        images = tuple(torch.from_numpy(np.ascontiguousarray(image))[None] for image in observation.images)
        return ObservationBatch(batch.state, batch.base, batch.phase, images)


def load_actor(
    data: bytes,
    expected_sha256: str,
    normaliser: Normaliser,
    extractor_path: str = "",
) -> ActorPolicy:
    """Rebuilds the actor from its weights and runs it once before anybody relies on it.

    extractor_path: the feature_extractor that an actor trained on precomputed features needs. Raises
    DataError on another hash, another shape than the normaliser's, NaN or Inf.
    """
    if sha256(data) != expected_sha256:
        raise DataError("actor weights: the hash does not match; they were damaged on the way")
    try:
        weights, description = load(data), _description(data)
        shape = ObservationShape.from_dict(description["shape"])
        config = from_mapping(LearningConfig, description["config"], "actor weights")
        _require_fit(shape, normaliser)
        extractor = _extractor_of(shape, extractor_path)
        actor = ResidualActor(shape, config)
        actor.load_state_dict(weights)
        actor.eval().requires_grad_(False)
    except UNFIT as error:
        raise DataError(f"actor weights do not fit this robot and policy: {_brief(error)}") from None
    except ResfitError as error:
        raise DataError(f"actor weights: {error}") from None
    if not all(bool(torch.isfinite(v).all()) for v in weights.values()):
        raise DataError("actor weights hold NaN or Inf")
    policy = ActorPolicy(actor, normaliser, extractor)
    pictures = tuple(np.zeros((*size, 3), np.uint8) for size in shape.cameras)
    probe = policy(
        Observation(0, 0, 0, normaliser.state_mean, pictures), normaliser.action_center, 0.0
    )
    if probe.shape != (normaliser.action_dim,) or not np.all(np.isfinite(probe)):
        raise DataError("actor weights: the probe action is not finite")
    return policy


def _require_fit(shape: ObservationShape, normaliser: Normaliser) -> None:
    for name, theirs, ours in (
        ("state numbers", shape.state_dim, normaliser.state_dim),
        ("actions", shape.action_dim, normaliser.action_dim),
    ):
        if theirs != ours:
            raise DataError(
                f"they are for {theirs} {name}, this robot and policy have {ours}; use the robot and "
                "base policy they were trained with"
            )


def _extractor_of(shape: ObservationShape, path: str) -> FeatureExtractor | None:
    if not shape.features:
        return None
    if not path:
        raise DataError(
            "they were trained on precomputed image features; set feature_extractor to the file that "
            f"computes them ({shape.features_of[:12]})"
        )
    extractor = feature_extractor(path, shape.cameras)
    if extractor.sha256 != shape.features_of:
        raise DataError(
            f"they were trained on features of {shape.features_of[:12]}, feature_extractor {path} is "
            f"{extractor.sha256[:12]}; use the file they were trained with"
        )
    return extractor
