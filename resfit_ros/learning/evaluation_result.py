"""What an evaluation writes at its end, from the record it kept: evaluation.json and episodes.csv."""

import csv
import io
from pathlib import Path
from typing import Any

from resfit_ros.core.types import Outcome
from resfit_ros.core.whole_file import write_whole
from resfit_ros.learning.blind_record import BlindRecord
from resfit_ros.learning.evaluation import summarise, tally
from resfit_ros.learning.sequential import StoppingRule, Verdict

EPISODES_CSV = "episodes.csv"
ALL_RUN, BY_HAND = "all_run", "by_hand"
ENDED = {
    ALL_RUN: "every episode that was planned has been run",
    BY_HAND: "somebody ended it before it was over",
    Verdict.DIFFERENCE.name.lower(): "stopped early: a difference is shown",
    Verdict.NO_DIFFERENCE.name.lower(): "stopped early: a difference of the size asked for is ruled out",
    Verdict.HOPELESS.name.lower(): "stopped early: the episodes left could not have shown a difference",
}


def stopping_rule(plan: dict[str, Any]) -> StoppingRule:
    """The rule that a record's plan asks for."""
    return StoppingRule(plan["episodes"], plan["alpha"], plan["min_difference"])


def why_over(record: BlindRecord) -> str:
    """A key of ENDED where the evaluation is over; empty where another episode is to be run.

    Looked at between blocks only: in the middle of one, the arm that is due next would show.
    """
    plan, arms = record.plan, record.plan["arms"]
    if record.next_position >= len(record.trials):
        return ALL_RUN
    if not plan["sequential"] or len(arms) != 2 or record.next_position % len(arms):
        return ""
    verdict = stopping_rule(plan).verdict(tally(arms, record.results))
    return "" if verdict is Verdict.GO_ON else verdict.name.lower()


def write_result(
    record: BlindRecord, result_path: Path, ended: str, policy_sha256: str = ""
) -> dict[str, Any]:
    """Opens the seal, writes both files, and returns what evaluation.json says.

    ended: a key of ENDED. policy_sha256: identity that the base policy's own chunks told.
    """
    plan = record.plan
    result = summarise(plan["arms"], record.results, stopping_rule(plan), plan["matched"])
    finished = sum(r.outcome is not Outcome.ABORTED for r in record.results)
    result = {
        "ended": ended,
        "ended_words": ENDED[ended],
        "episodes_run": finished,
        "episodes_planned": len(record.trials),
        "stopped_early": finished < len(record.trials),
        "matched": plan["matched"],
        "first_scene": plan["scene_seed"],
        "seed": plan["seed"],
        **result,
        "setup": plan["setup"],
        "policy_sha256": policy_sha256 or plan["setup"].get("policy_sha256", ""),
        "commitment": record.unseal(),
    }
    _write_csv(result["episodes"], result_path.with_name(_csv_name(result_path)))
    record.finish(result)
    return result


def _csv_name(result_path: Path) -> str:
    return EPISODES_CSV if result_path.stem == "evaluation" else f"{result_path.stem}_{EPISODES_CSV}"


def _write_csv(episodes: list[dict[str, Any]], path: Path) -> None:
    text = io.StringIO()
    if episodes:
        writer = csv.DictWriter(text, fieldnames=list(episodes[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(episodes)
    write_whole(path, text.getvalue())
