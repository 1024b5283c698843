"""Writes one bag per episode, straight from serialised messages."""

import dataclasses
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import rclpy
from rclpy.serialization import deserialize_message

import resfit_ros
from resfit_ros import msg
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.parameter_groups import TOPIC
from resfit_ros.core.parameters import JPEG, RecorderParameters
from resfit_ros.core.types import EpisodeEnded, EpisodeStarted, Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_bag import (
    GRACE_NS,
    MISSING_GRACE_NS,
    EpisodeBag,
    peek_episode_id,
    peek_stamp_ns,
)
from resfit_ros.data.expected import robot_about
from resfit_ros.data.interfaces import EPISODE_TOPICS, typestore
from resfit_ros.data.jpeg_images import with_jpeg
from resfit_ros.data.recorded_end import end_texts
from resfit_ros.data.recover_bags import go_on_from, policy_of_chunk, recover
from resfit_ros.data.space_guard import SpaceGuard
from resfit_ros.policies.identity import controller_record
from resfit_ros.ros.convert import episode_from_msg
from resfit_ros.ros.node import ERROR, OK, OPEN_BAGS, ResfitNode, run_node
from resfit_ros.ros.qos import STEPS

SPACE_PERIOD_S = 1.0


@dataclass
class _Open:
    bag: EpisodeBag
    policy: str = ""  # identity of its base policy
    ended: EpisodeEnded | None = None
    ended_ns: int = 0

    def missing(self) -> str:
        """What has not come of the steps that its end tells of; empty: nothing, or nobody learns from it."""
        if self.ended is None or self.ended.outcome is Outcome.ABORTED:
            return ""
        steps = self.ended.steps
        # The last action is not executed, but tells what the base policy would have done there.
        wanted = {"observation": steps + 1, "action": steps + 1, "executed_action": steps}
        lacks = {topic: len(set(range(n)) - self.bag.steps[topic]) for topic, n in wanted.items()}
        return ", ".join(f"{n} of {wanted[topic]} on {topic}" for topic, n in lacks.items() if n)

    def is_due(self, now_ns: int) -> bool:
        """Whether nothing more is waited for."""
        if self.ended is None:
            return False
        waited_ns = now_ns - self.ended_ns
        return waited_ns >= MISSING_GRACE_NS or (waited_ns >= GRACE_NS and not self.missing())


class Recorder(ResfitNode[RecorderParameters]):
    """Bags of finished episodes have their final name; the others lie under `.partial/`.

    What a killed recorder left there is recovered at the start.
    """

    def __init__(self) -> None:
        super().__init__("recorder")
        self._directory = Path(self.params.bag_dir)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"bag_dir {self._directory}: cannot be made ({error})") from None
        self._about = about_of(self.params)
        self._space, self._short = SpaceGuard(self._directory, self.params.min_free_mb), False
        self._open: dict[int, _Open] = {}
        self._lost: set[int] = set()  # episodes whose bag could not be written
        self._closed_up_to = 0
        self._written = self._successes = self._late = self._went_on = self._incomplete = 0
        self._final_id: int | None = None  # the episode that brought the last success asked for
        self._recovered = self._recover()
        for topic, message in EPISODE_TOPICS.items():
            kind = getattr(msg, message)
            self.hear(kind, topic, lambda raw, t=topic: self._on_raw(t, bytes(raw)), STEPS, raw=True)
        self.every(0.1, self._close_due)
        self.every(SPACE_PERIOD_S, self._watch_space)
        self.report(OK, f"recording to {self._directory}")

    def figures(self) -> dict[str, object]:
        """Key figures for /diagnostics."""
        return {
            "bags": self._written,
            "successes": self._successes,
            "episodes not recorded": len(self._lost),
            "episodes with missing steps": self._incomplete,
            "late messages": self._late,
            OPEN_BAGS: len(self._open),
            "bags recovered": len(self._recovered),
            "bags gone on with": self._went_on,
        }

    def _recover(self) -> set[int]:
        """Episodes whose end was recorded and whose bag was not closed: of those nothing new is heard."""
        found = recover(self._directory, self.get_logger().warning)
        return {bag.episode_id for bag in found if bag.is_whole}

    def _on_raw(self, topic: str, raw: bytes) -> None:
        episode_id = peek_episode_id(raw)
        if episode_id in self._lost:
            return
        closed = episode_id <= self._closed_up_to or episode_id in self._recovered
        if closed and episode_id not in self._open:
            self._late += 1
            return
        if self._final_id is not None and episode_id > self._final_id:
            return  # the robot goes on until it is stopped
        event = None
        if topic == "episode":
            message = deserialize_message(raw, msg.Episode)
            if not self.trusts(message, "episode_manager"):
                return
            event = episode_from_msg(message)
        try:
            self._write(topic, episode_id, raw, event)
        except DataError as error:
            self._lose(episode_id, error)

    def _write(
        self, topic: str, episode_id: int, raw: bytes, event: EpisodeStarted | EpisodeEnded | None
    ) -> None:
        if episode_id not in self._open:
            self._open[episode_id] = self._begin(episode_id, raw, isinstance(event, EpisodeStarted))
        entry = self._open[episode_id]
        if topic == "observation" and self.params.image_encoding == JPEG:
            raw = with_jpeg(raw, self.params.jpeg_quality)
        elif topic == "action_chunk" and not entry.policy:
            entry.policy = policy_of_chunk(raw, typestore())
        entry.bag.write(topic, self.stamp_ns(), raw)
        if isinstance(event, EpisodeEnded):
            # Now, and not when the bag is closed: from here on nothing takes the episode away.
            entry.bag.sync()
            entry.ended, entry.ended_ns = event, self.now_ns()
            self._successes += event.outcome is Outcome.SUCCESS
            if 0 < self.params.successes <= self._successes and self._final_id is None:
                self._final_id = episode_id
        elif entry.bag.size_bytes > self.params.max_bag_mb * 1e6:
            self._cut(episode_id)

    def _begin(self, episode_id: int, raw: bytes, is_start: bool) -> _Open:
        if lack := self._space.lack():
            raise DataError(lack)
        namespace = self.get_namespace().rstrip("/")
        bag = EpisodeBag(self._directory, episode_id, namespace, self._about.to_custom_data())
        if is_start:
            return _Open(bag)
        # A recorder that was killed in mid-episode may have its beginning.
        begun = go_on_from(bag, self._directory, episode_id, peek_stamp_ns(raw))
        self._went_on += begun.messages > 0
        return _Open(bag, begun.policy)

    def _watch_space(self) -> None:
        lack, was_short = self._space.lack(), self._short
        self._short = bool(lack)
        if lack:
            self.report(ERROR, f"no new episode is recorded: {lack}")
        elif was_short:
            self.report(OK, f"recording to {self._directory}")

    def _cut(self, episode_id: int) -> None:
        path = self._close(episode_id)
        self._lost.add(episode_id)
        self.report(
            ERROR,
            f"episode {episode_id} outgrew max_bag_mb {self.params.max_bag_mb}: what came so far is closed as "
            f"aborted ({path}); end episodes earlier, or raise max_bag_mb",
        )

    def _lose(self, episode_id: int, error: DataError, entry: _Open | None = None) -> None:
        # A bag with a hole would be worse than none, and a new one for each message still worse.
        entry = self._open.pop(episode_id, None) or entry
        self._lost.add(episode_id)
        if entry and entry.ended and entry.ended.outcome is Outcome.SUCCESS:
            self._successes -= 1  # it was counted, and is not there
        if episode_id == self._final_id:
            self._final_id = None
        self.report(ERROR, f"episode {episode_id} is not recorded: {error}")

    def _close_due(self) -> None:
        for episode_id in sorted(self._open):
            entry = self._open[episode_id]
            # An episode whose end never came is closed once a later one has ended.
            overtaken = any(i > episode_id and e.ended for i, e in self._open.items())
            if overtaken or entry.is_due(self.now_ns()):
                self._close(episode_id)

    def _close(self, episode_id: int) -> Path | None:
        entry = self._open.pop(episode_id)
        self._closed_up_to = max(self._closed_up_to, episode_id)
        about = self._about
        if entry.policy:
            about = dataclasses.replace(about, base_policy_sha256=entry.policy)
        try:
            path = entry.bag.close(about.to_custom_data() | end_texts(episode_id, entry.ended))
        except DataError as error:
            self._lose(episode_id, error, entry)
            return None
        self._written += 1
        if missing := entry.missing():
            self._incomplete += 1
            self.get_logger().warning(f"{path}: steps are missing, they never came: {missing}")
        if not self._short:
            self.report(OK, f"recording to {self._directory}")
        if episode_id == self._final_id:
            rclpy.try_shutdown()
        return path

    def shutdown(self) -> None:
        """Closes what is open; an unfinished episode is kept as aborted."""
        for episode_id in sorted(self._open):
            self._close(episode_id)


def about_of(p: RecorderParameters) -> BagAbout:
    """What every bag of a recorder says of the robot, its configuration and the software."""
    distro = os.environ.get("ROS_DISTRO", "")
    return robot_about(
        p,
        image_encoding=p.image_encoding,
        jpeg_quality=p.jpeg_quality if p.image_encoding == JPEG else 0,
        base_policy_sha256=controller_record(p.base_name)["sha256"] if p.base_source == TOPIC else "",
        config_sha256=p.config_sha256,
        versions={"resfit_ros": resfit_ros.__version__, "rosbags": metadata.version("rosbags")}
        | ({"ros_distro": distro} if distro else {}),
    )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run resfit_ros recorder`."""
    return run_node(Recorder, args)


if __name__ == "__main__":
    raise SystemExit(main())
