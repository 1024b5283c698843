"""`resfit`: record, train, fine-tune, evaluate, or all of it at once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros import __version__
from resfit_ros.cli.check_robot import check_robot_file
from resfit_ros.cli.console import console, progress_bar, reporting_errors
from resfit_ros.cli.serve_policy import serve_policy
from resfit_ros.cli.sim_train import sim_train
from resfit_ros.cli.train_bc import train_bc
from resfit_ros.core.errors import ConfigError

app = typer.Typer(
    help="Fine-tune a behaviour-cloned robot policy with residual reinforcement learning over ROS 2.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Config = Annotated[
    str, typer.Option("--config", "-c", help="Configuration: a YAML file or the name of a shipped one.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of scenes, weights and noise.")]
Timing = Annotated[
    str, typer.Option(help="lockstep: as fast as the machine goes; realtime: by the clock.")
]
Robot = Annotated[bool, typer.Option("--robot", help="Use a real robot: do not start the simulated one.")]
Policy = Annotated[
    str | None,
    typer.Option(
        help="Base policy: a directory from 'resfit train-bc', lerobot:DIR, a file (.onnx, .pt2, .pt), ws://HOST:PORT, "
        "python:MODULE:CLASS, or a description (.yaml); none: the configuration's."
    ),
]
DEFAULT_CONFIG = "bimanual_lift"


def _version(show: bool) -> None:
    if show:
        console.print(f"resfit_ros {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Entry point of all verbs."""


def _load(name: str, timing: str | None = None, robot: bool = False) -> Any:
    from resfit_ros.bringup import load_config, with_timing
    from resfit_ros.paths import find_config

    config = load_config(find_config(name))
    if robot and timing is None:
        timing = "realtime"
    if timing is not None and timing not in ("lockstep", "realtime"):
        raise ConfigError(f"--timing {timing}: use lockstep or realtime")
    return with_timing(config, timing) if timing else config


def _require(
    config: Any, policy: str | None, checkpoint: Path | None = None, demos: Path | None = None
) -> str | None:
    """Refuses what is missing or does not fit before anything is written or started.

    Returns the base policy to use; None: an existing controller.
    """
    from resfit_ros.data.read_bags import bag_paths
    from resfit_ros.graphs import base_policy_of, feature_extractor
    from resfit_ros.learning.checkpoint import load_run_actor

    reference = base_policy_of(config, policy)
    normaliser, identity = (None, "") if not reference else _look_at(config, reference)
    if checkpoint is not None:
        load_run_actor(checkpoint, normaliser, identity, feature_extractor(config))
    if demos is not None:
        bag_paths(demos)
    return reference or None


def _look_at(config: Any, reference: str) -> tuple[Any, str]:
    """(scaling that the base policy brings along, if any; its identity), once it has been loaded."""
    from resfit_ros.bringup import node_parameters
    from resfit_ros.graphs import camera_settings
    from resfit_ros.policies.loading import load_base_policy
    from resfit_ros.policies.protocol import close_policy

    values = camera_settings(config) | {"policy": reference}
    policy = load_base_policy(node_parameters(config, "base_policy", values))
    try:
        return getattr(policy, "normaliser", None), policy.spec.identity
    finally:
        close_policy(policy)


def _new_directory(path: Path) -> Path:
    if path.exists() and any(path.iterdir()):
        raise ConfigError(f"{path}: not empty; choose another directory or remove it")
    return path


@app.command()
def demo(
    seed: Seed = 0,
    config: Config = DEFAULT_CONFIG,
    runs: Annotated[Path, typer.Option(help="Folder that takes the run directory.")] = Path("runs"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Do not resume an unfinished run.")] = False,
    steps: Annotated[
        int | None, typer.Option(min=100, help="Fine-tuning steps, instead of the configuration's.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Evaluation episodes per policy.")] = 100,
) -> None:
    """The whole job in simulation: record, train, fine-tune and evaluate; about ten minutes.

    An unfinished run of the same seed is resumed. Everything goes into one run directory.
    """
    with reporting_errors():
        from resfit_ros.cli.demo import run_demo

        run_demo(_load(config), seed, runs, fresh, steps, episodes)


@app.command()
def record(
    out: Annotated[Path, typer.Option(help="Folder that takes one bag per episode.")],
    episodes: Annotated[int, typer.Option(min=1, help="Successful episodes to record.")] = 8,
    seed: Seed = 0,
    config: Config = DEFAULT_CONFIG,
    timing: Timing | None = None,
) -> None:
    """Record demonstrations of the scripted expert in the simulation, one bag per episode."""
    with reporting_errors():
        from resfit_ros import phases

        with progress_bar("record") as on_progress:
            tried = phases.record(_load(config, timing), out, out, episodes, seed, on_progress)
        console.print(f"{episodes} successful of {tried} episodes in {out}")


@app.command()
def finetune(
    run_dir: Annotated[Path, typer.Option(help="Run directory; an unfinished one is resumed.")],
    policy: Policy = None,
    demos: Annotated[Path | None, typer.Option(help="Demonstration bags to mix in.")] = None,
    steps: Annotated[int | None, typer.Option(min=100, help="Environment steps.")] = None,
    seed: Seed = 0,
    config: Config = DEFAULT_CONFIG,
    timing: Timing | None = None,
    robot: Robot = False,
) -> None:
    """Learn the residual on the robot, or in simulation, on top of a frozen base policy."""
    with reporting_errors():
        from resfit_ros import phases

        loaded = _load(config, timing, robot)
        reference = _require(loaded, policy, demos=demos)
        run_dir.mkdir(parents=True, exist_ok=True)
        with progress_bar("finetune") as on_progress:
            result = phases.finetune(
                loaded,
                run_dir,
                reference,
                demos,
                seed,
                on_progress,
                simulate=not robot,
                learner={"total_steps": steps} if steps else None,
            )
        console.print(
            f"{result.env_steps} steps, {result.gradient_updates} gradient updates, "
            f"{result.steps_lost} steps lost; checkpoints in {run_dir / 'checkpoints'}"
        )


@app.command()
def evaluate(
    out: Annotated[Path, typer.Option(help="New directory for the result.")],
    policy: Policy = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint (or folder of them): compares base with base + residual.")
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes per policy.")] = 100,
    scene: Annotated[int, typer.Option(min=0, help="Seed of the first initial scene.")] = 900_000,
    seed: Seed = 0,
    config: Config = DEFAULT_CONFIG,
    timing: Timing | None = None,
    robot: Robot = False,
) -> None:
    """Measure success rates: blind, interleaved, on the same initial scenes."""
    with reporting_errors():
        from resfit_ros import phases
        from resfit_ros.cli.report import print_evaluation
        from resfit_ros.core import run_layout

        loaded = _load(config, timing, robot)
        reference = _require(loaded, policy, checkpoint)
        _new_directory(out).mkdir(parents=True, exist_ok=True)
        with progress_bar("evaluate") as on_progress:
            result = phases.evaluate(
                loaded,
                out,
                reference,
                checkpoint,
                out / run_layout.EVALUATION,
                episodes,
                scene,
                seed,
                on_progress,
                bag_dir=out / "bags",
                simulate=not robot,
            )
        print_evaluation(result)


@app.command()
def up(
    policy: Policy = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Checkpoint to run on top; none: base policy alone.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    timing: Timing = "realtime",
    robot: Robot = False,
    logs: Annotated[Path, typer.Option(help="Folder for parameters and logs of the nodes.")] = Path(
        "runs/up"
    ),
) -> None:
    """Bring the control graph up, without learning, until Ctrl-C; drive it with `ros2 service call`."""
    with reporting_errors():
        from resfit_ros import graphs, phases

        loaded = _load(config, timing, robot)
        reference = _require(loaded, policy, checkpoint)
        specs = graphs.deploy_graph(loaded, reference, checkpoint, not robot)
        console.print("nodes: " + ", ".join(s.name for s in specs) + "; Ctrl-C stops them")
        phases.run_until_interrupted(specs, logs)


app.command("check-robot")(check_robot_file)
app.command("train-bc")(train_bc)
app.command("sim-train")(sim_train)
app.command("serve-policy")(serve_policy)


def main() -> None:
    """Console script `resfit`."""
    app()


if __name__ == "__main__":
    main()
