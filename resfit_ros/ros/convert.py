"""Messages to the values of `core.types` and back.

Arrays cross as whole buffers: rclpy's setters copy element by element unless they are given an
`array.array`.
"""

import enum
from array import array
from typing import TypeVar

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from resfit_ros import msg
from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import (
    Action,
    ActionChunk,
    EpisodeEnded,
    EpisodeStarted,
    Executed,
    Mode,
    Observation,
    Outcome,
    Reason,
    SafetyState,
)
from resfit_ros.pictures.pixels import pixels

E = TypeVar("E", bound=enum.Enum)


def to_ns(stamp: Time) -> int:
    """Stamp in nanoseconds."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def to_time(stamp_ns: int) -> Time:
    """Nanoseconds as a stamp."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def header(stamp_ns: int, frame_id: str = "") -> Header:
    """A header with that stamp."""
    return Header(stamp=to_time(stamp_ns), frame_id=frame_id)


def floats(values: np.ndarray) -> array:
    """float32[] field from an array of any shape, row-major."""
    return array("f", np.ascontiguousarray(values, dtype=np.float32).tobytes())


def doubles(values: np.ndarray) -> array:
    """float64[] field from an array of any shape, row-major."""
    return array("d", np.ascontiguousarray(values, dtype=np.float64).tobytes())


def from_floats(field: array) -> np.ndarray:
    """float32 vector (N,), sharing the message's memory."""
    return np.frombuffer(field, dtype=np.float32)


def from_doubles(field: array) -> np.ndarray:
    """float64 vector (N,), sharing the message's memory."""
    return np.frombuffer(field, dtype=np.float64)


def image_to_msg(image: np.ndarray, stamp_ns: int, frame_id: str = "") -> Image:
    """rgb8 message from uint8 (H, W, 3)."""
    height, width, channels = image.shape
    return Image(
        header=header(stamp_ns, frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        step=width * channels,
        data=array("B", np.ascontiguousarray(image).tobytes()),
    )


def _known(kind: type[E], value: int) -> E:
    try:
        return kind(value)
    except ValueError:
        raise ShapeError(f"{value} is not a {kind.__name__}; publisher and this node differ") from None


def rgb8_from_msg(image: Image) -> np.ndarray:
    """uint8 (H, W, 3) from an rgb8 message made by `image_to_msg`, or from a JPEG one of a bag that is played."""
    return pixels(image)


def observation_to_msg(o: Observation) -> msg.Observation:
    """Observation as a message."""
    return msg.Observation(
        header=header(o.stamp_ns),
        episode_id=o.episode_id,
        step=o.step,
        state=floats(o.state),
        images=[image_to_msg(image, o.stamp_ns) for image in o.images],
        source_ages_s=floats(np.array(o.source_ages_s)),
        source_id=o.source_id,
    )


def observation_from_msg(m: msg.Observation) -> Observation:
    """Observation from a message."""
    return Observation(
        stamp_ns=to_ns(m.header.stamp),
        episode_id=m.episode_id,
        step=m.step,
        state=from_floats(m.state),
        images=tuple(rgb8_from_msg(image) for image in m.images),
        source_ages_s=tuple(m.source_ages_s),
        source_id=m.source_id,
    )


def chunk_to_msg(c: ActionChunk) -> msg.ActionChunk:
    """Chunk as a message."""
    horizon, action_dim = c.actions.shape
    return msg.ActionChunk(
        header=header(c.stamp_ns),
        episode_id=c.episode_id,
        step=c.step,
        horizon=horizon,
        action_dim=action_dim,
        actions=floats(c.actions),
        source_id=c.source_id,
        policy_sha256=c.policy_sha256,
        inference_time_s=c.inference_time_s,
    )


def chunk_from_msg(m: msg.ActionChunk) -> ActionChunk:
    """Chunk from a message; one whose sizes disagree gets an empty (0, 0) array."""
    actions = from_floats(m.actions)
    shape = (m.horizon, m.action_dim) if len(actions) == m.horizon * m.action_dim else None
    return ActionChunk(
        stamp_ns=to_ns(m.header.stamp),
        episode_id=m.episode_id,
        step=m.step,
        actions=actions.reshape(shape) if shape else np.zeros((0, 0), np.float32),
        source_id=m.source_id,
        inference_time_s=m.inference_time_s,
        policy_sha256=m.policy_sha256,
    )


def action_to_msg(a: Action) -> msg.Action:
    """Action as a message."""
    return msg.Action(
        header=header(a.stamp_ns),
        episode_id=a.episode_id,
        step=a.step,
        base=floats(a.base),
        residual=floats(a.residual),
        command=floats(a.command),
        chunk_phase=a.chunk_phase,
        actor_version=a.actor_version,
        mode=int(a.mode),
        source_id=a.source_id,
        tainted=a.tainted,
    )


def action_from_msg(m: msg.Action) -> Action:
    """Action from a message."""
    return Action(
        stamp_ns=to_ns(m.header.stamp),
        episode_id=m.episode_id,
        step=m.step,
        base=from_floats(m.base),
        residual=from_floats(m.residual),
        command=from_floats(m.command),
        chunk_phase=m.chunk_phase,
        actor_version=m.actor_version,
        mode=_known(Mode, m.mode),
        source_id=m.source_id,
        tainted=m.tainted,
    )


def executed_to_msg(e: Executed) -> msg.ExecutedAction:
    """Executed action as a message."""
    return msg.ExecutedAction(
        header=header(e.stamp_ns),
        episode_id=e.episode_id,
        step=e.step,
        action=floats(e.action),
        safety_state=int(e.safety_state),
        reasons=int(e.reasons),
        tainted=e.tainted,
        source_id=e.source_id,
    )


def executed_from_msg(m: msg.ExecutedAction) -> Executed:
    """Executed action from a message."""
    return Executed(
        stamp_ns=to_ns(m.header.stamp),
        episode_id=m.episode_id,
        step=m.step,
        action=from_floats(m.action),
        safety_state=_known(SafetyState, m.safety_state),
        reasons=Reason(m.reasons),
        tainted=m.tainted,
        source_id=m.source_id,
    )


def episode_to_msg(e: EpisodeStarted | EpisodeEnded, source_id: str = "") -> msg.Episode:
    """Episode boundary as a message, signed by `source_id`."""
    m = msg.Episode(
        header=header(e.stamp_ns), episode_id=e.episode_id, scene_seed=e.scene_seed, source_id=source_id
    )
    if isinstance(e, EpisodeEnded):
        m.event = msg.Episode.EVENT_ENDED
        m.outcome, m.steps, m.labelled_by = int(e.outcome), e.steps, e.labelled_by
    return m


def episode_from_msg(m: msg.Episode) -> EpisodeStarted | EpisodeEnded:
    """Episode boundary from a message."""
    stamp_ns = to_ns(m.header.stamp)
    if m.event == msg.Episode.EVENT_STARTED:
        return EpisodeStarted(stamp_ns, m.episode_id, m.scene_seed)
    return EpisodeEnded(
        stamp_ns, m.episode_id, _known(Outcome, m.outcome), m.steps, m.scene_seed, m.labelled_by
    )
