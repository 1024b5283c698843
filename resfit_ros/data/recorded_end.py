"""How an episode ended whose bag lost its last message: its metadata tell as well."""

from pathlib import Path

import yaml

from resfit_ros.core.types import EpisodeEnded, Observation, Outcome


def recorded_end(bag: Path, newest: Observation) -> EpisodeEnded:
    """The end of the episode that `newest`, its last readable observation, is of.

    Where the metadata are unreadable too, the episode counts as timed out there: what follows is unknown.
    """
    outcome, steps, seed = Outcome.TIMEOUT, newest.step, -1
    try:
        information = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
        about = information["custom_data"]
        outcome = Outcome[about["outcome"].upper()]
        steps, seed = max(int(about["steps"]), newest.step), int(about["scene_seed"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        pass
    return EpisodeEnded(newest.stamp_ns, newest.episode_id, outcome, steps, seed, "metadata of its bag")
