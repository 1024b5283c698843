"""The real learner node, in a process of its own, that notes the digest of every episode it takes in."""

import os
import sys
from pathlib import Path

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.data.segment_digest import episode_digest
from resfit_ros.learning.worker import LearnerWorker
from resfit_ros.nodes import learner

NOTES = "RESFIT_NOTES"  # environment variable: the file that takes a line per episode


class NotingWorker(LearnerWorker):
    """Writes "EPISODE_ID STEPS_LOST DIGEST" before the episode goes into the replay buffer."""

    def take_in(self, episode: AssembledEpisode) -> None:
        with Path(os.environ[NOTES]).open("a") as file:
            file.write(f"{episode.end.episode_id} {episode.steps_lost} {episode_digest(episode)}\n")
        super().take_in(episode)


if __name__ == "__main__":
    learner.LearnerWorker = NotingWorker
    sys.exit(learner.main())
