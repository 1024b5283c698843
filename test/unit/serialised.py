"""Messages as bytes for the bag tests, built from the .msg files with no ROS on the machine."""

from pathlib import Path

import numpy as np

from resfit_ros.core.types import Action, EpisodeEnded, EpisodeStarted, Executed, Observation
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.interfaces import type_name, typestore

TOPICS = {
    Observation: ("observation", "Observation"),
    Action: ("action", "Action"),
    Executed: ("executed_action", "ExecutedAction"),
    EpisodeEnded: ("episode", "Episode"),
    EpisodeStarted: ("episode", "Episode"),
}
EVENT_STARTED, EVENT_ENDED = 0, 1


def build(name: str, **fields):
    """A message of one of our types."""
    return typestore().types[type_name(name)](**fields)


def header(stamp_ns: int, frame_id: str = ""):
    types = typestore().types
    sec, nanosec = divmod(stamp_ns, 10**9)
    stamp = types["builtin_interfaces/msg/Time"](sec=sec, nanosec=nanosec)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)


def image(pixels: np.ndarray):
    rows, columns, channels = pixels.shape
    return typestore().types["sensor_msgs/msg/Image"](
        header=header(0),
        height=rows,
        width=columns,
        encoding="rgb8",
        is_bigendian=0,
        step=columns * channels,
        data=pixels.reshape(-1),
    )


def _fields(value) -> dict:
    if isinstance(value, Observation):
        return dict(
            step=value.step,
            state=value.state,
            images=[image(pixels) for pixels in value.images],
            source_ages_s=np.array(value.source_ages_s, np.float32),
            source_id=value.source_id,
        )
    if isinstance(value, Action):
        return dict(
            step=value.step,
            base=value.base,
            residual=value.residual,
            command=value.command,
            chunk_phase=value.chunk_phase,
            actor_version=value.actor_version,
            mode=int(value.mode),
            source_id=value.source_id,
            tainted=value.tainted,
        )
    if isinstance(value, Executed):
        return dict(
            step=value.step,
            action=value.action,
            safety_state=int(value.safety_state),
            reasons=int(value.reasons),
            tainted=value.tainted,
            source_id=value.source_id,
        )
    ended = isinstance(value, EpisodeEnded)
    return dict(
        event=EVENT_ENDED if ended else EVENT_STARTED,
        outcome=int(value.outcome) if ended else 0,
        steps=value.steps if ended else 0,
        scene_seed=value.scene_seed,
        labelled_by=value.labelled_by if ended else "",
        source_id="/resfit/episode_manager",
    )


def serialise(value, frame_id: str = "") -> tuple[str, bytes]:
    """(topic, CDR bytes) of a value of `core.types`."""
    topic, name = TOPICS[type(value)]
    message = build(
        name,
        header=header(value.stamp_ns, frame_id),
        episode_id=value.episode_id,
        **_fields(value),
    )
    return topic, bytes(typestore().serialize_cdr(message, type_name(name)))


def write_bag(directory: Path, values, episode_id: int = 1, close: bool = True) -> EpisodeBag:
    """An episode's bag with these values in it."""
    bag = EpisodeBag(directory, episode_id, "/resfit")
    for received_ns, value in enumerate(values, start=1):
        topic, data = serialise(value)
        bag.write(topic, received_ns, data)
    if close:
        bag.close({"outcome": "success"})
    return bag
