"""Small policies exported to TorchScript, torch.export and ONNX files, and what they should give."""

from pathlib import Path

import numpy as np
import pytest
import torch

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.file_policy import UINT8_HWC
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import Camera, Robot
from resfit_ros.policies.reference import PolicyReference

# What these files are for is deprecated in PyTorch, and so is the exporter that needs no onnxscript.
DEPRECATED = pytest.mark.filterwarnings(
    "ignore:.*torch.jit:DeprecationWarning",
    "ignore:You are using the legacy TorchScript-based:DeprecationWarning",
    "ignore:The feature will be removed:DeprecationWarning",
)
S, H, A = 4, 3, 2  # state, horizon, joints
LAYOUT = StateLayout(("joint_positions", "joint_velocities"), A)
FRONT, WRIST = Camera("front", 8, 10), Camera("wrist", 8, 10)
ROBOT = Robot(("shoulder", "elbow"), LAYOUT, (FRONT, WRIST))
RNG = np.random.default_rng(0)
OBSERVATION = Observation(
    stamp_ns=0,
    episode_id=1,
    step=0,
    state=RNG.standard_normal(S).astype(np.float32),
    images=tuple(RNG.integers(0, 256, (8, 10, 3), np.uint8) for _ in ROBOT.cameras),
)
FROM_STATE = RNG.standard_normal((S, H * A)).astype(np.float32)
FROM_COLOUR = RNG.standard_normal((3, H * A)).astype(np.float32)
TORCH_KINDS = {"torchscript": "policy.pt", "torch_export": "policy.pt2"}
FILES = TORCH_KINDS | {"onnx": "policy.onnx"}


class StatePolicy(torch.nn.Module):
    """state @ weights."""

    def __init__(self, from_state: np.ndarray):
        super().__init__()
        self.from_state = torch.nn.Parameter(torch.tensor(from_state))
        self.dropout = torch.nn.Dropout(0.5)  # must be off
        self.shape = [1, H, A]  # a script cannot see constants of a module

    def forward(self, state):
        return self.dropout(state @ self.from_state).reshape(self.shape)


class PicturePolicy(StatePolicy):
    """state @ weights + mean colour in [0, 1] @ weights."""

    def __init__(self, from_state: np.ndarray, layout: str = UINT8_HWC):
        super().__init__(from_state)
        self.from_colour = torch.nn.Parameter(torch.tensor(FROM_COLOUR))
        self.axes = [1, 2] if layout == UINT8_HWC else [2, 3]
        self.brightest = 255.0 if layout == UINT8_HWC else 1.0

    def forward(self, state, front):
        colour = front.to(torch.float32).mean(self.axes) / self.brightest
        return (state @ self.from_state + colour @ self.from_colour).reshape(self.shape)


class Odd(torch.nn.Module):
    """state in, something unusual out."""

    def __init__(self, what: str):
        super().__init__()
        self.what = what

    def forward(self, state):
        chunk = state.sum() + torch.zeros(3, 2)
        if self.what == "nan":
            return chunk[None] / 0.0 * 0.0
        if self.what == "vector":
            return chunk[0]
        if self.what == "batch of two":
            return torch.stack((chunk, chunk))
        return chunk


class Several(torch.nn.Module):
    """The chunk and something else."""

    def forward(self, state):
        return state.sum() + torch.ones(3, 2), state


def expected(observation: Observation = OBSERVATION, camera: int | None = 0) -> np.ndarray:
    """What the policies above should give, computed in float64."""
    flat = observation.state.astype(np.float64) @ FROM_STATE
    if camera is not None:
        flat = flat + observation.images[camera].mean((0, 1)) / 255 @ FROM_COLOUR
    return flat.reshape(H, A)


def zeros(layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.zeros(1, 8, 10, 3, dtype=torch.uint8) if layout == UINT8_HWC else torch.zeros(1, 3, 8, 10)
    return torch.zeros(1, S), image


def export_torch(kind: str, path: Path, module: torch.nn.Module, example: tuple[torch.Tensor, ...]) -> None:
    if kind == "torchscript":  # in training mode on purpose: the adapter has to end it
        torch.jit.script(module).save(str(path))
    else:
        torch.export.save(torch.export.export(module.eval(), example), path)


def export_onnx(path: Path, layout: str | None = UINT8_HWC, from_state=FROM_STATE, state="state", external=False):
    """The same policies from ONNX's own operators; layout None: StatePolicy."""
    onnx = pytest.importorskip("onnx", reason="building an ONNX file needs the package onnx")
    pytest.importorskip("onnxruntime", reason="running an ONNX file needs the package onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    constants = {"W": from_state, "shape": np.array([1, H, A], np.int64)}
    inputs = [helper.make_tensor_value_info(state, TensorProto.FLOAT, ["batch", S])]
    nodes = [helper.make_node("MatMul", [state, "W"], ["flat"])]
    if layout:
        hwc = layout == UINT8_HWC
        picture, size = (TensorProto.UINT8, [1, 8, 10, 3]) if hwc else (TensorProto.FLOAT, [1, 3, 8, 10])
        inputs.append(helper.make_tensor_value_info("front", picture, size))
        constants |= {"V": FROM_COLOUR, "brightest": np.array(255 if hwc else 1, np.float32)}
        nodes += [
            helper.make_node("Cast", ["front"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2] if hwc else [2, 3], keepdims=0),
            helper.make_node("Div", ["mean", "brightest"], ["colour"]),
            helper.make_node("MatMul", ["colour", "V"], ["shade"]),
            helper.make_node("Add", ["flat", "shade"], ["sum"]),
        ]
    nodes.append(helper.make_node("Reshape", ["sum" if layout else "flat", "shape"], ["actions"]))
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("actions", "flat")]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    apart = {"save_as_external_data": True, "location": "weights.data", "size_threshold": 64} if external else {}
    onnx.save_model(model, path, **apart)


def export(kind: str, path: Path, layout: str | None = UINT8_HWC, from_state: np.ndarray = FROM_STATE) -> Path:
    if kind == "onnx":
        export_onnx(path, layout, from_state)
    elif layout is None:
        export_torch(kind, path, StatePolicy(from_state), zeros(UINT8_HWC)[:1])
    else:
        export_torch(kind, path, PicturePolicy(from_state, layout), zeros(layout))
    return path


class ExportedFiles:
    """Exports each file once. Called with kind and picture layout; None: the state alone."""

    def __init__(self, directory: Path):
        self._directory = directory
        self._made: dict[tuple[str, str | None], Path] = {}

    def __call__(self, kind: str, layout: str | None = UINT8_HWC) -> Path:
        if (kind, layout) not in self._made:
            folder = self._directory / str(layout)
            folder.mkdir(exist_ok=True)
            self._made[kind, layout] = export(kind, folder / FILES[kind], layout)
        return self._made[kind, layout]


def load(kind: str, path: Path, robot: Robot = ROBOT, least_horizon: int = 1, **options):
    return load_policy(PolicyReference(kind, str(path), options), robot, Chunking(least_horizon))
