"""A configuration of the simulated robot that trains in seconds."""

import dataclasses
from typing import Any

from resfit_ros.bringup import RunConfig, load_config
from resfit_ros.paths import find_config

LEARNER = dict(
    hidden_width=8,
    critic_ensemble=2,
    batch_size=8,
    n_step=2,
    utd=0.5,
    warmup_steps=60,
    critic_only_updates=5,
    total_steps=150,
    replay_capacity=2000,
)


def shipped_config(**sections: dict[str, Any]) -> RunConfig:
    """The shipped configuration with some keys of some sections replaced."""
    config = load_config(find_config("bimanual_lift"))
    changed = {name: {**config.section(name), **keys} for name, keys in sections.items()}
    return dataclasses.replace(config, sections={**config.sections, **changed})


def tiny_config(**sections: dict[str, Any]) -> RunConfig:
    """One demonstration, a few updates, small networks."""
    tiny = {
        "train_bc": {"demonstrations": 1, "updates": 20, "hidden_width": 16, "batch_size": 16},
        "learner": LEARNER,
    }
    return shipped_config(**(tiny | sections))
