"""What a configuration, or the run a bag lies in, says of the robot the bag should be of."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.bringup import RunConfig, load_config, node_parameters, paths_of
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.parameters import LearnerParameters
from resfit_ros.core.types import Float64
from resfit_ros.data.episode_view import Known
from resfit_ros.paths import find_config

RUN_CONFIG, NORMALISER = "config/run.yaml", "normaliser.json"


def load_if_given(name: str | None) -> RunConfig | None:
    """A configuration by file or shipped name."""
    return load_config(find_config(name)) if name is not None else None


def run_of(bag: Path) -> Path | None:
    """The run directory a bag lies in, if any."""
    return next((p for p in bag.resolve().parents if (p / RUN_CONFIG).is_file()), None)


def known_robot(bag: Path, config_name: str | None) -> Known:
    """Names, limits and the bound of the residual: of the configuration, else of the run the bag lies in.

    The bound is that of the safety filter and, where the run's scaling is there, of the learner.
    """
    run = run_of(bag)
    if config_name is not None:
        config = load_config(find_config(config_name))
    elif run is not None:
        config = load_config(run / RUN_CONFIG)
    else:
        return Known()
    safety = node_parameters(config, "safety_filter")
    lower, upper = (_per_joint(config, getattr(safety, side)) for side in ("lower", "upper"))
    bounds = [safety.bounds.max_residual, _learned_bound(config, run)]
    known = [b for b in bounds if b is not None]
    bound = np.minimum.reduce(known) if known else None
    return Known(joint_names=config.joint_names, lower=lower, upper=upper, bound=bound)


def _per_joint(config: RunConfig, values: Any) -> Float64 | None:
    """None where the limits are left to the robot's description."""
    return np.array(values, np.float64) if len(values) == len(config.joint_names) else None


def _learned_bound(config: RunConfig, run: Path | None) -> Float64 | None:
    path = run / NORMALISER if run is not None else None
    if path is None or not path.is_file():
        return None
    try:
        scaling = Normaliser.from_dict(json.loads(path.read_text()))
    except (ValueError, DataError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); restore it, or move the bag elsewhere") from None
    if scaling.joint_names != config.joint_names:
        return None
    given_later = {name: "given later" for name in paths_of(LearnerParameters)}
    learner = node_parameters(config, "learner", given_later)
    return learner.learning.largest_residual * scaling.action_half_range.astype(np.float64)
