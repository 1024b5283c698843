"""`resfit train-bc`: an action-chunking base policy from recorded bags."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros.cli.console import console, progress_bar, reporting_errors
from resfit_ros.cli.sim_train import parse_settings
from resfit_ros.core.errors import ConfigError

EVALUATION = "evaluation.json"


def train_bc(
    bags: Annotated[Path, typer.Option(help="Folder of demonstration bags.")],
    out: Annotated[Path, typer.Option(help="New directory for the policy.")],
    kind: Annotated[
        str | None, typer.Option(help="mlp, act or flow, instead of the configuration's.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of train_bc, KEY=VALUE; may be repeated; lists as a,b,c."),
    ] = None,
    evaluate: Annotated[
        int, typer.Option(min=0, help="Episodes in simulation to measure the success rate by.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, noise and evaluation scenes.")] = 0,
    config: Annotated[
        str, typer.Option("--config", "-c", help="A YAML file or the name of a shipped configuration.")
    ] = "bimanual_lift",
) -> None:
    """Train an action-chunking base policy by behaviour cloning from recorded bags.

    The directory also takes the losses (training.json, loss_curve.png). Ctrl-C leaves nothing.
    """
    with reporting_errors():
        from resfit_ros import phases
        from resfit_ros.bringup import load_config
        from resfit_ros.paths import find_config

        loaded = with_settings(load_config(find_config(config)), kind, settings or [])
        if evaluate:
            loaded = _check_evaluation(loaded)
        with progress_bar("train-bc") as on_progress:
            result = phases.train_base(loaded, bags, out, seed, on_progress, console.print)
        _print_training(loaded.behaviour_cloning.kind, out, result)
        if evaluate:
            _evaluate(loaded, out, evaluate, seed)


def with_settings(config: Any, kind: str | None, texts: list[str]) -> Any:
    """The configuration with settings of its section train_bc replaced.

    Raises ConfigError naming a key that is none of them, or a wrong value.
    """
    from resfit_ros.bringup import BC_SECTION
    from resfit_ros.core.learning_config import BCConfig
    from resfit_ros.core.schema import element_type, hints

    known, changes = hints(BCConfig), parse_settings(texts)
    for key, other in (("kind", kind), ("seed", True)):
        if key in changes and other is not None:
            raise ConfigError(f"--{key} and --set {key} are the same setting; use --{key}")
    for key, value in changes.items():
        if key in known and element_type(known[key])[1]:
            changes[key] = [part.strip() for part in str(value).split(",")]
    if kind is not None:
        changes["kind"] = kind
    section = {**config.section(BC_SECTION), **changes}
    changed = dataclasses.replace(config, sections={**config.sections, BC_SECTION: section})
    changed.behaviour_cloning  # noqa: B018  raises on a wrong key or value
    return changed


def _check_evaluation(config: Any) -> Any:
    """The configuration in lockstep; what the simulation cannot run is refused before training."""
    from resfit_ros.bringup import with_timing
    from resfit_ros.runner.settings import RobotSettings

    config = with_timing(config, "lockstep")
    least = RobotSettings.of(config).base_policy.chunking.least_horizon
    horizon = config.behaviour_cloning.horizon
    if horizon < least:
        raise ConfigError(
            f"horizon {horizon} is shorter than execute_steps + prefetch_steps + blend_steps, {least}; raise horizon, or "
            "lower one of them"
        )
    return config


def _print_training(kind: str, out: Path, result: Mapping[str, Any]) -> None:
    validation = result["validation_loss"]
    words = "" if validation is None else f", validation {validation:.4f} (best, at update {result['best_update']})"
    console.print(
        f"{kind} policy in {out}: {result['demonstrations']} demonstrations, {result['steps']} steps, "
        f"loss {result['loss']:.4f}{words}, {result['seconds']:.0f} s"
    )
    if result["diverged_by"]:
        console.print(
            f"training diverged by update {result['diverged_by']}: the best weights before that are kept; lower the "
            "learning rate and train again"
        )


def _evaluate(config: Any, directory: Path, episodes: int, seed: int) -> None:
    import torch

    from resfit_ros.core.whole_file import write_json
    from resfit_ros.runner.base_policy import load_policy
    from resfit_ros.runner.success import measure_success

    torch.set_num_threads(1)  # as the node does
    policy = load_policy(config, directory)
    with progress_bar("evaluate") as on_progress:
        result = measure_success(config, policy, episodes, seed, on_progress)
    write_json(directory / EVALUATION, result)
    low, high = result["wilson_95"]
    console.print(
        f"success in simulation: {result['success_rate']:.0%} of {episodes} episodes, "
        f"95 % interval {low:.0%} to {high:.0%} ({directory / EVALUATION})"
    )
