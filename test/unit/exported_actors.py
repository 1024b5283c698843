"""Exported actors for tests: checkpoints whose network says something, and what the robot is called."""

from pathlib import Path

import torch
from learning_builders import CAMERAS, TINY_VISION
from test_compatibility import make_trainer

from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.export import ExportReport, export_residual

SETTINGS = {
    "joint_names": ["a", "b"],
    "state": ["joint_positions", "array/force/1"],
    "control_hz": 20.0,
    "execute_steps": 8,
    "prefetch_steps": 0,
    "blend_steps": 0,
    "temporal_ensembling": False,
}
# Both cameras of a robot have one size.
SEEING = {"camera_names": ["left", "right"], "image_height": CAMERAS[0][0], "image_width": CAMERAS[0][1]}
RECORD = {"name": "mlp:aaaa", "sha256": "a" * 64, "config": {"kind": "mlp"}}
MODES = {
    "plain": {},
    "rlpd": {"rlpd": True},
    "images": {"cameras": CAMERAS[:1] * 2, **TINY_VISION},
}


def checkpoint(directory: Path, **changes) -> Path:
    """A checkpoint of joints a and b whose averaged actor does not give zero."""
    trainer = make_trainer(**changes)
    torch.manual_seed(7)
    for network in (trainer.agent.actor, trainer.agent.average_actor):
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return save_checkpoint(directory, trainer, {"base_policy": RECORD})


def exported(directory: Path, mode: str = "plain", kind: str = "onnx", **options) -> ExportReport:
    """A file of that mode, beside its checkpoint."""
    path = checkpoint(directory / "run" / "checkpoints", **MODES[mode])
    settings = SETTINGS | (SEEING if mode == "images" else {})
    return export_residual(path, directory / "lift.resfit", settings, kind, **options)
