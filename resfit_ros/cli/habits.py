"""What all verbs of `resfit` have in common: an example in the help, -v, and an end without noise."""

import os
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from resfit_ros.log_follower import VERBOSE

EXIT_CLOSED_PIPE = 141  # 128 + SIGPIPE, as a program ends that does not catch it

# What people type most, for the end of each verb's --help.
EXAMPLES = {
    "demo": "resfit demo --seed 1",
    "record": "resfit record --out demos --episodes 8",
    "train-bc": "resfit train-bc --bags demos --out policy",
    "pretrain": "resfit pretrain --bags old_bags --policy policy --out run",
    "finetune": "resfit finetune --robot --config my_robot.yaml --policy policy --demos demos --run-dir run",
    "evaluate": "resfit evaluate --policy policy --checkpoint run/checkpoints --out evaluation",
    "up": "resfit up --robot --config my_robot.yaml --policy policy --checkpoint run/checkpoints",
    "status": "resfit status --watch",
    "console": "resfit console --host 0.0.0.0",
    "check-robot": "resfit check-robot my_robot.yaml --live",
    "sim-train": "resfit sim-train --out sweep --seeds 0,1,2",
    "serve-policy": "resfit serve-policy --policy policy --host 0.0.0.0 --api-key-env POLICY_KEY",
    "export": "resfit export runs/latest lift.resfit",
    "data info": "resfit data info run --json",
    "data check": "resfit data check run --repair",
    "data view": "resfit data view run --episode 12",
    "data split": "resfit data split demos parts --fraction 0.2",
    "data merge": "resfit data merge all_demos monday tuesday",
    "data convert": "resfit data convert demos dataset --to lerobot-v3",
}


def _set_verbose(verbose: bool) -> None:
    if verbose:
        os.environ[VERBOSE] = "1"  # the nodes and jobs that a verb starts are to know it, too


def _verbose_option() -> Any:
    """The option as typer itself makes it, whatever its version."""
    carrier = typer.Typer(add_completion=False)

    @carrier.command()
    def verb(
        verbose: Annotated[
            bool,
            typer.Option(
                "--verbose", "-v", callback=_set_verbose, expose_value=False, is_eager=True,
                help="Say more: what the nodes log, and where in the code an error came from.",
            ),
        ] = False,
    ) -> None:  # fmt: skip
        pass

    return typer.main.get_command(carrier).params[0]


def walk(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(name as it is typed after `resfit`, command) of every verb below a group."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from walk(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


class Verbs(TyperGroup):
    """The group of all verbs: each gets -v, and an example at the end of its help."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.params.append(_verbose_option())
        for name, command in walk(self):
            command.params.append(_verbose_option())
            if name in EXAMPLES and "Example:" not in (command.help or ""):
                command.epilog = f"Example: {EXAMPLES[name]}"


def run(app: typer.Typer) -> None:
    """Runs the command line; a reader that went away (`resfit ... | head`) ends it without a word."""
    try:
        app()
    except BrokenPipeError:
        _let_go_of_output()
        sys.exit(EXIT_CLOSED_PIPE)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _let_go_of_output()


def _let_go_of_output() -> None:
    """Else the interpreter would complain when it flushes standard output at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
