"""Counts of the fault tests: shortened, or in full with RESFIT_SOAK=1 (`make soak`)."""

import os

SOAK = os.environ.get("RESFIT_SOAK") == "1"


def count(full: int, short: int) -> int:
    """`full` in a soak, else `short`."""
    return full if SOAK else short
