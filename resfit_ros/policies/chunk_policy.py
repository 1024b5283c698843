"""The built-in behaviour-cloned policies, loaded from the directory `resfit train-bc` wrote."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from resfit_ros.core.errors import DataError, ResfitError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.learning_config import BC_KINDS, MLP, BCConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.schema import from_mapping, to_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.learning.bc import build_network
from resfit_ros.learning.bc_data import BCInputs, CameraSize
from resfit_ros.policies.identity import identity_of, shown_name
from resfit_ros.policies.protocol import Camera, PolicySpec, Robot, check_state
from resfit_ros.policies.reference import PolicyReference

WEIGHTS, CONFIG = "weights.safetensors", "policy.json"
FORMER_KINDS = {"bc_chunk": MLP}


def save_chunk_policy(
    directory: Path,
    network: nn.Module,
    normaliser: Normaliser,
    config: BCConfig,
    inputs: BCInputs = BCInputs(),
    write_more: Callable[[Path], None] = lambda directory: None,
) -> None:
    """Writes a new policy directory, whole or not at all; refuses to overwrite one.

    write_more(directory) adds files that do not belong to the policy's identity.
    """
    if directory.exists():
        raise DataError(f"{directory}: already exists; choose another directory or remove it")
    scratch = directory.with_name(f".{directory.name}.partial")
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        save_file(network.state_dict(), scratch / WEIGHTS)
        description = {
            "kind": config.kind,
            "bc": to_mapping(config),
            "inputs": _inputs_to_dict(inputs),
            "normaliser": normaliser.to_dict(),
        }
        (scratch / CONFIG).write_text(json.dumps(description, indent=1) + "\n")
        write_more(scratch)
        scratch.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class ChunkPolicy:
    """A cloned network behind the base-policy protocol; runs on the CPU."""

    def __init__(self, directory: Path, camera_names: tuple[str, ...] = ()) -> None:
        """camera_names: of an observation's pictures, in order; empty: exactly the policy's own."""
        self.normaliser, config, self._inputs, weights = _load(directory)
        self._columns = self._inputs.columns(self.normaliser.state_dim)
        self._network = _network(directory, config, self._inputs, self.normaliser, weights)
        self._seed, self._needs_noise = config.seed, config.kind != MLP
        needed = [camera.name for camera in self._inputs.cameras]
        offered = camera_names or tuple(needed)
        # A camera that is missing here is reported by check_fits, with what to do.
        self._cameras = [offered.index(name) for name in needed if name in offered]
        identity = policy_sha256(directory)
        self.spec = PolicySpec(
            name=shown_name(config.kind, identity),
            action_dim=self.normaliser.action_dim,
            horizon=config.horizon,
            identity=identity,
            state_dim=self.normaliser.state_dim,
            joint_names=self.normaliser.joint_names,
            cameras=tuple(Camera(c.name, c.height, c.width) for c in self._inputs.cameras),
            control_hz=self._inputs.control_hz,
            config={"kind": config.kind, "location": str(directory), "bc": to_mapping(config)},
        )

    def reset(self, episode_id: int) -> None:
        """Nothing to forget: no kind has a memory, and noise depends on episode and step alone."""

    @torch.inference_mode()
    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A). Raises DataError on pictures of another size."""
        state = self.normaliser.normalise_state(observation.state)[self._columns]
        images = [torch.from_numpy(picture)[None] for picture in self._pictures(observation)]
        chunk = self._network.chunk(torch.from_numpy(state)[None], images, self._noise(observation))
        return self.normaliser.denormalise_action(chunk[0].numpy()).astype(np.float32)

    def _pictures(self, observation: Observation) -> list[np.ndarray]:
        if self._cameras and len(observation.images) <= max(self._cameras):
            raise DataError(
                f"base policy '{self.spec.name}' needs {len(self._cameras)} cameras, but the observation holds "
                f"{len(observation.images)}; check camera_names"
            )
        pictures = [np.ascontiguousarray(observation.images[i]) for i in self._cameras]
        for camera, picture in zip(self._inputs.cameras, pictures, strict=True):
            if picture.shape != (camera.height, camera.width, 3):
                raise DataError(
                    f"base policy '{self.spec.name}': picture of camera '{camera.name}' has shape "
                    f"{picture.shape}, expected {(camera.height, camera.width, 3)}; check image_height and "
                    "image_width"
                )
        return pictures

    def _noise(self, observation: Observation) -> torch.Tensor:
        """(1, H, A), the same for one seed, episode and step, whatever was asked before."""
        shape = (1, self.spec.horizon, self.spec.action_dim)
        if not self._needs_noise:
            return torch.zeros(shape)
        seed = np.random.SeedSequence((self._seed, observation.episode_id, observation.step))
        return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, np.float32))


def _network(
    directory: Path, config: BCConfig, inputs: BCInputs, normaliser: Normaliser, weights: dict[str, torch.Tensor]
) -> nn.Module:
    state_dim = len(inputs.columns(normaliser.state_dim))
    network = build_network(state_dim, normaliser.action_dim, config, inputs.cameras)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"{directory / WEIGHTS}: does not fit {CONFIG}: {error}") from None
    return network.eval()


def _inputs_to_dict(inputs: BCInputs) -> dict[str, Any]:
    return {
        "cameras": [{"name": c.name, "height": c.height, "width": c.width} for c in inputs.cameras],
        "state_slices": [list(pair) for pair in inputs.state_slices],
        "control_hz": inputs.control_hz,
    }


def _inputs_from_dict(values: dict[str, Any]) -> BCInputs:
    return BCInputs(
        tuple(CameraSize(c["name"], int(c["height"]), int(c["width"])) for c in values["cameras"]),
        tuple((int(start), int(stop)) for start, stop in values["state_slices"]),
        float(values["control_hz"]),
    )


def _load(directory: Path) -> tuple[Normaliser, BCConfig, BCInputs, dict[str, torch.Tensor]]:
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise DataError(f"{directory / name}: no such file; train a policy with 'resfit train-bc'")
    try:
        description = json.loads((directory / CONFIG).read_text())
        kind = description["kind"]
        former = kind in FORMER_KINDS
        if not former and kind not in BC_KINDS:
            raise DataError(f"unknown kind '{kind}' in {CONFIG}; known: {', '.join(BC_KINDS)}")
        normaliser = Normaliser.from_dict(description["normaliser"])
        settings = {**description["bc"], "kind": FORMER_KINDS[kind]} if former else description["bc"]
        config = from_mapping(BCConfig, settings, str(directory / CONFIG))
        inputs = BCInputs() if former else _inputs_from_dict(description["inputs"])
        return normaliser, config, inputs, load_file(directory / WEIGHTS)
    except ResfitError as error:
        raise DataError(f"{directory}: {error}") from None
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise DataError(f"{directory}: damaged policy directory ({error}); train it anew") from None


def load_normaliser(directory: Path) -> Normaliser:
    """The scaling a policy directory was trained with; the residual uses the same."""
    return _load(directory)[0]


def policy_sha256(directory: Path) -> str:
    """Identity of a policy: hash over its configuration and weights."""
    return identity_of(directory / name for name in (CONFIG, WEIGHTS))


def load(reference: PolicyReference, robot: Robot) -> ChunkPolicy:
    """The policy of a directory. Raises DataError when it is damaged, ConfigError on another state."""
    reference.require_no_options()
    policy = ChunkPolicy(reference.path, tuple(camera.name for camera in robot.cameras))
    if not joint_difference(policy.spec.joint_names, robot.joint_names):  # or else check_fits says it better
        check_state(policy.spec.name, policy.spec.state_dim, robot.layout.size)
    return policy
