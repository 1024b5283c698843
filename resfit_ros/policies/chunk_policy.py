"""The built-in behaviour-cloned chunk policy, loaded from the directory `resfit train-bc` wrote."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from resfit_ros.core.errors import DataError, ResfitError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.schema import from_mapping, to_mapping
from resfit_ros.core.types import Float32, Observation
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc import ChunkNetwork
from resfit_ros.policies.protocol import PolicySpec

WEIGHTS, CONFIG = "weights.safetensors", "policy.json"


def save_chunk_policy(directory: Path, network: ChunkNetwork, normaliser: Normaliser, config: BCConfig) -> None:
    """Writes a new policy directory; refuses to overwrite one."""
    if directory.exists():
        raise DataError(f"{directory}: already exists; choose another directory or remove it")
    scratch = directory.with_name(f".{directory.name}.partial")
    scratch.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), scratch / WEIGHTS)
    description = {"kind": "bc_chunk", "bc": to_mapping(config), "normaliser": normaliser.to_dict()}
    (scratch / CONFIG).write_text(json.dumps(description, indent=1) + "\n")
    scratch.rename(directory)


class ChunkPolicy:
    """A trained ChunkNetwork behind the base-policy protocol; runs on one CPU thread."""

    def __init__(self, directory: Path) -> None:
        self.normaliser, config, weights = _load(directory)
        self._network = ChunkNetwork(self.normaliser.state_dim, self.normaliser.action_dim, config)
        try:
            self._network.load_state_dict(weights)
        except RuntimeError as error:
            raise DataError(f"{directory / WEIGHTS}: does not fit {CONFIG}: {error}") from None
        self._network.eval()
        self.spec = PolicySpec(
            name=f"bc_chunk:{policy_sha256(directory)[:12]}",
            state_dim=self.normaliser.state_dim,
            joint_names=self.normaliser.joint_names,
            horizon=config.horizon,
        )

    def reset(self, episode_id: int) -> None:
        """Nothing to forget: the network has no memory."""

    @torch.inference_mode()
    def infer(self, observation: Observation) -> Float32:
        """Chunk of joint targets, float32 (H, A)."""
        state = self.normaliser.normalise_state(observation.state)
        chunk = self._network(torch.from_numpy(state)[None])[0].numpy()
        return self.normaliser.denormalise_action(chunk).astype(np.float32)


def _load(directory: Path) -> tuple[Normaliser, BCConfig, dict[str, torch.Tensor]]:
    for name in (CONFIG, WEIGHTS):
        if not (directory / name).is_file():
            raise DataError(f"{directory / name}: no such file; train a policy with 'resfit train-bc'")
    try:
        description = json.loads((directory / CONFIG).read_text())
        normaliser = Normaliser.from_dict(description["normaliser"])
        config = from_mapping(BCConfig, description["bc"], str(directory / CONFIG))
        return normaliser, config, load_file(directory / WEIGHTS)
    except (json.JSONDecodeError, KeyError, TypeError, SafetensorError) as error:
        raise DataError(f"{directory}: damaged policy directory ({error}); train it anew") from None
    except ResfitError as error:
        raise DataError(f"{directory}: {error}") from None


def load_normaliser(directory: Path) -> Normaliser:
    """The scaling a policy directory was trained with; the residual uses the same."""
    return _load(directory)[0]


def policy_sha256(directory: Path) -> str:
    """Identity of a policy: hash over its configuration and weights."""
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()
