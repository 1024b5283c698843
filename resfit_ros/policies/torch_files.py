"""Base policies in files of TorchScript (.pt, .ts) and of torch.export (.pt2)."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resfit_ros.core.errors import DataError
from resfit_ros.policies.file_policy import Array, FileInputs, FileOptions, FilePolicy, Program, ProgramInput, reason
from resfit_ros.policies.reference import TORCH_EXPORT, TORCHSCRIPT, PolicyReference
from resfit_ros.policies.protocol import Robot

PICKLE_MAGIC = b"\x80"
CHECKPOINT = "checkpoint"
# Files that tell the archives of PyTorch apart; they lie below a folder named like the archive.
MARKS = {
    "constants.pkl": TORCHSCRIPT,
    "archive_format": TORCH_EXPORT,
    "serialized_exported_program.json": TORCH_EXPORT,  # before PyTorch 2.8
    "data.pkl": CHECKPOINT,
}
REMEDIES = {
    CHECKPOINT: "holds pickled weights without the program: export it with torch.jit.script/trace or torch.export",
    TORCHSCRIPT: "is a TorchScript file: give it as torchscript:FILE, or name it .pt",
    TORCH_EXPORT: "is a file of torch.export.save: give it as torch_export:FILE, or name it .pt2",
    "": "is no file of PyTorch, or damaged: export it anew",
}


class _TorchProgram:
    """Calls a module with tensors, by position."""

    by_name = False

    def __init__(self, module: Any, inputs: list[ProgramInput]) -> None:
        self._module, self.inputs = module, inputs

    @torch.inference_mode()
    def run(self, arrays: Mapping[str, Array]) -> Array:
        """The module's output, the first where it has several."""
        output = self._module(*map(torch.from_numpy, arrays.values()))
        if isinstance(output, tuple | list):
            output = output[0]
        if not isinstance(output, torch.Tensor):
            raise TypeError(f"it gives a {type(output).__name__}, expected one tensor of actions")
        return np.asarray(output.detach().to("cpu", torch.float32))


def load(reference: PolicyReference, robot: Robot) -> FilePolicy:
    """The policy of a file.

    Raises DataError where the file cannot be read, ConfigError where it does not fit the robot.
    """
    options = reference.options_as(FileOptions)
    inputs = FileInputs(options, robot, f"base policy '{reference}'")
    path = reference.path
    identity = inputs.identity(reference.kind, [path])
    found = _kind_of_archive(path)
    if found != reference.kind:
        raise DataError(f"{path}: {REMEDIES[found]}")
    try:
        program = {TORCHSCRIPT: _open_script, TORCH_EXPORT: _open_exported}[reference.kind](path)
    except Exception as error:  # each of the formats' readers raises what it likes
        raise DataError(f"{path}: cannot be loaded ({reason(error)}); export it anew, on the CPU") from error
    return FilePolicy(reference, options, inputs, identity, program)


def _kind_of_archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except zipfile.BadZipFile:
        with path.open("rb") as stream:
            return CHECKPOINT if stream.read(1) == PICKLE_MAGIC else ""
    return next((kind for mark, kind in MARKS.items() if mark in names), "")


def _open_script(path: Path) -> Program:
    module = torch.jit.load(str(path), map_location="cpu").eval()
    inputs = [
        ProgramInput(a.name, "" if str(a.type) == "Tensor" else str(a.type), optional=a.has_default_value())
        for a in module.forward.schema.arguments[1:]
    ]
    return _TorchProgram(module, inputs)


def _open_exported(path: Path) -> Program:
    with path.open("rb") as stream:
        exported = torch.export.load(stream)
    wanted = exported.graph_signature.user_inputs
    values = {n.name: n.meta["val"] for n in exported.graph.nodes if n.op == "placeholder" and n.name in wanted}
    inputs = [_declared(str(name), values.get(name)) for name in wanted]
    return _TorchProgram(exported.module(), inputs)


def _declared(name: str, value: Any) -> ProgramInput:
    if not isinstance(value, torch.Tensor):
        return ProgramInput(name, type(value).__name__)
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return ProgramInput(name, str(value.dtype).removeprefix("torch."), shape)
