"""Checkpoints: written beside, synced, hashed, renamed; a damaged one is passed over for the one before."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save

from resfit_ros.core.errors import DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import ActorPolicy, load_actor, pack, sha256

STATE, ACTOR, MANIFEST = "training.safetensors", "actor.safetensors", "checkpoint.json"
HASHES = "SHA256SUMS"  # of the three files above, as `sha256sum --check` reads it
KEPT = 3
MODULES = ("actor", "average_actor", "critic", "target_critic")
OPTIMISERS = ("actor_optimiser", "critic_optimiser")


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _hash_list(files: dict[str, bytes]) -> bytes:
    return "".join(f"{sha256(data)}  {name}\n" for name, data in files.items()).encode()


def _tensors(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Everything of the agent that is a tensor, by a flat name."""
    agent, flat = trainer.agent, {}
    for name in MODULES:
        for key, value in getattr(agent, name).state_dict().items():
            flat[f"{name}/{key}"] = value
    for name in OPTIMISERS:
        for index, slots in getattr(agent, name).state_dict()["state"].items():
            for key, value in slots.items():
                flat[f"{name}/{index}/{key}"] = torch.as_tensor(value)
    flat["generator"] = agent.generator.get_state()
    return {k: v.detach().cpu().contiguous().clone() for k, v in flat.items()}


def save_checkpoint(directory: Path, trainer: Trainer, about: dict[str, Any]) -> Path:
    """Writes `directory`/step-N; `about` (JSON) tells what it belongs to. Returns its path.

    Raises DataError when it cannot be written (disk full); older checkpoints stay as they are.
    """
    name = f"step-{trainer.env_steps:08d}-{trainer.agent.critic_updates:08d}"
    final, scratch = directory / name, directory / f".{name}.partial"
    manifest = {
        "env_steps": trainer.env_steps,
        "critic_updates": trainer.agent.critic_updates,
        "actor_updates": trainer.agent.actor_updates,
        "residual_scale": trainer.config.residual_scale,
        "normaliser": trainer.normaliser.to_dict(),
        "rng": trainer.rng.bit_generator.state,
        "about": about,
    }
    files = {
        STATE: save(_tensors(trainer)),
        ACTOR: pack(trainer.agent.average_actor),
        MANIFEST: json.dumps(manifest, indent=1).encode(),
    }
    files[HASHES] = _hash_list(files)
    try:
        for left_over in directory.glob(".step-*.partial"):  # of a killed or failed save
            _remove(left_over)
        scratch.mkdir(parents=True, exist_ok=True)
        for file_name, data in files.items():
            _write_synced(scratch / file_name, data)
        _sync_directory(scratch)
        if final.exists():
            _remove(final)
        scratch.rename(final)
        _sync_directory(directory)
        for old in checkpoints(directory)[KEPT:]:
            _remove(old)
    except OSError as error:
        raise DataError(f"{final}: checkpoint not written ({error}); free some disk space") from error
    return final


def _remove(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def checkpoints(directory: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    return sorted(directory.glob("step-*"), reverse=True) if directory.is_dir() else []


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and file contents; raises DataError when anything is damaged."""
    try:
        files = {name: (path / name).read_bytes() for name in (STATE, ACTOR, MANIFEST)}
        hashes = (path / HASHES).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a readable checkpoint ({error})") from None
    if hashes != _hash_list(files):
        raise DataError(f"{path}: the files do not match {HASHES}; the checkpoint is damaged")
    return json.loads(files[MANIFEST]), files


def _require_same(manifest: dict[str, Any], normaliser: Normaliser, path: Path) -> None:
    theirs = Normaliser.from_dict(manifest["normaliser"])
    if theirs.sha256 != normaliser.sha256:
        raise DataError(
            f"{path}: made for normaliser {theirs.sha256[:12]}, the base policy has "
            f"{normaliser.sha256[:12]}; use the base policy it was trained with"
        )


def _require_fit(flat: dict[str, torch.Tensor], agent: Agent, path: Path) -> None:
    # Checked beforehand: load_state_dict keeps what fitted when it refuses the rest.
    for name in MODULES:
        theirs = {key: value.shape for key, value in _below(flat, name).items()}
        ours = {key: value.shape for key, value in getattr(agent, name).state_dict().items()}
        if theirs != ours:
            raise DataError(
                f"{path}: its {name} has other layers than the configured one; use the "
                "configuration it was trained with"
            )


def restore(path: Path, trainer: Trainer) -> dict[str, Any]:
    """Puts the checkpoint's state into `trainer` and returns its manifest.

    Raises DataError, and leaves `trainer` as it was, when it is damaged or made for another one.
    """
    manifest, files = _read(path)
    _require_same(manifest, trainer.normaliser, path)
    flat, agent = load(files[STATE]), trainer.agent
    _require_fit(flat, agent, path)
    for name in MODULES:
        getattr(agent, name).load_state_dict(_below(flat, name))
    for name in OPTIMISERS:
        _restore_optimiser(getattr(agent, name), _below(flat, name))
    agent.generator.set_state(flat["generator"])
    agent.critic_updates = manifest["critic_updates"]
    agent.actor_updates = manifest["actor_updates"]
    trainer.rng.bit_generator.state = manifest["rng"]
    return manifest


def _below(flat: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {k[len(name) + 1 :]: v for k, v in flat.items() if k.startswith(f"{name}/")}


def _restore_optimiser(optimiser: torch.optim.Optimizer, flat: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in flat.items():
        index, slot = key.split("/")
        state.setdefault(int(index), {})[slot] = value
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def restore_newest(directory: Path, trainer: Trainer) -> tuple[Path | None, list[str]]:
    """Restores the newest valid checkpoint; returns it (None: there is none) and what was wrong
    with those passed over."""
    problems = []
    for path in checkpoints(directory):
        try:
            restore(path, trainer)
            return path, problems
        except DataError as error:
            problems.append(str(error))
    return None, problems


class LoadedActor(NamedTuple):
    """The averaged actor of a checkpoint; `problems`: what was wrong with newer ones passed over."""

    actor: ActorPolicy
    residual_scale: float
    path: Path
    problems: tuple[str, ...]


def load_run_actor(path: Path, normaliser: Normaliser | None) -> LoadedActor:
    """The actor of a checkpoint, or of the newest valid one below `path`.

    Raises DataError when there is none, saying what was wrong with each.
    """
    candidates = [path] if (path / MANIFEST).is_file() else checkpoints(path)
    if not candidates:
        raise DataError(f"{path}: no checkpoint there; fine-tune first with 'resfit finetune'")
    if normaliser is None:
        raise DataError(f"{path}: an actor needs its base policy; set policy_path")
    problems = []
    for candidate in candidates:
        try:
            manifest, files = _read(candidate)
            _require_same(manifest, normaliser, candidate)
            actor = load_actor(files[ACTOR], sha256(files[ACTOR]), normaliser)
            scale = float(manifest["residual_scale"])
            return LoadedActor(actor, scale, candidate, tuple(problems))
        except DataError as error:
            problems.append(str(error))
    raise DataError("; ".join(problems))
