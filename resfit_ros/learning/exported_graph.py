"""The network of an exported actor as a function of arrays; its library is imported where it is used."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
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
SAMPLE_INPUTS, CONFIG, MODEL = "sample_inputs/model.pt", "_config.json", "models/model.json"
# What our programs say in JSON. PyTorch runs more than operators when it reads one: it evaluates symbolic
# sizes and guards as Python, and imports what a tree specification names. Ours have constant sizes, no guards.
OPERATOR = re.compile(r"torch\.ops\.aten\.(?!from_file\b)\w+\.\w+")  # from_file writes files
ARGUMENTS = {
    f"as_{kind}"
    for kind in (
        *("none", "bool", "bools", "int", "ints", "float", "floats", "tensor", "tensors", "optional_tensors"),
        *("device", "layout", "scalar_type", "memory_format"),
    )
}
EMPTY = {"guards_code", "range_constraints", "treespec_namedtuple_fields", "custom_obj_values"}
EMPTY |= {f"sym_{kind}_values" for kind in ("int", "float", "bool")}
SPECIFICATIONS, TREES = ("in_spec", "out_spec"), (None, "builtins.tuple", "builtins.list", "builtins.dict")
TRACED = {"torch_fn"}  # text about an operator, which is not evaluated
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
    _refuse_code(data, where)
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


def _refuse_code(data: bytes, where: str) -> None:
    """Raises DataError where PyTorch would unpickle or evaluate something: it does so without a question."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            odd = [n for n in names if not PARTS.fullmatch(n) or names.count(n) > 1]
            odd += [n for n in names if n.endswith(SAMPLE_INPUTS) and archive.read(n)]
            for name in (n for n in names if n.endswith((CONFIG, MODEL))):
                content = json.loads(archive.read(name))
                if name.endswith(CONFIG) and any(entry["use_pickle"] for entry in content["config"].values()):
                    odd.append(name)
                odd += [f"{found} in {name}" for found in _unlike_ours(content)]
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{where}: its graph cannot be read ({_brief(error)}); export it again") from None
    if odd:
        words = f"its graph holds {odd[0]}, which 'resfit export' does not write; do not use this file"
        raise DataError(f"{where}: {words}")


def _unlike_ours(content: Any) -> Iterator[str]:
    """Names what 'resfit export' does not write into the JSON of a program."""
    if isinstance(content, list):
        for part in content:
            yield from _unlike_ours(part)
    if not isinstance(content, dict):
        return
    for key, value in content.items():
        if key == "target" and not (isinstance(value, str) and OPERATOR.fullmatch(value)):
            yield f"the operator {value!r}"
        elif key == "expr_str" or (key.startswith("as_") and key not in ARGUMENTS):
            yield f"'{key}'"
        elif (key in EMPTY and value) or (key == "metadata" and set(value) - TRACED):
            yield f"'{key}'"
        elif key in SPECIFICATIONS and value is not None and set(_trees(json.loads(value))) - set(TREES):
            yield f"'{key}'"
        yield from _unlike_ours(value)


def _trees(spec: Any) -> Iterator[str | None]:
    """Types of a tree specification, [version, {"type", "context", "children_spec"}]."""
    nodes = [spec[1]]
    while nodes:
        node = nodes.pop()
        yield node["type"]
        nodes += node["children_spec"]


def _features(extractor: Any, picture: Any) -> Any:
    """As of learning.features: float32 (1, 3, H, W) in [0, 1] to (1, F)."""
    return extractor(picture.permute(0, 3, 1, 2).float() / 255.0).float()


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
