"""Comparing lists of joints."""

from collections.abc import Sequence


def joint_difference(theirs: Sequence[str], ours: Sequence[str]) -> str | None:
    """The first difference of two lists of joint names in words, naming both sides; None: the same."""
    if tuple(theirs) == tuple(ours):
        return None
    for i, (there, here) in enumerate(zip(theirs, ours, strict=False)):
        if there != here:
            return f"joint {i} is '{there}' there and '{here}' here"
    return f"{len(theirs)} joints there against {len(ours)} here"
