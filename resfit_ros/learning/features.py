"""Image features of a frozen network, computed once per picture and stored in the pictures' place."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.types import Float32
from resfit_ros.learning.hashes import sha256

PICTURES_AT_ONCE = 64


@functools.lru_cache(maxsize=4)
def feature_extractor(
    path: str, cameras: tuple[tuple[int, int], ...], device: str = "cpu"
) -> "FeatureExtractor":
    """The extractor of a file, loaded once: new actor weights arrive every few seconds."""
    return FeatureExtractor(Path(path), cameras, device)


class FeatureExtractor:
    """A TorchScript file: float32 pictures (B, 3, H, W) in [0, 1] to features (B, F).

    It scales as it needs to, so that one file says all about it. The features of all cameras are
    joined in the cameras' order.
    """

    def __init__(self, path: Path, cameras: Sequence[tuple[int, int]], device: str = "cpu") -> None:
        """cameras: (height, width) of each. Raises ConfigError when the file cannot be used for them."""
        self.device = torch.device(device)
        try:
            data = path.read_bytes()
            self._network = torch.jit.load(str(path), map_location=self.device).eval()
        except (OSError, RuntimeError) as error:
            raise ConfigError(
                f"feature_extractor {path}: not a readable TorchScript file "
                f"({str(error).splitlines()[0]}); write one with torch.jit.trace and save"
            ) from None
        self.sha256 = sha256(data)
        try:
            probe = self([np.zeros((1, *size, 3), np.uint8) for size in cameras])
        except (RuntimeError, ShapeError) as error:
            raise ConfigError(
                f"feature_extractor {path}: fails on pictures of {list(cameras)} (height, width): "
                f"{str(error).splitlines()[-1]}; set image_height and image_width to what it was made for"
            ) from None
        self.size = probe.shape[1]

    @torch.inference_mode()
    def __call__(self, images: Sequence[np.ndarray]) -> Float32:
        """One uint8 (K, H, W, 3) per camera to float32 (K, F)."""
        return np.concatenate([self._of_camera(camera) for camera in images], axis=1)

    def _of_camera(self, pictures: np.ndarray) -> Float32:
        parts = []
        for begin in range(0, len(pictures), PICTURES_AT_ONCE):
            part = torch.from_numpy(pictures[begin : begin + PICTURES_AT_ONCE]).to(self.device)
            features = self._network(part.permute(0, 3, 1, 2).float() / 255.0)
            if not isinstance(features, torch.Tensor):
                raise ShapeError("it gives several outputs, not one (B, F)")
            if features.ndim != 2 or len(features) != len(part):
                raise ShapeError(f"it gives {tuple(features.shape)} for {len(part)} pictures, not (B, F)")
            parts.append(features.float().cpu().numpy())
        return np.concatenate(parts)
