"""A checkpoint's averaged actor as one self-contained file, checked to give the same actions."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from resfit_ros.core.actor_settings import CAMERAS
from resfit_ros.core.errors import ConfigError, DataError, MismatchError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.schema import from_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.learning import exported_file as layout
from resfit_ros.learning.checkpoint import HASHES, MANIFEST, LoadedActor, load_run_actor
from resfit_ros.learning.export_graph import onnx_bytes, torch_bytes
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.networks import ObservationShape, ResidualActor
from resfit_ros.learning.weights import ACTOR

ONNX, TORCH_EXPORT = "onnx", "torch-export"
GRAPHS = {ONNX: layout.ONNX_GRAPH, TORCH_EXPORT: layout.TORCH_GRAPH}
RANDOM_CHECKS = 256
TOLERANCE = 1e-4  # of a direction in [-1, 1]
Progress = Callable[[float, float, str], None]
Sample = tuple[Observation, Float32, float]  # observation, base action (A,) in joint units, phase


@dataclass(frozen=True)
class ExportReport:
    """What was exported. Differences are the largest of all joints and checked observations.

    difference: of the direction in [-1, 1]; difference_joint_units: of the correction [rad or m].
    """

    path: Path
    sha256: str
    bytes: int
    checkpoint: Path
    base_policy: Mapping[str, Any]
    random_checks: int
    recorded_checks: int
    difference: float
    difference_joint_units: float
    problems: tuple[str, ...]  # newer checkpoints that were passed over, and why


def export_residual(
    checkpoint: Path,
    out: Path,
    settings: Mapping[str, Any],
    kind: str = ONNX,
    extractor_path: str = "",
    recorded: Sequence[Sample] = (),
    tolerance: float = TOLERANCE,
    on_progress: Progress = lambda done, total, words: None,
    release: str = "",
) -> ExportReport:
    """Writes the averaged actor of a checkpoint (or of the newest valid one in a folder) to `out`.

    settings: what the graph runs with, of core.actor_settings. recorded: observations to check on beside
    random ones. release: of this package, for the file's provenance. Raises ConfigError on a format that is not known or not installed, MismatchError where settings and
    checkpoint contradict each other, DataError where the file gives other actions; nothing is then written.
    """
    if kind not in GRAPHS:
        raise ConfigError(f"--format {kind}: use {' or '.join(GRAPHS)}")
    if out.suffix not in layout.SUFFIXES:
        raise ConfigError(f"{out}: let its name end in {' or '.join(layout.SUFFIXES)}")
    loaded = load_run_actor(checkpoint, extractor_path=extractor_path)
    network = load_network(loaded.path)
    require_settings(settings, loaded, network.shape)
    if not network.shape.cameras:  # it acts alike whatever the cameras are
        settings = {name: value for name, value in settings.items() if name not in CAMERAS}
    unchecked = out.with_name(f".{out.name}.unchecked")
    try:
        files = _graph_files(network, kind, extractor_path)
        files[layout.NORMALISER] = layout.canonical(loaded.normaliser.to_dict())
        files[layout.MANIFEST] = layout.canonical(_manifest(loaded, network, settings, kind, release))
        digest = layout.write_exported(unchecked, files)
        report = _check(unchecked, loaded, recorded, tolerance, on_progress)
        os.replace(unchecked, out)
    finally:
        with suppress(FileNotFoundError):
            unchecked.unlink()
    return ExportReport(out, digest, out.stat().st_size, loaded.path, problems=loaded.problems, **report)


def load_network(checkpoint: Path) -> ResidualActor:
    """The averaged actor's network, of a checkpoint that was found valid."""
    with safe_open(checkpoint / ACTOR, "pt") as file:
        description = json.loads(file.metadata()["network"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    config = from_mapping(LearningConfig, description["config"], f"{checkpoint}")
    network = ResidualActor(ObservationShape.from_dict(description["shape"]), config)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def require_settings(settings: Mapping[str, Any], loaded: LoadedActor, shape: ObservationShape) -> None:
    """Raises MismatchError, naming both sides, where a checkpoint's actor cannot run with these settings."""
    joints = joint_difference(loaded.normaliser.joint_names, settings["joint_names"])
    if joints:
        raise _other(loaded, joints)
    states = StateLayout(tuple(settings["state"]), len(settings["joint_names"])).size
    if states != shape.state_dim:
        blocks = ", ".join(settings["state"])
        raise _other(loaded, f"{shape.state_dim} state numbers there, {states} here ({blocks})")
    size = settings.get("image_height"), settings.get("image_width")
    cameras = (size,) * len(settings.get("camera_names", ()))
    if shape.cameras and shape.cameras != cameras:
        raise _other(loaded, f"pictures of {list(shape.cameras)} (height, width) there, {list(cameras)} here")


def _other(loaded: LoadedActor, difference: str) -> MismatchError:
    return MismatchError(
        f"{loaded.path}: made for another configuration: {difference}; use the configuration it was trained "
        "with"
    )


def _graph_files(network: ResidualActor, kind: str, extractor_path: str) -> dict[str, bytes]:
    """The network, and what computes its image features where it has them; name to contents."""
    if kind == ONNX:
        return {layout.ONNX_GRAPH: onnx_bytes(network)}
    files = {layout.TORCH_GRAPH: torch_bytes(network)}
    if network.shape.features:
        files[layout.FEATURES] = Path(extractor_path).read_bytes()
    return files


def _manifest(
    loaded: LoadedActor, network: ResidualActor, settings: Mapping[str, Any], kind: str, release: str
) -> dict[str, Any]:
    """What the file says of itself; nothing that changes from one export of a checkpoint to the next."""
    kept = json.loads((loaded.path / MANIFEST).read_text())
    return {
        "format": layout.FORMAT,
        "version": layout.VERSION,
        "graph": GRAPHS[kind],
        "cameras": [list(size) for size in network.shape.cameras],
        "settings": dict(settings),
        "acting": {
            "residual_scale": loaded.schedule.residual_scale,
            "without_base": loaded.schedule.without_base,
        },
        "normaliser_sha256": loaded.normaliser.sha256,
        "base_policy": base_policy_record(kept),
        "provenance": _provenance(loaded, kept, release),
    }


def _provenance(loaded: LoadedActor, kept: Mapping[str, Any], release: str) -> dict[str, Any]:
    counts = {name: kept[name] for name in ("env_steps", "critic_updates", "actor_updates")}
    return counts | {
        "checkpoint": loaded.path.name,
        "checkpoint_sha256": sha256((loaded.path / HASHES).read_bytes()),
        "run": loaded.path.resolve().parent.parent.name,
        "learning": kept["config"],
        "versions": {"resfit_ros": release, "torch": torch.__version__},
    }


def base_policy_record(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """name, sha256 and config of the base policy that a checkpoint was trained on; empty where not known."""
    kept = manifest["about"].get("base_policy") or {}
    return {"name": "", "config": {}} | kept | {"sha256": manifest["base_policy_sha256"]}


def random_samples(
    normaliser: Normaliser, cameras: Iterable[tuple[int, int]], count: int, seed: int = 0
) -> Iterator[Sample]:
    """Observations about the demonstrations' scale, some of them far outside."""
    rng, cameras = np.random.default_rng(seed), tuple(cameras)
    for step in range(count):
        spread = rng.choice((0.5, 2.0, 10.0))
        away = spread * rng.standard_normal(normaliser.state_dim)
        state = normaliser.state_mean + away * normaliser.state_std
        base = normaliser.denormalise_action(spread * rng.uniform(-1.0, 1.0, normaliser.action_dim))
        images = tuple(rng.integers(0, 256, (*size, 3), np.uint8) for size in cameras)
        seen = Observation(0, 1, step, state.astype(np.float32), images)
        yield seen, base.astype(np.float32), float(rng.uniform())


def _check(
    path: Path, loaded: LoadedActor, recorded: Sequence[Sample], tolerance: float, on_progress: Progress
) -> dict[str, Any]:
    """What the report says of the comparison; raises DataError where the actions differ."""
    exported = ExportedResidual(path)
    drawn = random_samples(loaded.normaliser, exported.cameras, RANDOM_CHECKS)
    worst, total = np.zeros(loaded.normaliser.action_dim, np.float32), RANDOM_CHECKS + len(recorded)
    for done, sample in enumerate(chain(drawn, recorded), 1):
        worst = np.maximum(worst, np.abs(exported(*sample) - loaded.actor(*sample)))
        on_progress(done, total, "comparing actions")
    difference = float(worst.max())
    if not difference <= tolerance:  # NaN, too
        raise DataError(
            f"not exported: its actions differ from the checkpoint's by up to {difference:.2g} of the "
            f"residual's range, more than the tolerance {tolerance:g}; try the other --format"
        )
    in_joint_units = loaded.normaliser.denormalise_residual(worst * loaded.schedule.residual_scale)
    return {
        "base_policy": exported.base_policy,
        "random_checks": RANDOM_CHECKS,
        "recorded_checks": len(recorded),
        "difference": difference,
        "difference_joint_units": float(in_joint_units.max()),
    }
