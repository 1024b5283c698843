"""A box that the links of a robot stay in."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.types import Float64
from resfit_ros.robot.body_pose import BodyPose, pinocchio

AXES = "xyz"


class Workspace:
    """The origins of links inside a box in the base frame.

    box: least x, y, z, then greatest x, y, z [m]; links: names, empty: every link that can move; known: all
    links of the description, which errors call `source`.
    Raises ConfigError on a box that is none, and on links that are unknown or cannot move.
    """

    def __init__(
        self, pose: BodyPose, box: Sequence[float], links: Sequence[str], known: Sequence[str], source: str
    ) -> None:
        self.box = np.array(box, dtype=np.float64)
        if self.box.shape != (6,) or not np.all(self.box[:3] < self.box[3:]):  # NaN too
            raise ConfigError(f"workspace: expected least x, y, z, then greatest x, y, z, got {list(box)}")
        self._pin, self._pose = pinocchio(), pose
        frames = {frame.name: i for i, frame in enumerate(pose.model.frames) if frame.type.name == "BODY"}
        for link in links:
            if link not in known:
                hint = nearest(link, known)
                raise ConfigError(f"workspace_links: link '{link}' is not in {source}; {hint}")
            if not self._can_move(frames[link]):
                raise ConfigError(
                    f"workspace_links: link '{link}' is not moved by any of joint_names; take it out"
                )
        self.links = tuple(links) or tuple(link for link in known if self._can_move(frames[link]))
        self._frames = [frames[link] for link in self.links]

    def _can_move(self, frame: int) -> bool:
        return self._pose.moves_between(0, self._joint_of(frame))

    def _joint_of(self, frame: int) -> int:
        placed: Any = self._pose.model.frames[frame]
        return placed.parentJoint if hasattr(placed, "parentJoint") else placed.parent  # Pinocchio 2

    def room(self, q: Float64) -> Float64:
        """Distance of each link's origin to each side (L, 6) [m] at q (nq,); negative: outside."""
        pin, model, data = self._pin, self._pose.model, self._pose.data
        pin.framesForwardKinematics(model, data, q)
        origins = np.array([data.oMf[frame].translation for frame in self._frames])
        return np.hstack([origins - self.box[:3], self.box[3:] - origins])

    def words(self, link: int, side: int, room: float) -> str:
        """What is wrong, for a link and a side of its row in `room`."""
        bound, axis = self.box[side], AXES[side % 3]
        at, limit = (bound + room, "at least") if side < 3 else (bound - room, "at most")
        return f"link '{self.links[link]}' outside the workspace ({axis} {at:.3f} m, {limit} {bound:g} m)"
