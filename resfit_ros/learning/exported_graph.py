"""The network of an exported actor as a function of arrays; its library is imported where it is used."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Float32

# [vector float32 (1, S + A + 1), a picture uint8 (1, H, W, 3) per camera] to directions (1, A)
Graph = Callable[[Sequence[np.ndarray]], Float32]
# All that a program of torch.export without pickles is made of, below one folder.
PARTS = re.compile(
    r"[^/]+/(models/model\.json|data/weights/(weight_\d+|model_weights_config\.json)|"
    r"data/constants/(tensor_\d+|model_constants_config\.json)|data/sample_inputs/model\.pt|"
    r"archive_format|archive_version|version|byteorder|\.data/(version|serialization_id))"
)
SAMPLE_INPUTS, CONFIG = "sample_inputs/model.pt", "_config.json"
SILENT = 4  # severity of ONNX Runtime's log: errors are raised anyway


def onnx_graph(data: bytes, where: str) -> Graph:
    """A graph run by ONNX Runtime on one CPU thread.

    Raises ConfigError where that is not installed, DataError where the graph cannot be loaded.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(f"{where}: needs ONNX Runtime: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise DataError(f"{where}: its graph cannot be loaded ({_brief(error)}); export it again") from error
    names = [i.name for i in session.get_inputs()]

    def run(arrays: Sequence[np.ndarray]) -> Float32:
        return session.run(None, dict(zip(names, arrays, strict=True)))[0]

    return run


def torch_graph(data: bytes, features: bytes | None, where: str) -> Graph:
    """A graph of torch.export on the CPU. features: TorchScript that turns pictures into what the graph sees.

    Raises ConfigError where PyTorch is not installed, DataError where the graph cannot be loaded.
    """
    try:
        import torch
    except ImportError:
        words = "needs PyTorch: pip install torch, or export it with --format onnx"
        raise ConfigError(f"{where}: {words}") from None
    _refuse_pickles(data, where)
    try:
        module = torch.export.load(io.BytesIO(data)).module()
        extractor = features and torch.jit.load(io.BytesIO(features), map_location="cpu").eval()
    except Exception as error:  # the readers of both formats raise what they like
        raise DataError(f"{where}: its graph cannot be loaded ({_brief(error)}); export it again") from error

    @torch.inference_mode()
    def run(arrays: Sequence[np.ndarray]) -> Float32:
        vector, *pictures = map(torch.from_numpy, arrays)
        if extractor:
            pictures = [torch.cat([_features(extractor, p) for p in pictures], dim=1)]
        return module(vector, *pictures).numpy()

    return run


def _refuse_pickles(data: bytes, where: str) -> None:
    """Raises DataError where PyTorch would unpickle something: it does so without a question.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            odd = [n for n in names if not PARTS.fullmatch(n) or names.count(n) > 1]
            odd += [n for n in names if n.endswith(SAMPLE_INPUTS) and archive.read(n)]
            for name in (n for n in names if n.endswith(CONFIG)):
                if any(entry["use_pickle"] for entry in json.loads(archive.read(name))["config"].values()):
                    odd.append(name)
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{where}: its graph cannot be read ({_brief(error)}); export it again") from None
    if odd:
        words = f"its graph holds {odd[0]}, which 'resfit export' does not write; do not use this file"
        raise DataError(f"{where}: {words}")


def _features(extractor: Any, picture: Any) -> Any:
    """As of learning.features: float32 (1, 3, H, W) in [0, 1] to (1, F)."""
    return extractor(picture.permute(0, 3, 1, 2).float() / 255.0).float()


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
