"""`resfit data check`: every bag read whole, what is wrong with it, and how much can still be used."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from resfit_ros.cli.console import console, working
from resfit_ros.cli.data_notes import Notes, print_json, progress
from resfit_ros.cli.data_tables import count
from resfit_ros.core.errors import DataError
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.bag_table import bag_directories, bag_row, unfinished_bags

GOOD, PROBLEMS, NOTHING = "good", "problems", "nothing"


def check_bags(source: Path, config_name: str | None, repair: bool, as_json: bool) -> str:
    """Prints what is wrong with the bags; returns GOOD, PROBLEMS or NOTHING (usable).

    Bags are compared with the configuration, or, without one, with what most of them say of their robot.
    """
    from resfit_ros.data.check_bags import check_bag

    notes = Notes(quiet=as_json)
    if repair:
        _repair(source, notes)
    bags = _bags(source)
    expected = _expected(config_name, bags)
    reports = {}
    with progress("check", as_json) as on_progress:
        for done, bag in enumerate(bags, 1):
            reports[bag] = check_bag(bag, expected)
            on_progress(done, len(bags), bag.name)
    unfinished = unfinished_bags(source)
    verdict = _verdict(list(reports.values()), unfinished)
    if as_json:
        listed = {str(bag): _as_dict(report) for bag, report in reports.items()}
        left = [str(b) for b in unfinished]
        print_json({"verdict": verdict, "bags": listed, "unfinished": left, "notes": notes.given})
    else:
        _print_reports(source, reports, unfinished)
    return verdict


def _repair(source: Path, notes: Notes) -> None:
    from resfit_ros.data.recover_bags import recover

    if not source.is_dir():
        raise DataError(f"{source}: no such directory; give a bag or a folder of bags")
    with working("recovering what killed recorders left", notes.quiet):
        recovered = recover(source)
    for found in recovered:
        notes(found.note if str(found.path) in found.note else f"{found.path}: {found.note}")


def _bags(source: Path) -> list[Path]:
    """Bags of a folder; none where there are only unfinished ones."""
    try:
        return bag_directories(source)
    except DataError:
        if not unfinished_bags(source):
            raise
        return []


def _expected(config_name: str | None, bags: Sequence[Path]) -> BagAbout | None:
    if config_name is not None:
        from resfit_ros.bringup import load_config
        from resfit_ros.data.expected import configured_about
        from resfit_ros.paths import find_config

        return configured_about(load_config(find_config(config_name)))
    said = [row.about for row in map(bag_row, bags) if row.about.joint_names]
    if not said:
        return None
    ((names, _),) = Counter(about.joint_names for about in said).most_common(1)
    return next(about for about in said if about.joint_names == names)


def _verdict(reports: Sequence[Any], unfinished: Sequence[Path]) -> str:
    if not any(r.usable_steps for r in reports):
        return NOTHING
    return PROBLEMS if unfinished or any(r.problems for r in reports) else GOOD


def _as_dict(report: Any) -> dict[str, Any]:
    return {
        "episodes": report.episodes,
        "steps": report.steps,
        "usable_steps": report.usable_steps,
        "problems": list(report.problems),
        "notes": list(report.notes),
        "digest": report.digest,
    }


def _print_reports(source: Path, reports: dict[Path, Any], unfinished: Sequence[Path]) -> None:
    wrong = {bag: report for bag, report in reports.items() if report.problems}
    for bag, report in wrong.items():
        console.print(f"[bold]{escape(bag.name)}[/]: {report.usable_steps} of {count(report.steps, 'step')} usable")
        for problem in report.problems:
            console.print(f"  {escape(problem.removeprefix(f'{bag}: '))}", soft_wrap=True)
    for bag in unfinished:
        console.print(f"[bold]{escape(bag.name)}[/]: never closed, its recorder was stopped", soft_wrap=True)
    if unfinished:
        console.print(f"recover with 'resfit data check {source} --repair'", soft_wrap=True)
    designed = sum(len(r.notes) for r in reports.values())
    if designed:
        console.print(f"{count(designed, 'note')} on what is left out by design (aborted, tainted): see --json")
    usable, steps = sum(r.usable_steps for r in reports.values()), sum(r.steps for r in reports.values())
    colour = "green" if not wrong and not unfinished else "yellow" if usable else "bold red"
    console.print(
        f"[{colour}]{count(len(reports), 'bag')}, {len(wrong) + len(unfinished)} with problems: "
        f"{usable:,} of {count(steps, 'step')} can be used[/]"
    )
