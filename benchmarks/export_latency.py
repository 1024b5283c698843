"""How long a residual action takes: the checkpoint's actor in PyTorch against the exported file, one thread.

Each is asked for one observation at a time, as on a robot, all in one process and in turns. The networks have
the default sizes (two hidden layers, shallow ViT per camera) and random weights; --checkpoint takes a real run.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resfit_ros.core.normalize import Normaliser

JOINTS, STATE, SIDE = 29, ["joint_positions", "joint_velocities", "array/box/7"], 84
NAMES = tuple(f"joint_{i}" for i in range(JOINTS))
WARM_UP, CALLS, ROUNDS = 30, 200, 5
KINDS = ("onnx", "torch-export")


def checkpoint(directory: Path, cameras: int) -> Path:
    """A checkpoint of the default networks with random weights."""
    import torch

    from resfit_ros.core.learning_config import LearningConfig
    from resfit_ros.learning.checkpoint import save_checkpoint
    from resfit_ros.learning.trainer import Trainer

    size = 2 * JOINTS + 7
    scaling = Normaliser(NAMES, np.zeros(JOINTS), np.ones(JOINTS), np.zeros(size), np.ones(size))
    config = LearningConfig(use_images=cameras > 0, replay_capacity=1000)
    trainer = Trainer(config, scaling, "cpu", ((SIDE, SIDE),) * cameras)
    torch.nn.init.normal_(trainer.agent.average_actor.head.weight, std=0.1)  # it begins at zero
    return save_checkpoint(directory, trainer, {})


def settings(cameras: int) -> dict:
    """What such a checkpoint runs with."""
    seen = {"camera_names": [f"camera_{i}" for i in range(cameras)], "image_width": SIDE, "image_height": SIDE}
    return {"joint_names": list(NAMES), "state": STATE, "control_hz": 20.0} | (seen if cameras else {})


def milliseconds(actors: dict[str, Callable], samples: list) -> dict[str, tuple[float, float]]:
    """Name to (median, 99th percentile) [ms]; in turns, so that all meet the same disturbances."""
    times: dict[str, list[float]] = {name: [] for name in actors}
    for _ in range(ROUNDS):
        for name, actor in actors.items():
            for i in range(WARM_UP + CALLS):
                begin = time.perf_counter()
                actor(*samples[i % len(samples)])
                if i >= WARM_UP:
                    times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: (float(np.median(t)), float(np.percentile(t, 99))) for name, t in times.items()}


def measure(path: Path, described: dict, scratch: Path) -> dict[str, dict[str, float]]:
    """Figures of a checkpoint and of its exports, by name."""
    from resfit_ros.learning.checkpoint import load_run_actor
    from resfit_ros.learning.export import export_residual, random_samples
    from resfit_ros.learning.exported import ExportedResidual

    loaded = load_run_actor(path)
    reports = {k: export_residual(path, scratch / f"{k}.resfit", described, k) for k in KINDS}
    exported = {k: ExportedResidual(r.path) for k, r in reports.items()}
    samples = list(random_samples(loaded.normaliser, exported["onnx"].cameras, 16))
    figures = milliseconds({"checkpoint": loaded.actor} | exported, samples)
    reference = figures["checkpoint"][0]
    found = {n: {"median_ms": m, "p99_ms": p, "ratio": m / reference} for n, (m, p) in figures.items()}
    for kind, report in reports.items():
        found[kind] |= {"difference": report.difference, "kilobytes": report.bytes / 1000}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, help="run directory, instead of random weights")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # as the node does
    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.checkpoint:
            from resfit_ros.cli.export import run_settings

            described, _ = run_settings(arguments.checkpoint, None)
            results["checkpoint"] = measure(arguments.checkpoint / "checkpoints", described, Path(scratch))
        else:
            for cameras in (0, 1, 2):
                place = Path(scratch, str(cameras))
                path = checkpoint(place / "checkpoints", cameras)
                results[f"{cameras} cameras"] = measure(path, settings(cameras), place)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    print(f"{'':<14} {'actor':<14} {'median ms':>9} {'p99 ms':>9} {'ratio':>7} {'differs':>9} {'kB':>8}")
    for case, rows in results.items():
        for name, row in rows.items():
            more = f" {row['difference']:9.1e} {row['kilobytes']:8.0f}" if "difference" in row else ""
            times = f"{row['median_ms']:9.3f} {row['p99_ms']:9.3f} {row['ratio']:7.2f}"
            print(f"{case:<14} {name:<14} {times}{more}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
