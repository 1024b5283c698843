"""What a directory saved by LeRobot holds, read without LeRobot."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.policies.protocol import Camera

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
STATE, ACTION, IMAGES, OBSERVATION = "observation.state", "action", "observation.images", "observation."
VISUAL, ENVIRONMENT = "VISUAL", "ENV"  # LeRobot's types of features
WITHOUT_CHUNKS = ("tdmpc", "sac", "reward_classifier", "sarm")
PARENTS = ("pretrained_model", "checkpoints/last/pretrained_model")  # where training puts it
COPY = "copy the whole directory that LeRobot saved"


@dataclass(frozen=True)
class SavedPolicy:
    """What a directory's config.json says of the policy. Cameras go by the policy's own names."""

    directory: Path
    kind: str
    state_dim: int  # 0: it does not see the state
    action_dim: int
    cameras: tuple[Camera, ...]
    keys: tuple[str, ...]  # features of the cameras
    observations: int  # consecutive ones it looks at

    @property
    def files(self) -> list[Path]:
        """All that its actions depend on. Raises DataError naming one that is missing or damaged."""
        files = [self.directory / name for name in (CONFIG, WEIGHTS, PREPROCESSOR, POSTPROCESSOR)]
        steps = [step for processor in files[2:] for step in processor_steps(processor)]
        files += [self.directory / str(step["state_file"]) for step in steps if "state_file" in step]
        for file in files:
            if not file.is_file():
                raise _missing(file)
        return files


def read_saved(directory: Path) -> SavedPolicy:
    """Needs no LeRobot. Raises DataError where this is no directory of LeRobot, ConfigError on what it cannot do."""
    if not directory.is_dir():
        raise DataError(
            f"{directory}: no such directory; give the path of one that LeRobot saved (pretrained_model), or download "
            "it from its hub first"
        )
    inside = next((d for d in PARENTS if (directory / d).is_dir()), "")
    if inside and not (directory / CONFIG).exists():
        raise DataError(f"{directory}: holds LeRobot's training; give {directory / inside}")
    values = _json(directory / CONFIG)
    try:
        inputs, outputs = values["input_features"] or {}, values["output_features"] or {}
        kind, seen = str(values["type"]), {k: f for k, f in inputs.items() if f["type"] == VISUAL}
        _require_usable(directory, kind, values, [k for k, f in inputs.items() if f["type"] == ENVIRONMENT])
        return SavedPolicy(
            directory=directory,
            kind=kind,
            state_dim=int(inputs[STATE]["shape"][0]) if STATE in inputs else 0,
            action_dim=int(outputs[ACTION]["shape"][0]),
            cameras=tuple(_camera(directory, key, tuple(f["shape"])) for key, f in seen.items()),
            keys=tuple(seen),
            observations=int(values.get("n_obs_steps", 1)),
        )
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(
            f"{directory / CONFIG}: not the configuration of a LeRobot policy ({type(error).__name__}: {error}); "
            "give a directory that LeRobot saved (pretrained_model)"
        ) from None


def processor_steps(file: Path) -> list[Mapping[str, Any]]:
    """The steps of a saved processor. Raises DataError naming the file."""
    steps = _json(file).get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise DataError(f"{file}: not a processor of LeRobot, it has no list of steps; {COPY}")
    return steps


def _json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError:
        raise _missing(file) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error}); {COPY}") from None
    if not isinstance(values, dict):
        raise DataError(f"{file}: not a file of LeRobot; {COPY}")
    return values


def _missing(file: Path) -> DataError:
    remedy = COPY
    if file.name == CONFIG:
        remedy = "give a directory that LeRobot saved (pretrained_model)"
    elif file.name in (PREPROCESSOR, POSTPROCESSOR):
        remedy = f"{COPY}; LeRobot before 0.4 saved none: migrate it with its migrate_policy_normalization.py"
    return DataError(f"{file} is missing; {remedy}")


def _camera(directory: Path, key: str, shape: tuple[int, ...]) -> Camera:
    if len(shape) != 3 or shape[0] != 3:
        raise ConfigError(f"{directory}: feature '{key}' has shape {shape}, only pictures (3, height, width) are known")
    return Camera(key.removeprefix(f"{IMAGES}.").removeprefix(OBSERVATION), int(shape[1]), int(shape[2]))


def _require_usable(directory: Path, kind: str, values: Mapping[str, Any], environment: Iterable[str]) -> None:
    if kind in WITHOUT_CHUNKS:
        raise ConfigError(f"{directory}: a policy of type '{kind}' gives no chunks of actions; use another type")
    if values.get("use_peft"):
        raise ConfigError(f"{directory}: holds an adapter (PEFT) only; merge it into the policy and save that")
    for key in environment:
        raise ConfigError(f"{directory}: feature '{key}' comes from a simulator, no robot has it; train without it")
