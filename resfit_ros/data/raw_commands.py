"""Commands a robot was sent before this package was there: where they wanted each joint, at any time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.command_path import CommandFollower, CommandPath
from resfit_ros.core.errors import ShapeError
from resfit_ros.core.types import Float64

JOINT_TRAJECTORY = "trajectory_msgs/msg/JointTrajectory"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"
JOINT_STATE = "sensor_msgs/msg/JointState"
COMMAND_TYPES = (JOINT_TRAJECTORY, MULTI_ARRAY, JOINT_STATE)
Indices = NDArray[np.intp]


def command_of(message: Any, joint_names: Sequence[str]) -> tuple[Indices, CommandPath]:
    """Which of our joints a message commands (J,), and where to: a path over those, in that order.

    message: of one of COMMAND_TYPES; it may be for some of the joints, and name others. Raises ShapeError on
    one that says nothing of our joints, or nothing that can be followed.
    """
    if message.__msgtype__ == MULTI_ARRAY:
        values = np.asarray(message.data, np.float64)
        if len(values) != len(joint_names):
            raise ShapeError(f"command has {len(values)} values, expected {len(joint_names)}")
        return np.arange(len(values)), CommandPath(np.zeros(1), values[None])
    if message.__msgtype__ == JOINT_STATE:
        names, times, rows = message.name, [0.0], [message.position]
    else:
        names, points = message.joint_names, message.points
        times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points]
        rows = [p.positions for p in points]
    ours = [i for i, name in enumerate(joint_names) if name in names]
    theirs = [names.index(joint_names[i]) for i in ours]
    if not ours:
        others = ", ".join(map(repr, names[:4])) or "no joint at all"
        raise ShapeError(f"command names none of our joints, but {others}")
    if not rows:
        raise ShapeError("trajectory without points")
    if any(len(row) != len(names) for row in rows):
        raise ShapeError("command does not have one position for each of its joints")
    return np.array(ours, np.intp), CommandPath(np.array(times), np.array(rows, np.float64)[:, theirs])


class CommandedJoints:
    """The newest command of each joint of `count`, evaluated at any time: straight from point to point.

    A joint that no command has named yet is wanted where it was when the first command for any other came.
    """

    def __init__(self, count: int) -> None:
        self._rest = np.full(count, np.nan)
        self._followed: list[tuple[CommandFollower, Indices, Indices]] = []  # with: our joints, their columns

    def receive(self, joints: Indices, path: CommandPath, now_ns: int, measured: Float64) -> None:
        """Takes a command for `joints` (J,). measured (A,): where all joints are, NaN where not known."""
        here = self._at(now_ns)
        here = np.where(np.isnan(here), measured, here)
        self._rest = np.where(np.isnan(self._rest), measured, self._rest)
        begin = here[joints]
        follower = CommandFollower(begin if np.all(np.isfinite(begin)) else None)
        follower.receive(path, now_ns)
        kept = []
        for other, ours, columns in self._followed:
            stays = ~np.isin(ours, joints)
            if np.any(stays):
                kept.append((other, ours[stays], columns[stays]))
        self._followed = [*kept, (follower, joints, np.arange(len(joints)))]

    def _at(self, now_ns: int) -> Float64:
        target = self._rest.copy()
        for follower, ours, columns in self._followed:
            target[ours] = follower.at(now_ns)[columns]
        return target

    def at(self, now_ns: int) -> Float64 | None:
        """Where the commands want all joints (A,) at `now_ns`; None while that of one is not known."""
        target = self._at(now_ns)
        return target if np.all(np.isfinite(target)) else None

    @property
    def any_came(self) -> bool:
        return bool(self._followed)

    def silent_s(self, now_ns: int) -> float:
        """How long every command has been at its end, [s]; infinite before the first."""
        return min((f.silent_s(now_ns) for f, _, _ in self._followed), default=float("inf"))
