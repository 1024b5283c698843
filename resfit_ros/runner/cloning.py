"""From demonstrations to a policy directory, with the run configuration's cameras and state."""

import dataclasses
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch

import resfit_ros
from resfit_ros.bringup import RunConfig
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.learning_config import BCConfig
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.schema import from_mapping
from resfit_ros.core.types import Segment
from resfit_ros.core.whole_file import write_json
from resfit_ros.learning.bc import clone
from resfit_ros.learning.bc_data import BCInputs, CameraSize
from resfit_ros.learning.bc_training import OnUpdate, TrainingRecord
from resfit_ros.policies.chunk_policy import save_chunk_policy
from resfit_ros.runner.loss_curve import LOSS_CURVE, plot_losses

TRAINING = "training.json"


def policy_inputs(config: RunConfig, bc: BCConfig) -> BCInputs:
    """What of the robot's observations the policy sees.

    Raises ConfigError on a state block the robot does not have, and without cameras to see.
    """
    where = f"{config.path}, section 'aggregator'"
    robot = from_mapping(AggregatorParameters, config.parameters("aggregator"), where)
    slices = []
    for block in bc.state:
        if block not in robot.layout.blocks:
            raise ConfigError(
                f"{config.path}, section 'train_bc': state block '{block}' is not in the robot's state "
                f"({', '.join(robot.layout.blocks)}); choose among these"
            )
        columns = robot.layout.slice_of(block)
        slices.append((columns.start, columns.stop))
    if bc.use_images and not robot.camera_names:
        raise ConfigError(
            f"{config.path}: use_images is true, but the robot has no camera_names; set them in section "
            "'robot', or set use_images to false"
        )
    names = robot.camera_names if bc.use_images else ()
    cameras = tuple(CameraSize(name, robot.image_height, robot.image_width) for name in names)
    return BCInputs(cameras, tuple(slices), robot.control_hz)


def clone_policy(
    config: RunConfig, bc: BCConfig, segments: Sequence[Segment], directory: Path, on_update: OnUpdate
) -> dict[str, Any]:
    """Trains and writes the new policy directory; returns what training.json holds.

    Nothing is left of a training that was interrupted or that diverged. Raises DataError when it diverged, and when
    the pictures are not of the configured cameras.
    """
    if directory.exists():
        raise DataError(f"{directory}: already exists; choose another directory or remove it")
    cloned = clone(segments, config.joint_names, bc, policy_inputs(config, bc), on_update)
    summary = training_summary(cloned.record, segments)

    def write_more(scratch: Path) -> None:
        write_json(scratch / TRAINING, summary)
        plot_losses(cloned.record, bc.kind, scratch / LOSS_CURVE)

    save_chunk_policy(directory, cloned.network, cloned.normaliser, bc, cloned.inputs, write_more)
    return summary


def training_summary(record: TrainingRecord, segments: Sequence[Segment]) -> dict[str, Any]:
    """Plain JSON: losses, the best update, demonstrations, time and versions."""
    values = dataclasses.asdict(record)
    if not record.validation_episodes:
        values["validation_losses"] = []  # JSON has no NaN
    best = record.updates.index(record.best_update)
    versions = {
        "resfit_ros": resfit_ros.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "safetensors": safetensors.__version__,
    }
    return values | {
        "demonstrations": len(segments),
        "steps": sum(len(s) for s in segments),
        "loss": record.training_losses[best],
        "validation_loss": values["validation_losses"][best] if record.validation_episodes else None,
        "versions": versions,
    }
