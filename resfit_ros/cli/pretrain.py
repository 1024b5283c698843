"""`resfit pretrain`: critics learn from recorded bags, before the robot moves."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros.cli.console import console, errors, progress_bar, reporting_errors
from resfit_ros.cli.sim_train import parse_settings
from resfit_ros.core.errors import ConfigError

SHOWN_NOTES = 20


def pretrain(
    bags: Annotated[
        list[Path], typer.Option(help="Folder of episode bags, failures and all; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Run directory that 'resfit finetune --run-dir' then goes on from.")],
    policy: Annotated[
        str | None, typer.Option(help="Base policy, as for 'resfit finetune'; none: the configuration's.")
    ] = None,
    demos: Annotated[
        Path | None,
        typer.Option(help="Demonstration bags to mix in, as for 'resfit finetune'; none: successes among the bags."),
    ] = None,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Critic updates; none: the configuration's pretrain_updates, or 3000.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A learning setting, KEY=VALUE; may be repeated.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the episodes that nothing is learnt from.")
    ] = 0.1,
    device: Annotated[str | None, typer.Option(help="Torch device, e.g. cuda; none: the configuration's.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, sampling and held-out episodes.")] = 0,
    config: Annotated[
        str, typer.Option("--config", "-c", help="Configuration: a YAML file or the name of a shipped one.")
    ] = "bimanual_lift",
) -> None:
    """Pretrain the critics on recorded bags, failures included; the robot is not needed.

    Writes a checkpoint, pretraining.json and two pictures. Ctrl-C leaves no checkpoint.
    """
    with reporting_errors():
        from resfit_ros.bringup import load_config
        from resfit_ros.paths import find_config
        from resfit_ros.runner.pretraining import pretrain_from_bags, pretraining_parameters

        changes = settings_of(settings or [], seed, updates, device)
        p = pretraining_parameters(load_config(find_config(config)), out, policy, changes, updates, demos)
        _set_threads(p.threads)
        notes: list[str] = []
        try:
            with progress_bar("pretrain") as on_progress:
                result = pretrain_from_bags(p, bags, held_out, on_progress, notes.append)
        finally:
            _print_notes(notes)
        _print_result(out, demos, result)


def settings_of(texts: list[str], seed: int, updates: int | None, device: str | None) -> dict[str, Any]:
    """The learner's parameters that the options give. Raises ConfigError on one that is given twice."""
    changes = parse_settings(texts)
    for key, option in (("seed", "--seed"), ("device", "--device"), ("pretrain_updates", "--updates")):
        if key in changes and (key != "pretrain_updates" or updates is not None):
            raise ConfigError(f"{option} and --set {key} are the same setting; use {option}")
    return changes | {"seed": seed} | ({"device": device} if device else {})


def _set_threads(threads: int) -> None:
    import torch

    from resfit_ros.learning.hardware import keep_freed_memory

    torch.set_num_threads(threads)
    keep_freed_memory()


def _print_notes(notes: list[str]) -> None:
    for note in notes[:SHOWN_NOTES]:
        errors.print(f"[yellow]left out:[/] {note}", soft_wrap=True)
    if len(notes) > SHOWN_NOTES:
        errors.print(f"and {len(notes) - SHOWN_NOTES} more; pretraining.json lists all of them")


def _print_result(out: Path, demos: Path | None, result: Mapping[str, Any]) -> None:
    data, record, calibration = result["data"], result["errors"], result["calibration"]
    console.print(
        f"learnt from {data['episodes']} episodes ({data['success']} successes, {data['failure']} failures, "
        f"{data['timeout']} timeouts; {data['steps']} steps), held out {result['held_out']['episodes']}"
    )
    held_out = f", held out {record['held_out_td'][-1]:.4f}" if record["held_out_td"] else ""
    console.print(
        f"{result['updates']} updates in {record['seconds']:.0f} s: TD error {record['train_td'][-1]:.4f}{held_out}"
    )
    if calibration.get("steps"):
        console.print(
            f"on {result['calibrated_on']}: Q {calibration['q_mean']:.3f}, observed return "
            f"{calibration['return_mean']:.3f} ({calibration['truncated_share']:.0%} of the steps show a lower bound)"
        )
    if record["diverged_by"] is not None:
        console.print(
            f"the critics diverged by update {record['diverged_by']}: those of update {result['updates']} are kept; "
            "lower critic_lr or set conservative, and pretrain again"
        )
    console.print(f"go on with: resfit finetune --run-dir {out}{f' --demos {demos}' if demos else ''}")
