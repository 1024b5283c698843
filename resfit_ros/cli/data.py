"""`resfit data`: look at recorded episodes, check them, split, merge and convert them."""

from pathlib import Path
from typing import Annotated

import typer

from resfit_ros.cli.console import EXIT_ERROR, console, reporting_errors, working
from resfit_ros.cli.data_convert import convert
from resfit_ros.cli.data_notes import Notes, print_json, progress
from resfit_ros.core.errors import ConfigError, DataError, nearest

data_app = typer.Typer(
    help="Look at recorded episodes, check them, split, merge and convert them.", no_args_is_help=True
)
EXIT_PROBLEMS = 3  # of `check`: some of it can be used, some not; 2 is a wrong command line

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")]
Config = Annotated[
    str | None, typer.Option("--config", "-c", help="The robot: a YAML file or the name of a shipped one.")
]


@data_app.command()
def info(
    source: Annotated[Path, typer.Argument(help="A bag, a folder of bags, or a run directory.")],
    deep: Annotated[bool, typer.Option("--deep", help="Read every bag whole, not its metadata alone.")] = False,
    as_json: Json = False,
) -> None:
    """Print what is there: one line per episode, and totals."""
    with reporting_errors():
        from resfit_ros.cli.data_info import print_info

        print_info(source, deep, as_json)


@data_app.command()
def check(
    source: Annotated[Path, typer.Argument(help="A bag or a folder of bags.")],
    config: Config = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="First recover what a killed recorder or a full disk left.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read every bag whole and name what is wrong.

    Status 0: all is well; 3: something is wrong, and some steps can be used; 1: nothing can be used.
    """
    with reporting_errors():
        from resfit_ros.cli.data_check import check_bags

        status = check_bags(source, config, repair, as_json)
    raise typer.Exit({"good": 0, "problems": EXIT_PROBLEMS, "nothing": EXIT_ERROR}[status])


@data_app.command()
def view(
    source: Annotated[Path, typer.Argument(help="A bag or a folder of bags.")],
    episode: Annotated[int | None, typer.Option(help="Number of the episode, in a folder of several.")] = None,
    out: Annotated[Path | None, typer.Option(help="The picture; none: NAME OF THE BAG.png, here.")] = None,
    config: Config = None,
    joints: Annotated[
        str, typer.Option(help="Joints to plot, by name or number, with commas between; none: the busiest.")
    ] = "",
    most: Annotated[int, typer.Option(min=1, max=64, help="How many joints to plot without --joints.")] = 8,
) -> None:
    """Draw an episode: frames, who drove, faults, and base, residual and executed action joint by joint."""
    with reporting_errors():
        from resfit_ros.cli.data_config import known_robot
        from resfit_ros.data.episode_plot import draw_episode
        from resfit_ros.data.episode_view import view_episode

        bag = _one_bag(source, episode)
        target = out or Path(f"{bag.name}.png")
        if target.suffix.lower() != ".png":
            raise ConfigError(f"--out {target}: the picture is a PNG; give a name that ends in .png")
        names = [name.strip() for name in joints.split(",") if name.strip()]
        target.parent.mkdir(parents=True, exist_ok=True)
        with working(f"drawing {bag.name}"):
            seen = view_episode(bag, known_robot(bag, config))
            draw_episode(seen, target, seen.joints_named(names) if names else seen.joints_to_show(most))
        console.print(f"{bag.name}: {seen.data.outcome.name.lower()}, {len(seen.data)} steps; picture: {target}")
        if seen.damage:
            console.print(f"[yellow]damaged[/], drawn up to there: {seen.damage}", soft_wrap=True)


def _one_bag(source: Path, episode: int | None) -> Path:
    from resfit_ros.data.bag_table import bag_directories, bag_row

    bags = bag_directories(source)
    if episode is not None:
        bags = [bag for bag in bags if bag_row(bag).episode_id == episode]
        if not bags:
            raise DataError(f"{source}: has no episode {episode}; list them with 'resfit data info {source}'")
    if len(bags) > 1:
        raise DataError(f"{source}: holds {len(bags)} bags; choose one with --episode NUMBER")
    return bags[0]


@data_app.command()
def split(
    source: Annotated[Path, typer.Argument(help="A folder of bags.")],
    out: Annotated[Path, typer.Argument(help="New folder, which gets train/, held_out/ and split.json.")],
    fraction: Annotated[float, typer.Option(min=0.001, max=0.999, help="Share of the bags held out.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0, help="The same bags and seed give the same split.")] = 0,
    by: Annotated[
        str, typer.Option(help="outcome: the same share of each outcome; random: whichever come.")
    ] = "outcome",
    copy: Annotated[bool, typer.Option("--copy", help="Copy the files, instead of hard links.")] = False,
    as_json: Json = False,
) -> None:
    """Put bags aside for validation; the bags themselves stay as they are."""
    with reporting_errors():
        from resfit_ros.data.split_merge import OUTCOME, RANDOM, split_bags

        if by not in (OUTCOME, RANDOM):
            raise ConfigError(f"--by {by}: {nearest(by, (OUTCOME, RANDOM))}")
        with progress("split", as_json) as on_progress:
            sets = split_bags(source, out, fraction, seed, by, copy, on_progress)
        if as_json:
            print_json({"out": str(out), **sets})
        else:
            counts = ", ".join(f"{len(names)} in {out / folder}" for folder, names in sets.items())
            console.print(f"{counts}; what went where: {out / 'split.json'}", soft_wrap=True)


@data_app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="New folder of bags.")],
    sources: Annotated[list[Path], typer.Argument(help="Bags or folders of bags, in order.")],
    as_json: Json = False,
) -> None:
    """Put several folders of bags of one robot into one; episodes get new numbers."""
    with reporting_errors():
        from resfit_ros.data.merge_bags import merge_bags

        notes = Notes(quiet=as_json)
        with progress("merge", as_json) as on_progress:
            written = merge_bags(out, sources, notes, on_progress)
        if as_json:
            print_json({"out": str(out), "episodes": written, "notes": notes.given})
        else:
            console.print(f"{written} episodes in {out}", soft_wrap=True)


data_app.command()(convert)
