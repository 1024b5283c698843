"""Which base policy a configuration asks for: one line, or the path of a description.

    policies/lift                     directory written by 'resfit train-bc'
    models/act/pretrained_model       directory saved by LeRobot (same as lerobot:DIR)
    model.onnx, model.pt, model.pt2   file for ONNX Runtime, TorchScript, torch.export
    ws://host:8000                    server that speaks the openpi websocket protocol
    python:package.module:Class       any class that has the base policy's methods
    config/policies/pi0.yaml          description: kind, location and the options of that kind
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.schema import from_mapping

T = TypeVar("T")
BUILT_IN, LEROBOT, TORCHSCRIPT, TORCH_EXPORT, ONNX, OPENPI, PYTHON, EXPERT = (
    "built_in lerobot torchscript torch_export onnx openpi python expert".split()
)
KINDS = (BUILT_IN, LEROBOT, TORCHSCRIPT, TORCH_EXPORT, ONNX, OPENPI, PYTHON, EXPERT)
SUFFIXES = {".onnx": ONNX, ".pt2": TORCH_EXPORT, ".pt": TORCHSCRIPT, ".ts": TORCHSCRIPT}
WITHOUT_PATH = (OPENPI, PYTHON, EXPERT)


@dataclass(frozen=True)
class PolicyReference:
    """Kind of a base policy, where it is (path, address or module:Class), and options of its kind."""

    kind: str
    location: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""  # what the options were read from, for errors

    @property
    def path(self) -> Path:
        """The location of a policy that lies in a file or directory."""
        return Path(self.location).expanduser()

    def options_as(self, cls: type[T]) -> T:
        """The options as the dataclass of the kind; raises ConfigError naming file and key."""
        return from_mapping(cls, self.options, self.where or f"base policy '{self}'")

    def require_no_options(self) -> None:
        """Raises ConfigError on an option of a kind that has none."""
        for key in self.options:
            raise ConfigError(f"{self.where}: a policy of kind '{self.kind}' has no option '{key}'; remove it")

    def __str__(self) -> str:
        return f"{self.kind}:{self.location}" if self.location else self.kind


def parse_reference(text: str) -> PolicyReference:
    """The policy a line asks for; reads a description. Raises ConfigError saying what may be given."""
    text = text.strip()
    if not text:
        raise ConfigError(
            "policy is empty; give a policy directory or file, ws://HOST:PORT, python:MODULE:CLASS, or a "
            "description (.yaml)"
        )
    if text == EXPERT:
        return PolicyReference(EXPERT)
    if text.startswith(("ws://", "wss://")):
        return PolicyReference(OPENPI, text)
    kind, colon, location = text.partition(":")
    if colon and kind in KINDS:
        if not location:
            raise ConfigError(f"policy '{text}': nothing after the colon; give what '{kind}' is to load")
        return PolicyReference(kind, location)
    if _is_mistaken(text):
        raise ConfigError(f"policy '{text}': unknown kind '{kind}'; {nearest(kind, KINDS)}")
    path = Path(text).expanduser()
    if path.suffix in (".yaml", ".yml"):
        return read_description(path)
    if path.is_file() and path.suffix not in SUFFIXES:
        raise ConfigError(
            f"policy '{text}': a file of unknown type '{path.suffix}'; known: {', '.join(SUFFIXES)}, .yaml; or write "
            f"KIND:{text}, one of {', '.join(KINDS)}"
        )
    return PolicyReference(_kind_of_path(path), text)


def _is_mistaken(text: str) -> bool:
    """Whether a line names a kind that does not exist, rather than a path with a colon in it."""
    kind, colon, _ = text.partition(":")
    return bool(colon) and kind not in KINDS and "/" not in kind and not Path(text).exists()


def _kind_of_path(path: Path) -> str:
    if path.suffix in SUFFIXES:
        return SUFFIXES[path.suffix]
    try:  # LeRobot saves its configuration, with the kind of policy in it, beside the weights
        saved = json.loads((path / "config.json").read_text())
        return LEROBOT if isinstance(saved, dict) and "type" in saved else BUILT_IN
    except (OSError, ValueError):
        return BUILT_IN


def read_description(path: Path) -> PolicyReference:
    """A YAML file with `kind`, `location` (relative to the file) and options of the kind.

    Raises ConfigError naming the file and what is wrong in it.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give a policy description") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ConfigError(f"{path}: expected keys with 'kind:' among them, one of {', '.join(KINDS)}")
    options = {str(k): v for k, v in values.items()}
    kind, location = options.pop("kind"), options.pop("location", None)
    location = "" if location is None else str(location)
    if kind not in KINDS:
        raise ConfigError(f"{path}: unknown kind '{kind}'; {nearest(kind, KINDS)}")
    if not location and kind != EXPERT:
        raise ConfigError(f"{path}: missing key 'location'; add what '{kind}' is to load")
    if kind not in WITHOUT_PATH:
        location = str(path.parent / Path(location).expanduser())
    return PolicyReference(kind, location, options, str(path))


def absolute(text: str) -> str:
    """The same policy named independently of the current directory."""
    text = text.strip()
    kind, colon, location = text.partition(":")
    if colon and kind in KINDS:
        return text if kind in WITHOUT_PATH or not location else f"{kind}:{Path(location).expanduser().resolve()}"
    if text in ("", EXPERT) or "://" in text or _is_mistaken(text):
        return text
    return str(Path(text).expanduser().resolve())
