"""`resfit`: record, train, fine-tune, evaluate, or all of it at once."""

from pathlib import Path
from typing import Annotated

import typer

from resfit_ros import __version__
from resfit_ros.cli.check_robot import check_robot_file
from resfit_ros.cli.console import console, progress_bar, reporting_errors, working
from resfit_ros.cli.console_command import console_command
from resfit_ros.cli.data import data_app
from resfit_ros.cli.evaluate import evaluate
from resfit_ros.cli.export import export
from resfit_ros.cli.habits import Verbs, run
from resfit_ros.cli.pretrain import pretrain
from resfit_ros.cli.serve_policy import serve_policy
from resfit_ros.cli.sim_train import sim_train
from resfit_ros.cli.status import status
from resfit_ros.cli.train_bc import train_bc
from resfit_ros.cli.what_to_run import load_robot_config as _load
from resfit_ros.cli.what_to_run import require_fit as _require

app = typer.Typer(
    cls=Verbs,
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
TIMING_HELP = "lockstep: as fast as the machine goes; realtime: by the clock."
Timing = Annotated[str, typer.Option(help=TIMING_HELP)]
MaybeTiming = Annotated[str | None, typer.Option(help=f"{TIMING_HELP} None: the configuration's.")]
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
    timing: MaybeTiming = None,
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
    timing: MaybeTiming = None,
    robot: Robot = False,
) -> None:
    """Learn the residual on the robot, or in simulation, on top of a frozen base policy."""
    with reporting_errors():
        from resfit_ros import phases

        loaded = _load(config, timing, robot)
        with working("loading the base policy"):
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
        with working("loading the base policy"):
            reference = _require(loaded, policy, checkpoint)
        specs = graphs.deploy_graph(loaded, reference, checkpoint, not robot)
        console.print("nodes: " + ", ".join(s.name for s in specs) + "; Ctrl-C stops them")
        phases.run_until_interrupted(specs, logs)


app.add_typer(data_app, name="data")
app.command("check-robot")(check_robot_file)
app.command("console")(console_command)
app.command("status")(status)
app.command("evaluate")(evaluate)
app.command("train-bc")(train_bc)
app.command("pretrain")(pretrain)
app.command("export")(export)
app.command("sim-train")(sim_train)
app.command("serve-policy")(serve_policy)


def main() -> None:
    """Console script `resfit`."""
    run(app)


if __name__ == "__main__":
    main()
