"""Writes one bag per episode, straight from serialised messages."""

from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.serialization import deserialize_message

from resfit_ros import msg
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.parameters import RecorderParameters
from resfit_ros.core.types import EpisodeEnded, Outcome
from resfit_ros.data.episode_bag import EpisodeBag, peek_episode_id
from resfit_ros.data.interfaces import EPISODE_TOPICS
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.node import ERROR, OK, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS

# The last action of an episode may arrive after its end: the bag stays open for so long.
GRACE_NS = 300_000_000


@dataclass
class _Open:
    bag: EpisodeBag
    ended: EpisodeEnded | None = None
    close_at_ns: int = 0


class Recorder(ResfitNode[RecorderParameters]):
    """Bags of finished episodes have their final name; a killed recorder leaves one under `.partial/`."""

    def __init__(self) -> None:
        super().__init__("recorder")
        self._directory = Path(self.params.bag_dir)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"bag_dir {self._directory}: cannot be made ({error})") from None
        self._open: dict[int, _Open] = {}
        self._lost: set[int] = set()  # episodes whose bag could not be written
        self._closed_up_to = 0
        self._written = self._successes = self._late = 0
        self._final_id: int | None = None  # the episode that brought the last success asked for
        for topic, message in EPISODE_TOPICS.items():
            self.hear(
                getattr(msg, message), topic, lambda raw, t=topic: self._on_raw(t, raw), STEPS, raw=True
            )
        self.every(0.1, self._close_due)
        self.report(OK, f"recording to {self._directory}")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        return {
            "bags": self._written,
            "successes": self._successes,
            "episodes not recorded": len(self._lost),
            "late messages": self._late,
        }

    def _on_raw(self, topic: str, raw: bytes) -> None:
        raw = bytes(raw)
        episode_id = peek_episode_id(raw)
        if episode_id in self._lost:
            return
        if episode_id <= self._closed_up_to and episode_id not in self._open:
            self._late += 1
            return
        if self._final_id is not None and episode_id > self._final_id:
            return  # the robot goes on until it is stopped
        try:
            if episode_id not in self._open:
                bag = EpisodeBag(self._directory, episode_id, self.get_namespace().rstrip("/"))
                self._open[episode_id] = _Open(bag)
            entry = self._open[episode_id]
            entry.bag.write(topic, self.stamp_ns(), raw)
        except DataError as error:
            self._lose(episode_id, error)
            return
        if topic == "episode":
            event = episode_from_msg(deserialize_message(raw, msg.Episode))
            if isinstance(event, EpisodeEnded):
                entry.ended, entry.close_at_ns = event, self.now_ns() + GRACE_NS
                self._successes += event.outcome is Outcome.SUCCESS
                if 0 < self.params.successes <= self._successes and self._final_id is None:
                    self._final_id = episode_id

    def _lose(self, episode_id: int, error: DataError) -> None:
        # A bag with a hole would be worse than none, and a new one for each message still worse.
        self._open.pop(episode_id, None)
        self._lost.add(episode_id)
        self.report(ERROR, f"episode {episode_id} is not recorded: {error}")

    def _close_due(self) -> None:
        for episode_id in sorted(self._open):
            entry = self._open[episode_id]
            # An episode whose end never came is closed once a later one has ended.
            overtaken = any(i > episode_id and e.ended for i, e in self._open.items())
            if overtaken or (entry.ended and self.now_ns() >= entry.close_at_ns):
                self._close(episode_id)

    def _close(self, episode_id: int) -> None:
        entry = self._open.pop(episode_id)
        self._closed_up_to = max(self._closed_up_to, episode_id)
        ended = entry.ended
        outcome = ended.outcome if ended else Outcome.ABORTED
        about = {"episode_id": str(episode_id), "outcome": outcome.name.lower()}
        if ended:
            about |= {"steps": str(ended.steps), "scene_seed": str(ended.scene_seed)}
        try:
            entry.bag.close(about)
        except DataError as error:
            self._lose(episode_id, error)
            return
        self._written += 1
        self.report(OK, f"recording to {self._directory}")
        if episode_id == self._final_id:
            rclpy.try_shutdown()

    def shutdown(self) -> None:
        """Closes what is open; an unfinished episode is kept as aborted."""
        for episode_id in sorted(self._open):
            self._close(episode_id)


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros recorder`."""
    return run_node(Recorder, args)


if __name__ == "__main__":
    raise SystemExit(main())
