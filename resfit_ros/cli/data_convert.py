"""`resfit data convert`: datasets of other tools and raw robot bags to our bags, and our bags to datasets."""

from pathlib import Path
from typing import Annotated

import typer

from resfit_ros.cli.console import reporting_errors

LABELS_HELP = "--from raw: file (.csv, .yaml, .json) of bag, start_s, end_s and outcome, one row per episode."


def convert(
    source: Annotated[Path, typer.Argument(help="A dataset, a bag, or a folder of bags.")],
    out: Annotated[Path, typer.Argument(help="New folder (robomimic: new .hdf5 file).")],
    from_: Annotated[
        str, typer.Option("--from", help="auto, bags, raw, lerobot-v2.1, lerobot-v3 or robomimic.")
    ] = "auto",
    to: Annotated[str, typer.Option(help="bags, lerobot-v2.1, lerobot-v3 or robomimic.")] = "bags",
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", help="The robot the result is for: joints, state, rate, pictures."),
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="success, failure or timeout: how every episode ended, whatever a dataset says; of a raw bag, those that nothing else tells of.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help=LABELS_HELP)] = None,
    topic: Annotated[
        list[str] | None, typer.Option(help="--from raw: NAME:=TOPIC, where a topic is not the configured one.")
    ] = None,
    success_topic: Annotated[
        str | None, typer.Option(help="--from raw: topic that turns true, or gives the outcome, when it is over.")
    ] = None,
    episode_topic: Annotated[
        str | None, typer.Option(help="--from raw: topic that says where episodes begin and end.")
    ] = None,
    ignore_stamps: Annotated[
        bool, typer.Option("--ignore-stamps", help="--from raw: take the instant of receipt for every stamp.")
    ] = False,
    joint_map: Annotated[
        Path | None, typer.Option(help="YAML file of their joint names and ours, THEIRS: OURS in each line.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE: any other option of the format, see docs/data.md.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of words.")] = False,
) -> None:
    """Convert recorded episodes; what is left out is said, with the reason."""
    with reporting_errors():
        from resfit_ros.cli.conversion import run_conversion
        from resfit_ros.cli.conversion_options import read_joint_map, read_options
        from resfit_ros.cli.data_config import load_if_given

        given = {
            "outcome": outcome,
            "labels": str(labels) if labels else None,
            "topics": topic or None,
            "success_topic": success_topic,
            "episode_topic": episode_topic,
            "ignore_stamps": ignore_stamps or None,
            "joint_map": read_joint_map(joint_map) if joint_map else None,
        }
        options = read_options(from_, to, source, load_if_given(config), given, settings or [])
        run_conversion(source, out, options, as_json)
