"""Where frames are, looked up in the tf tree."""

from collections.abc import Iterator, Sequence

import numpy as np
from rclpy.node import Node
from rclpy.time import Time

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.observation import TF_PREFIX, canonical_pose
from resfit_ros.ros.convert import to_ns


class Frames:
    """The state blocks tf/TARGET/SOURCE: pose of frame SOURCE in frame TARGET."""

    def __init__(self, blocks: Sequence[str], buffer, failure: type[Exception]) -> None:
        """buffer: a tf2_ros.Buffer. failure: what its lookups raise."""
        self._pairs = {block: tuple(block.removeprefix(TF_PREFIX).split("/")) for block in blocks}
        self._buffer, self._failure = buffer, failure
        self._stamps_ns = dict.fromkeys(blocks, -1)
        self.why: dict[str, str] = {}  # block to what its last lookup said

    def news(self) -> Iterator[tuple[str, int | None, np.ndarray]]:
        """Block, stamp and pose (7,) of each that moved on; the stamp of a static transform is None."""
        for block, (target, source) in self._pairs.items():
            try:
                found = self._buffer.lookup_transform(target, source, Time())
                p, q = found.transform.translation, found.transform.rotation
                pose = canonical_pose((p.x, p.y, p.z), (q.x, q.y, q.z, q.w))
            except (self._failure, ShapeError) as error:
                self.why[block] = f"cannot be looked up: {error}"
                continue
            self.why.pop(block, None)
            stamp_ns = to_ns(found.header.stamp)
            if not stamp_ns or stamp_ns != self._stamps_ns[block]:
                self._stamps_ns[block] = stamp_ns
                yield block, stamp_ns or None, pose

    def clear(self) -> None:
        """Forgets what was heard: the clock it was stamped with has been set."""
        self._buffer.clear()
        self._stamps_ns = dict.fromkeys(self._pairs, -1)


def frames_of(node: Node, blocks: Sequence[str]) -> Frames | None:
    """Listens to /tf and /tf_static for these blocks; None where there are none.

    Raises ConfigError where tf2_ros is not installed.
    """
    if not blocks:
        return None
    try:
        from tf2_ros import Buffer, TransformException, TransformListener
    except ImportError as error:
        raise ConfigError(
            f"state: block '{blocks[0]}' needs tf2_ros, which cannot be imported ({error}); install it "
            "(sudo apt install ros-jazzy-tf2-ros-py), or publish the pose as pose/NAME"
        ) from None
    buffer = Buffer(node=node)
    listener = TransformListener(buffer, node)
    frames = Frames(blocks, buffer, TransformException)
    frames.listener = listener  # it stops listening when it is collected
    return frames
