"""Checkpoints: written beside, synced, hashed, renamed; a damaged one is passed over for the one before."""

import dataclasses
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.compatibility import require_same_networks, require_same_policy, require_same_stage
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.schedule import Pretraining
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import ACTOR, ActorPolicy, load_actor, pack

STATE, MANIFEST = "training.safetensors", "checkpoint.json"
HASHES = "SHA256SUMS"  # of the three files above, as `sha256sum --check` reads it
KEPT = 3
ASIDE = ".replaced"  # ends the name of a checkpoint while one of the same name takes its place
MODULES = ("actor", "average_actor", "critic", "target_critic")
OPTIMISERS = ("actor_optimiser", "critic_optimiser")
# What every manifest holds; older releases wrote less.
KEYS = frozenset(
    "env_steps critic_updates actor_updates residual_scale without_base averages normaliser "
    "base_policy_sha256 shape config rng about".split()
)


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


def _finite(tensors: dict[str, torch.Tensor], final: Path) -> dict[str, torch.Tensor]:
    """`tensors`; a diverged run must not replace the checkpoints from before it diverged."""
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise DataError(
                f"{final}: checkpoint not written: {name} holds NaN or Inf, training has diverged; "
                "older checkpoints stay; resume from them with a lower critic_lr or actor_lr"
            )
    return tensors


def _manifest(trainer: Trainer, about: dict[str, Any]) -> dict[str, Any]:
    agent, schedule = trainer.agent, trainer.acting_schedule()
    return {
        "env_steps": trainer.env_steps,
        "critic_updates": agent.critic_updates,
        "actor_updates": agent.actor_updates,
        "pretraining": dataclasses.asdict(trainer.pretrained),
        "residual_scale": schedule.residual_scale,
        "without_base": schedule.without_base,
        "averages": trainer.averages,
        "normaliser": trainer.normaliser.to_dict(),
        "base_policy_sha256": trainer.base_policy_sha256,
        "shape": dataclasses.asdict(agent.shape),
        "config": dataclasses.asdict(trainer.config),
        "rng": trainer.rng.bit_generator.state,
        "about": about,
    }


def save_checkpoint(directory: Path, trainer: Trainer, about: dict[str, Any]) -> Path:
    """Writes `directory`/step-N; `about` (JSON) tells what it belongs to. Returns its path.

    Raises DataError when it cannot be written (disk full); older checkpoints stay as they are.
    """
    name = f"step-{trainer.env_steps:08d}-{trainer.agent.critic_updates:08d}"
    final, scratch = directory / name, directory / f".{name}.partial"
    files = {
        STATE: save(_finite(_tensors(trainer), final)),
        ACTOR: pack(trainer.agent.average_actor),
        MANIFEST: json.dumps(_manifest(trainer, about), indent=1).encode(),
    }
    files[HASHES] = _hash_list(files)
    try:
        for left_over in directory.glob(".step-*.partial"):  # of a killed save
            _remove(left_over)
        scratch.mkdir(parents=True)
        for file_name, data in files.items():
            _write_synced(scratch / file_name, data)
        _sync_directory(scratch)
        _put_in_place(scratch, final)
        for old in checkpoints(directory)[KEPT:]:
            _remove(old)
    except OSError as error:
        with suppress(OSError):  # what was begun must not keep the disk full
            _remove(scratch)
        raise DataError(f"{final}: checkpoint not written ({error}); free some disk space") from error
    return final


def _put_in_place(scratch: Path, final: Path) -> None:
    """Gives it its name. One of that name is put aside until then: killed in between, it still counts."""
    aside = _aside(final)
    if final.exists():
        if aside.exists():
            _remove(aside)
        final.rename(aside)
    scratch.rename(final)
    _sync_directory(final.parent)
    if aside.exists():
        _remove(aside)


def _aside(final: Path) -> Path:
    return final.with_name(f".{final.name}{ASIDE}")


def _remove(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def checkpoints(directory: Path) -> list[Path]:
    """Finished checkpoints, newest first; one that a killed save had put aside counts as well."""
    if not directory.is_dir():
        return []
    finals = {p.name: p for p in directory.glob("step-*")}
    for path in directory.glob(f".step-*{ASIDE}"):
        finals.setdefault(path.name[1 : -len(ASIDE)], path)
    return [finals[name] for name in sorted(finals, reverse=True)]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Manifest and file contents.

    Raises DataError when anything is damaged, MismatchError when another release wrote it.
    """
    try:
        files = {name: (path / name).read_bytes() for name in (STATE, ACTOR, MANIFEST)}
        hashes = (path / HASHES).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: not a readable checkpoint ({error})") from None
    if hashes != _hash_list(files):
        raise DataError(f"{path}: the files do not match {HASHES}; the checkpoint is damaged")
    manifest = json.loads(files[MANIFEST])
    missing = KEYS - manifest.keys()
    if missing:
        raise MismatchError(
            f"{path}: written by another release (its {MANIFEST} has no {', '.join(sorted(missing))}); "
            "use that release, or another run directory"
        )
    return manifest, files


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

    Raises DataError when it is damaged, MismatchError when it is made for another robot, base policy
    or configuration; `trainer` is then as it was.
    """
    manifest, files = _read(path)
    agent, where = trainer.agent, str(path)
    require_same_policy(manifest, trainer.normaliser, trainer.base_policy_sha256, where)
    require_same_networks(manifest, agent.shape, trainer.config, where)
    require_same_stage(manifest, trainer.config, where)
    flat = load(files[STATE])
    _require_fit(flat, agent, path)
    for name in MODULES:
        getattr(agent, name).load_state_dict(_below(flat, name))
    for name in OPTIMISERS:
        _restore_optimiser(getattr(agent, name), _below(flat, name))
    agent.generator.set_state(flat["generator"])
    agent.critic_updates, agent.actor_updates = manifest["critic_updates"], manifest["actor_updates"]
    trainer.before = Pretraining.from_dict(manifest.get("pretraining", {}))  # older releases wrote none
    trainer.rng.bit_generator.state, trainer.averages = manifest["rng"], manifest["averages"]
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
    with those passed over.

    Raises MismatchError when it belongs to another robot, base policy or configuration: going on
    without it would throw away what was learnt.
    """
    problems = []
    for path in checkpoints(directory):
        try:
            restore(path, trainer)
            return path, problems
        except MismatchError:
            raise
        except DataError as error:
            problems.append(str(error))
    return None, problems


class LoadedActor(NamedTuple):
    """The averaged actor of a checkpoint; `problems`: what was wrong with newer ones passed over."""

    actor: ActorPolicy
    schedule: ActingSchedule
    normaliser: Normaliser
    base_policy_sha256: str
    path: Path
    problems: tuple[str, ...]


def load_run_actor(
    path: Path,
    normaliser: Normaliser | None = None,
    base_policy_sha256: str = "",
    extractor_path: str = "",
) -> LoadedActor:
    """The actor of a checkpoint, or of the newest valid one below `path`, with its scaling.

    normaliser, base_policy_sha256: what it has to be made for, where that is known.
    Raises DataError when there is none, saying what was wrong with each, and MismatchError when it
    belongs to another base policy or robot.
    """
    candidates = [path] if (path / MANIFEST).is_file() else checkpoints(path)
    if not candidates:
        raise DataError(f"{path}: no checkpoint there; fine-tune first with 'resfit finetune'")
    problems = []
    for candidate in candidates:
        try:
            manifest, files = _read(candidate)
            require_same_policy(manifest, normaliser, base_policy_sha256, str(candidate))
            own = Normaliser.from_dict(manifest["normaliser"])
            actor = load_actor(files[ACTOR], sha256(files[ACTOR]), own, extractor_path)
            return LoadedActor(
                actor, _schedule(manifest), own, manifest["base_policy_sha256"], candidate, tuple(problems)
            )
        except MismatchError:
            raise
        except DataError as error:
            problems.append(str(error))
    raise DataError("; ".join(problems))


def _schedule(manifest: dict[str, Any]) -> ActingSchedule:
    return ActingSchedule(
        residual_scale=float(manifest["residual_scale"]),
        warm_up=False,
        without_base=bool(manifest["without_base"]),
        version=1,
    )
