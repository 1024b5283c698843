"""`resfit export`: a fine-tuned policy's correction as one self-contained file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros import __version__
from resfit_ros.cli.console import console, errors, progress_bar, reporting_errors
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.run_layout import CHECKPOINTS, FINETUNE_BAGS

RECORDED = 200  # observations of bags that are compared


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint, folder of them (newest valid one), or run.")],
    out: Annotated[Path, typer.Argument(help="File to write, NAME.resfit or NAME.zip.")],
    kind: Annotated[
        str,
        typer.Option("--format", help="onnx: needs ONNX Runtime alone to run; torch-export: needs PyTorch."),
    ] = "onnx",
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="A YAML file or name of a shipped configuration; none: the run's."),
    ] = None,
    bags: Annotated[
        Path | None, typer.Option(help="Bags whose observations are compared, too; none: the run's.")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(min=0.0, help="Largest difference allowed, of a direction in [-1, 1].")
    ] = 1e-4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of that name.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Export a checkpoint's averaged actor into one file that needs no checkpoint and no PyTorch to run.

    The file is compared with the checkpoint first, and not written where they act differently.

    Example: resfit export runs/latest lift.resfit
    """
    with reporting_errors():
        from resfit_ros.learning.export import export_residual

        if out.exists() and not overwrite:
            raise ConfigError(f"{out}: exists already; give another name, or --overwrite")
        run = _run_of(checkpoint)
        folder = checkpoint / CHECKPOINTS if (checkpoint / CHECKPOINTS).is_dir() else checkpoint
        settings, extractor = run_settings(run, config)
        seen = _recorded(bags or (run / FINETUNE_BAGS if run else None), required=bags is not None)
        arguments = folder, out, settings, kind, extractor, seen, tolerance
        if as_json:
            report = export_residual(*arguments, release=__version__)
            print(json.dumps(dataclasses.asdict(report), indent=1, default=str))
            return
        with progress_bar("export") as on_progress:
            report = export_residual(*arguments, on_progress, release=__version__)
        _print(report, kind)


def _run_of(checkpoint: Path) -> Path | None:
    """The run directory that a checkpoint, a folder of them or a run lies in."""
    place = checkpoint.resolve()
    return next((p for p in (place, *place.parents[:2]) if (p / CHECKPOINTS).is_dir()), None)


def run_settings(run: Path | None, config_name: str | None) -> tuple[dict[str, Any], str]:
    """(what the actor runs with, file its image features come from): of a configuration, else of the run.

    Raises ConfigError where neither tells.
    """
    from resfit_ros.bringup import load_config, node_parameters
    from resfit_ros.core.actor_settings import actor_settings
    from resfit_ros.graphs import feature_extractor
    from resfit_ros.paths import find_config

    kept = run / "config" / "run.yaml" if run else None
    if config_name or (kept and kept.is_file()):
        config = load_config(find_config(config_name) if config_name else kept)
        nodes = [node_parameters(config, name) for name in ("aggregator", "residual")]
        return actor_settings(*nodes), feature_extractor(config)
    nodes = [_started_with(run, name) for name in ("aggregator", "residual")] if run else []
    if not all(nodes) or not nodes:
        raise ConfigError(
            "which robot the checkpoint is of cannot be told: no run directory with a configuration is around "
            "it; give the configuration it was trained with (--config)"
        )
    return actor_settings(*nodes), nodes[1].feature_extractor


def _started_with(run: Path, node: str) -> Any:
    """The parameters that a node of the fine-tuning was started with, where the run keeps them."""
    import yaml

    from resfit_ros.core.parameters import NODE_PARAMETERS
    from resfit_ros.core.schema import from_mapping

    path = run / "config" / "finetune" / f"{node}.yaml"
    try:
        (section,) = yaml.safe_load(path.read_text()).values()
        values: Mapping[str, Any] = section["ros__parameters"]
        values = {k: v for k, v in values.items() if k != "use_sim_time"}
    except FileNotFoundError:
        return None
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError):
        raise DataError(f"{path}: not a parameter file; give the configuration instead (--config)") from None
    return from_mapping(NODE_PARAMETERS[node], values, str(path))


def _recorded(directory: Path | None, required: bool) -> list[tuple[Any, Any, float]]:
    """Observations, base actions and phases of the newest bags."""
    if directory is None or not (required or directory.is_dir()):
        return []
    from resfit_ros.core.types import Observation
    from resfit_ros.data.episode_data import read_episode
    from resfit_ros.data.read_bags import bag_paths

    found: list[tuple[Any, Any, float]] = []
    for bag in reversed(bag_paths(directory)):
        try:
            data = read_episode(bag, lambda words: None)
        except DataError as error:
            errors.print(f"passed over: {error}", markup=False)
            continue
        for k in range(len(data) + 1):
            seen = Observation(0, 1, k, data.states[k], tuple(camera[k] for camera in data.images))
            found.append((seen, data.bases[k], float(data.phases[k])))
        if len(found) >= RECORDED:
            break
    return found[:RECORDED]


def _print(report: Any, kind: str) -> None:
    for problem in report.problems:
        errors.print(f"checkpoint passed over: {problem}", markup=False)
    name = report.base_policy["name"] or "not known: whoever runs the file has to see to it"
    console.print(f"{report.path}: {report.bytes / 1000:.0f} kB, SHA-256 {report.sha256}", soft_wrap=True)
    console.print(f"checkpoint: {report.checkpoint}", soft_wrap=True)
    console.print(f"base policy: {name}", soft_wrap=True)
    console.print(f"needs to run: NumPy and {'ONNX Runtime' if kind == 'onnx' else 'PyTorch'}")
    console.print(
        f"same actions: they differ by at most {report.difference:.1e} of the residual's range "
        f"({report.difference_joint_units:.1e} rad or m), over {report.random_checks} random and "
        f"{report.recorded_checks} recorded observations",
        soft_wrap=True,
    )
