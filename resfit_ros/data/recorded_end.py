"""How an episode ended whose bag lost its last message: its metadata tell as well."""

from pathlib import Path

import yaml

from resfit_ros.core.types import EpisodeEnded, Observation, Outcome

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # pyyaml's own takes ten times as long


def end_texts(episode_id: int, end: EpisodeEnded | None) -> dict[str, str]:
    """An episode's end for the metadata of its bag; None: it was never told, and counts as aborted."""
    outcome = end.outcome if end else Outcome.ABORTED
    texts = {"episode_id": str(episode_id), "outcome": outcome.name.lower()}
    if end:
        texts |= {"steps": str(end.steps), "scene_seed": str(end.scene_seed)}
    return texts


def recorded_end(bag: Path, newest: Observation) -> EpisodeEnded:
    """The end of the episode that `newest`, its last readable observation, is of.

    Where the metadata are unreadable too, the episode counts as timed out there: what follows is unknown.
    """
    outcome, steps, seed = Outcome.TIMEOUT, newest.step, -1
    try:
        information = yaml.load((bag / "metadata.yaml").read_text(), LOADER)["rosbag2_bagfile_information"]
        about = information["custom_data"]
        outcome = Outcome[about["outcome"].upper()]
        steps, seed = max(int(about["steps"]), newest.step), int(about["scene_seed"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        pass
    return EpisodeEnded(newest.stamp_ns, newest.episode_id, outcome, steps, seed, "metadata of its bag")
