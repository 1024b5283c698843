"""Settings that an actor's actions depend on: they travel with it, and the graph must run with the same."""

from collections.abc import Mapping
from typing import Any

from resfit_ros.core.joints import joint_difference
from resfit_ros.core.parameter_groups import TOPIC

CAMERAS = ("camera_names", "image_width", "image_height")
CHUNKS = ("execute_steps", "prefetch_steps", "blend_steps", "temporal_ensembling")
SETTINGS = ("joint_names", "state", "control_hz", *CAMERAS, *CHUNKS, "ensemble_decay")


def actor_settings(*parameters: Any) -> dict[str, Any]:
    """The settings that nodes' parameters hold, as plain JSON; those that make no difference are left out.

    parameters: of a node each.
    """
    found = {k: _plain(getattr(p, k)) for p in parameters for k in SETTINGS if hasattr(p, k)}
    from_topic = any(getattr(p, "base_source", "") == TOPIC for p in parameters)
    unused = set() if found.get("camera_names", True) else set(CAMERAS)
    if from_topic:
        unused |= {*CHUNKS, "ensemble_decay"}  # an existing controller sends no chunks
    elif not found.get("temporal_ensembling"):
        unused.add("ensemble_decay")
    return {k: v for k, v in found.items() if k not in unused}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def settings_difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first setting that differs, naming both sides; empty: none. What one lacks is not compared."""
    for name in SETTINGS:
        if name not in theirs or name not in ours or theirs[name] == ours[name]:
            continue
        if name == "joint_names":
            return joint_difference(theirs[name], ours[name]) or ""
        return f"{name} is {_shown(theirs[name])} there and {_shown(ours[name])} here"
    return ""


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, list) else f"{value}"
