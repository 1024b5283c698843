"""Turns the summaries of demo runs into the page docs/demo-results.md.

    python -m benchmarks.demo_table runs/*/summary.json > docs/demo-results.md
"""

import argparse
import json
import os
import platform
from datetime import date
from pathlib import Path

COLUMNS = (
    ("seed", "seed", "{}"),
    ("demonstrations", "demos", "{}"),
    ("base_success_rate", "base", "{:.0%}"),
    ("finetuned_success_rate", "base + residual", "{:.0%}"),
    ("env_steps", "steps", "{}"),
    ("gradient_updates", "updates", "{}"),
    ("steps_lost", "steps lost", "{}"),
    ("wall_s", "wall time, s", "{:.0f}"),
)
INTRODUCTION = """# What the demo reached

Written by `python -m benchmarks.demo_table` from the `summary.json` of each run; nothing is filled in by hand.
{day}, {cores} cores ({machine}), no GPU. Success rates are over {episodes} evaluation episodes per policy, blind and
interleaved, on scenes that neither recording nor learning nor the choice of settings has seen.
"""


def row(summary: dict) -> str:
    """One line of the table."""
    return "| " + " | ".join(form.format(summary[key]) for key, _, form in COLUMNS) + " |"


def interval(summary: dict, arm: str) -> str:
    """The 95 % interval of an arm in words."""
    low, high = summary[f"{arm}_wilson_95"]
    return f"{low:.0%} to {high:.0%}"


def page(summaries: list[dict], cores: int) -> str:
    """The whole page as Markdown."""
    head = "| " + " | ".join(title for _, title, _ in COLUMNS) + " |"
    lines = [
        INTRODUCTION.format(
            day=date.today().isoformat(),
            cores=cores,
            machine=platform.machine(),
            episodes=summaries[0]["eval_episodes"],
        ),
        head,
        "|" + "---:|" * len(COLUMNS),
        *(row(s) for s in summaries),
        "",
        "95 % intervals (Wilson) and McNemar's exact test:",
        "",
    ]
    for s in summaries:
        lines.append(
            f"- seed {s['seed']}: base {interval(s, 'base')}, base + residual "
            f"{interval(s, 'finetuned')}, p = {s['p_value']:.1e}"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Prints the page for the summaries given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("summaries", nargs="+", type=Path)
    paths = parser.parse_args().summaries
    print(page([json.loads(p.read_text()) for p in paths], os.cpu_count() or 0), end="")


if __name__ == "__main__":
    main()
