"""The residual actor's network as an ONNX graph or a program of torch.export, one observation at a time."""

import io
import warnings
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from resfit_ros.core.errors import ConfigError
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.networks import ResidualActor

OPSET = 17
# What tracing leaves at each operation: where in whose files it was written.
TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node")


class _OneObservation(nn.Module):
    """vector (1, S + A + 1) and pictures uint8 (1, H, W, 3), or features (1, F), to directions (1, A)."""

    def __init__(self, actor: ResidualActor) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, vector: Tensor, *seen: Tensor) -> Tensor:
        shape = self.actor.shape
        parts = vector.split((shape.state_dim, shape.action_dim, 1), dim=-1)
        if shape.features:
            return self.actor(ObservationBatch(*parts, image_features=seen[0]))
        return self.actor(ObservationBatch(*parts, images=seen))

    def example(self) -> tuple[Tensor, ...]:
        """Inputs of the right shapes."""
        shape = self.actor.shape
        vector = torch.zeros(1, shape.state_dim + shape.action_dim + 1)
        if shape.features:
            return vector, torch.zeros(1, shape.features)
        return vector, *(torch.zeros(1, *size, 3, dtype=torch.uint8) for size in shape.cameras)


def onnx_bytes(actor: ResidualActor) -> bytes:
    """An ONNX graph with inputs `vector`, `image_0`, ... and output `direction`.

    Raises ConfigError for image features of another network, and where `onnx` is not installed.
    """
    if actor.shape.features:
        raise ConfigError(
            "--format onnx: the actor sees image features of a TorchScript file (feature_extractor), which has no "
            "ONNX form; use --format torch-export, which takes that file along"
        )
    if find_spec("onnx") is None:  # PyTorch's exporter needs it
        raise ConfigError(
            "--format onnx needs the package onnx: pip install onnx onnxruntime, or use --format torch-export"
        )
    network, stream = _OneObservation(actor).eval(), io.BytesIO()
    example = network.example()
    inputs = ["vector", *(f"image_{i}" for i in range(len(example) - 1))]
    names = {"input_names": inputs, "output_names": ["direction"]}
    with warnings.catch_warnings():
        # Sizes are meant to be constants; the newer exporter would need another package, onnxscript.
        warnings.simplefilter("ignore")
        torch.onnx.export(network, example, stream, **names, opset_version=OPSET, dynamo=False)
    return stream.getvalue()


def torch_bytes(actor: ResidualActor) -> bytes:
    """A program of torch.export with the same inputs, by position; the same actor gives the same bytes."""
    network, stream = _OneObservation(actor).eval(), io.BytesIO()
    program = torch.export.export(network, network.example())
    for node in program.graph.nodes:
        for name in TRACES:
            node.meta.pop(name, None)
    program.example_inputs = None  # would be pickled
    torch.export.save(program, stream)
    return stream.getvalue()
