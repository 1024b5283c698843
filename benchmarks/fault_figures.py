"""Runs the fault tests and writes what they measured to docs/fault-figures.md."""

import argparse
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "fault-figures.md"
PLUGINS = ("launch_testing", "launch_ros", "launch_pytest")  # of a sourced ROS, which lag behind pytest
LINE = re.compile(r"^\| (\d+) \| (test_\S+) \| (.+) \|$", re.MULTILINE)


def run(tests: list[str], soak: bool) -> str:
    """Output of the tests. Exits with their status when one failed."""
    command = [sys.executable, "-m", "pytest", "-q", *(w for p in PLUGINS for w in ("-p", f"no:{p}")), *tests]
    environment = os.environ | ({"RESFIT_SOAK": "1"} if soak else {})
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    print(done.stdout)
    if done.returncode:
        sys.exit(f"a fault test failed (status {done.returncode}); nothing was written")
    return done.stdout


def page(output: str, soak: bool) -> str:
    """Markdown: a row per measurement."""
    rows = sorted({(int(row), test, figure) for row, test, figure in LINE.findall(output)})
    length = "at full length (`make soak`)" if soak else "in the short form that CI runs"
    lines = [
        "# What the fault tests measured",
        "",
        "Written by `python -m benchmarks.fault_figures`; rows as in [safety.md](safety.md). "
        f"{time.strftime('%Y-%m-%d')}, {length}, {os.cpu_count()} CPU cores shared with other programs "
        f"({platform.machine()}, Python {platform.python_version()}).",
        "",
        "| Row | Test | Measured |",
        "|---|---|---|",
        *(f"| {row} | `{test}` | {figure} |" for row, test, figure in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tests", nargs="*", default=["test/fault"], help="which tests")
    parser.add_argument("--soak", action="store_true", help="at full length")
    arguments = parser.parse_args()
    text = page(run(arguments.tests, arguments.soak), arguments.soak)
    PAGE.write_text(text)
    print(f"written: {PAGE.relative_to(ROOT)}, {text.count('`test_')} figures")


if __name__ == "__main__":
    main()
