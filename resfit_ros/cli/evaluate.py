"""`resfit evaluate`: which policy succeeds more often, blind."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros.cli.console import console, errors, progress_bar, reporting_errors
from resfit_ros.cli.what_to_run import load_robot_config, look_at
from resfit_ros.core.errors import ConfigError, ResfitError


def evaluate(
    out: Annotated[
        Path, typer.Option(help="Directory for the result; an unfinished evaluation there goes on.")
    ],
    policy: Annotated[
        str | None, typer.Option(help="Base policy, as for 'resfit finetune'; none: the configuration's.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint (or folder of them): compares base with base + residual.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another checkpoint to compare it with, in the place of the base policy alone."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes per policy, at most.")] = 100,
    sequential: Annotated[
        bool,
        typer.Option("--sequential/--all", help="Stop as soon as the answer is known, or run all episodes."),
    ] = True,
    alpha: Annotated[
        float,
        typer.Option(min=0.0001, max=0.49, help="Probability of showing a difference where there is none."),
    ] = 0.05,
    min_difference: Annotated[
        float,
        typer.Option(
            min=0.0, max=0.99, help="Stop, too, once a difference of this size (0.2: 20 points) is ruled out."
        ),
    ] = 0.0,
    scene: Annotated[int, typer.Option(min=0, help="Seed of the first initial scene.")] = 900_000,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the order; none: drawn, so that nobody can know it.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", "-c", help="Configuration: a YAML file or the name of a shipped one.")
    ] = "bimanual_lift",
    timing: Annotated[
        str | None, typer.Option(help="lockstep: as fast as the machine goes; realtime: by the clock.")
    ] = None,
    robot: Annotated[
        bool,
        typer.Option("--robot", help="Use a real robot; a person resets it, so that scenes are not matched."),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", help="End an interrupted evaluation with what there is; or make its report anew."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> None:
    """Measure which policy succeeds more often: blind, interleaved, on the same initial scenes.

    Which episode was whose is told at the end. Ctrl-C keeps what was run; the same command goes on.
    """
    with reporting_errors():
        from resfit_ros.core import run_layout
        from resfit_ros.reporting.compared import free_for
        from resfit_ros.reporting.evaluation_report import write_report

        result_path = out / run_layout.EVALUATION
        if finish:
            result = _finish(result_path)
        else:
            free_for(out)
            if against is not None and checkpoint is None:
                raise ConfigError("--against compares two checkpoints; give the other one with --checkpoint")
            loaded = load_robot_config(config, timing, robot)
            request = _Request(
                config=loaded,
                result_path=result_path,
                policy=policy,
                checkpoints=(checkpoint, against),
                episodes=episodes,
                scene=scene,
                seed=-1 if seed is None else seed,
                robot=robot,
                options={"sequential": sequential, "alpha": alpha, "min_difference": min_difference},
            )
            result = _run(request, as_json)
        page = write_report(result_path)
        if as_json:
            print(json.dumps(result, indent=1))
        else:
            _print(result, page)


def _finish(result_path: Path) -> dict[str, Any]:
    """The result of an interrupted evaluation, or the one that is there."""
    from resfit_ros.learning.blind_record import BlindRecord, is_unfinished, lock
    from resfit_ros.learning.evaluation_result import BY_HAND, why_over, write_result

    if is_unfinished(result_path):
        with lock(result_path):
            record = BlindRecord.resume(result_path)
            return write_result(record, result_path, why_over(record) or BY_HAND)
    if not result_path.is_file():
        raise ConfigError(f"{result_path.parent}: no evaluation was begun there; leave --finish out")
    return json.loads(result_path.read_text())


@dataclass(frozen=True)
class _Request:
    """What the user asked for. checkpoints: (checkpoint, against), each a checkpoint or a folder of them."""

    config: Any
    result_path: Path
    policy: str | None
    checkpoints: tuple[Path | None, Path | None]
    episodes: int
    scene: int
    seed: int
    robot: bool
    options: dict[str, Any]


def _run(request: _Request, quiet: bool) -> dict[str, Any]:
    """Runs the graph; says how to go on where it is interrupted."""
    from resfit_ros.learning.blind_record import is_unfinished, lock

    reference, actors, setup = _look(request)  # what does not fit is said before anything is written
    result_path = request.result_path
    out = result_path.parent
    out.mkdir(parents=True, exist_ok=True)
    lock(result_path).close()  # no advice on how to go on with one that is running
    if is_unfinished(result_path) and not quiet:
        console.print(f"going on with the evaluation in {out}", markup=False)
    try:
        with nullcontext(lambda *_: None) if quiet else progress_bar("evaluate") as on_progress:
            return _evaluate(request, reference, actors, setup, _telling(result_path, on_progress, quiet))
    except (KeyboardInterrupt, ResfitError):
        if is_unfinished(result_path):
            finish = f"'resfit evaluate --out {out} --finish' ends it with what there is"
            errors.print(
                f"what was run is kept in {out}: the same command goes on, {finish}",
                soft_wrap=True,
                markup=False,
            )
        raise


def _look(request: _Request) -> tuple[str | None, list[Path | None], dict[str, Any]]:
    """(base policy, both checkpoints, what is compared); raises ResfitError on what does not fit."""
    from resfit_ros.bringup import node_parameters
    from resfit_ros.core.actor_settings import actor_settings
    from resfit_ros.graphs import base_policy_of, feature_extractor
    from resfit_ros.learning.actor_record import read_actor
    from resfit_ros.learning.checkpoint import load_run_actor
    from resfit_ros.learning.exported_file import is_exported
    from resfit_ros.reporting.compared import newest_checkpoint, setup_of

    config = request.config
    reference, extractor = base_policy_of(config, request.policy), feature_extractor(config)
    normaliser, identity = look_at(config, reference) if reference else (None, "")
    actors = [newest_checkpoint(path, extractor) for path in request.checkpoints]
    settings = actor_settings(*(node_parameters(config, name) for name in ("aggregator", "residual")))
    for path in filter(None, actors):
        if is_exported(path):
            read_actor(path).require(settings, identity)
        else:
            load_run_actor(path, normaliser, identity, extractor)
    setup = setup_of(config, reference, identity, actors[0], actors[1], not request.robot)
    return reference or None, actors, setup


def _evaluate(
    request: _Request,
    reference: str | None,
    actors: list[Path | None],
    setup: dict[str, Any],
    on_progress: Callable[[float, float, str], None],
) -> dict[str, Any]:
    from resfit_ros import phases
    from resfit_ros.reporting.compared import BAGS

    out = request.result_path.parent
    return phases.evaluate(
        request.config,
        out,
        reference,
        actors[0],
        request.result_path,
        request.episodes,
        request.scene,
        request.seed,
        on_progress,
        bag_dir=out / BAGS,
        simulate=not request.robot,
        against=actors[1],
        evaluator=request.options | {"setup": json.dumps(setup)},
        resume=True,
    )


def _telling(
    result_path: Path, on_progress: Callable[[float, float, str], None], quiet: bool
) -> Callable[[float, float, str], None]:
    """`on_progress`, with the hash of the order printed as soon as it is fixed."""
    from resfit_ros.learning.blind_record import files

    promise, told = files(result_path)[1], quiet

    def tell(done: float, total: float, words: str) -> None:
        nonlocal told
        if not told and promise.is_file():
            told = True
            console.print(
                f"SHA-256 of the order of the arms: {promise.read_text().split()[0]}", soft_wrap=True
            )
        on_progress(done, total, words)

    return tell


def _print(result: dict[str, Any], page: Path) -> None:
    from resfit_ros.cli.report import print_evaluation
    from resfit_ros.reporting.evaluation_words import headline, sentences

    print_evaluation(result)
    console.print(headline(result), style="bold", soft_wrap=True)
    for sentence in sentences(result)[len(result["arms"]) :]:
        console.print(sentence, soft_wrap=True)
    console.print(
        f"report: {page}; beside it evaluation.json, episodes.csv and evaluation.png", soft_wrap=True
    )
