"""What an actor on disk says of itself, before anything is started with it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.learning.checkpoint import MANIFEST, LoadedActor, load_run_actor
from resfit_ros.learning.compatibility import require_same_policy
from resfit_ros.learning.export import base_policy_record, require_settings
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.exported_file import is_exported
from resfit_ros.learning.hashes import SHOWN
from resfit_ros.learning.networks import ObservationShape


@dataclass(frozen=True)
class ActorRecord:
    """An actor that was found sound.

    path: the checkpoint itself, or the exported file. base_policy: name, sha256 and config of the policy it
    corrects. words: which one it is. problems: what was wrong with newer checkpoints. require: raises
    MismatchError where settings (core.actor_settings) or the base policy's identity (empty: not known) differ.
    """

    path: Path
    base_policy: Mapping[str, Any]
    words: str
    problems: tuple[str, ...]
    require: Callable[[Mapping[str, Any], str], None]


def read_actor(path: Path, extractor_path: str = "") -> ActorRecord:
    """The actor of an exported file, of a checkpoint, or of the newest valid one in a folder.

    Raises DataError when there is none.
    """
    return _exported(path) if is_exported(path) else _of_checkpoint(path, extractor_path)


def _exported(path: Path) -> ActorRecord:
    actor = ExportedResidual(path)
    origin = actor.provenance
    words = f"{path} (exported from {origin['checkpoint']} of run {origin['run']})"
    return ActorRecord(path, actor.base_policy, words, (), actor.require)


def _of_checkpoint(path: Path, extractor_path: str) -> ActorRecord:
    loaded = load_run_actor(path, extractor_path=extractor_path)
    manifest = json.loads((loaded.path / MANIFEST).read_text())
    words = f"{loaded.path} ({manifest['env_steps']} steps, normaliser {loaded.normaliser.sha256[:SHOWN]})"
    require = _requirement(loaded, manifest)
    return ActorRecord(loaded.path, base_policy_record(manifest), words, loaded.problems, require)


def _requirement(loaded: LoadedActor, manifest: dict[str, Any]) -> Callable[[Mapping[str, Any], str], None]:
    def require(settings: Mapping[str, Any], base_policy_sha256: str = "") -> None:
        require_settings(settings, loaded, ObservationShape.from_dict(manifest["shape"]))
        require_same_policy(manifest, None, base_policy_sha256, str(loaded.path))

    return require
