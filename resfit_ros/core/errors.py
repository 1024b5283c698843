"""Errors a user can act on: each says what was wrong, where, and what to do."""

import difflib
from collections.abc import Iterable


class ResfitError(Exception):
    """Base of every error this package raises on purpose."""


class ConfigError(ResfitError):
    """A configuration value or parameter is missing, unknown or out of range."""


class ShapeError(ResfitError, ValueError):
    """An array has another shape than the robot's configuration says."""


class DataError(ResfitError):
    """A bag, dataset or checkpoint cannot be used."""


class MismatchError(DataError):
    """What was read is sound, but belongs to another robot, base policy or configuration."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the known key closest to `name`, or lists them all."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
