"""Base policies in ONNX files, run by ONNX Runtime."""

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.core.errors import ConfigError, DataError, nearest
from resfit_ros.core.schema import param
from resfit_ros.policies.file_policy import Array, FileInputs, FileOptions, FilePolicy, ProgramInput, reason
from resfit_ros.policies.protocol import Robot
from resfit_ros.policies.reference import PolicyReference

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SILENT = 4  # severity of the log: errors are raised anyway
DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}
# Where tensors lie in an ONNX file (onnx.proto3): message to field number to the message in it.
MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


@dataclass(frozen=True, kw_only=True)
class OnnxOptions(FileOptions):
    """Options of a policy in an ONNX file."""

    state_input: str = param("state", doc="name of the input that takes the state")
    output: str = param("", doc="name of the output that is the chunk; empty: the first")
    provider: str = param("cpu", choices=tuple(PROVIDERS), doc="what ONNX Runtime computes on")


class _OnnxProgram:
    """One session of ONNX Runtime."""

    by_name = True

    def __init__(self, session: Any, output: str) -> None:
        self._session, self._output = session, output
        self.inputs = [_declared(i.name, i.type, i.shape) for i in session.get_inputs()]

    def run(self, arrays: Mapping[str, Array]) -> Array:
        """The output that holds the chunk."""
        return self._session.run([self._output], dict(arrays))[0]


def load(reference: PolicyReference, robot: Robot) -> FilePolicy:
    """The policy of a file.

    Raises DataError where the file cannot be read, ConfigError where it does not fit the robot.
    """
    options = reference.options_as(OnnxOptions)
    who = f"base policy '{reference}'"
    inputs = FileInputs(options, robot, who, options.state_input)
    identity = inputs.identity(reference.kind, [reference.path, *external_files(reference.path)])
    session = _session(reference.path, options.provider, who)
    outputs = [o.name for o in session.get_outputs()]
    output = options.output or outputs[0]
    if output not in outputs:
        raise ConfigError(f"{who} has no output '{output}'; {nearest(output, outputs)}")
    return FilePolicy(reference, options, inputs, identity, _OnnxProgram(session, output))


def _session(path: Path, provider: str, who: str) -> Any:
    import onnxruntime  # optional: only robots with such a policy have it

    available = onnxruntime.get_available_providers()
    if PROVIDERS[provider] not in available:
        raise ConfigError(
            f"{who}: provider '{provider}' is not in this build of ONNX Runtime, which has {', '.join(available)}; "
            "set provider: cpu, or install onnxruntime-gpu"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = SILENT
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS[provider]])
    except Exception as error:  # ONNX Runtime's errors have no common base
        raise DataError(f"{path}: cannot be loaded ({reason(error)}); export it anew") from error
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise ConfigError(
            f"{who}: provider '{provider}' does not start, ONNX Runtime fell back to "
            f"{', '.join(session.get_providers())}; check its libraries, or set provider: cpu"
        )
    return session


def _declared(name: str, kind: str, shape: list[int | str | None]) -> ProgramInput:
    sizes = tuple(size if isinstance(size, int) and size >= 0 else str(size or "any") for size in shape)
    return ProgramInput(name, DTYPES.get(kind, kind), sizes)


def external_files(path: Path) -> list[Path]:
    """The files in which a model keeps weights apart, sorted; none for a damaged model.

    Read from the protocol buffers themselves, so that the package `onnx` is not needed.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = set(_locations(data, 0, len(data), "model"))
    except (OSError, ValueError, IndexError, RecursionError):
        return []  # whoever loads it says what is wrong
    return [path.parent / location for location in sorted(found)]


def _locations(data: mmap.mmap, start: int, end: int, message: str) -> Iterator[str]:
    for number, begin, stop in _fields(data, start, end):
        inner = MESSAGES[message].get(number)
        if inner == "external":
            entry = {n: data[b:s] for n, b, s in _fields(data, begin, stop)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode()
        elif inner:
            yield from _locations(data, begin, stop, inner)


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, begin, end) of each field that holds bytes. Raises ValueError on anything else."""
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == VARINT:
            _, at = _varint(data, at)
        elif wire == BYTES:
            size, at = _varint(data, at)
            if at + size > end:
                raise ValueError("truncated")
            yield key >> 3, at, at + size
            at += size
        elif wire in (FIXED64, FIXED32):
            at += 8 if wire == FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
    raise ValueError("number without an end")
