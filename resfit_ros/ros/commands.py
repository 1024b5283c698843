"""Joint commands in the three message types robots and controllers use."""

from array import array
from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from resfit_ros.core.command_path import CommandPath
from resfit_ros.core.errors import ShapeError
from resfit_ros.core.observation import JointOrder
from resfit_ros.core.types import Float64
from resfit_ros.ros.convert import doubles, from_doubles, header, to_ns
from resfit_ros.ros.qos import ROBOT

MESSAGE_TYPES = {
    "joint_trajectory": JointTrajectory,
    "multi_array": Float64MultiArray,
    "joint_state": JointState,
}


@dataclass(frozen=True, eq=False)
class JointCommand:
    """Position targets float64 (A,). stamp_ns is 0 where the message carries none."""

    stamp_ns: int
    position: Float64
    duration_s: float | None = None


class CommandPublisher:
    """Sends position targets as the configured message type on topic `joint_command`."""

    def __init__(
        self, node: Node, command_type: str, joint_names: tuple[str, ...], with_velocity: bool = False
    ) -> None:
        self._type = MESSAGE_TYPES[command_type]
        self._names = list(joint_names)
        self._with_velocity = with_velocity
        self._publisher = node.create_publisher(self._type, "joint_command", ROBOT)

    def publish(
        self, position: Float64, stamp_ns: int, duration_ns: int, velocity: Float64 | None = None
    ) -> None:
        """The robot should be at `position` (A,) with `velocity` (A,) `duration_ns` after `stamp_ns`."""
        self._publisher.publish(self._message(position, stamp_ns, duration_ns, velocity))

    def forward(self, data: bytes) -> None:
        """Sends a serialised message as it is."""
        self._publisher.publish(data)

    def _message(self, position: Float64, stamp_ns: int, duration_ns: int, velocity: Float64 | None):
        if self._type is Float64MultiArray:
            return Float64MultiArray(data=doubles(position))
        speeds = doubles(velocity) if self._with_velocity and velocity is not None else array("d")
        if self._type is JointState:
            return JointState(
                header=header(stamp_ns), name=self._names, position=doubles(position), velocity=speeds
            )
        point = JointTrajectoryPoint(positions=doubles(position), velocities=speeds)
        point.time_from_start.sec, point.time_from_start.nanosec = divmod(duration_ns, 10**9)
        return JointTrajectory(header=header(stamp_ns), joint_names=self._names, points=[point])


class CommandParser:
    """Reads any of the three message types into configured joint order."""

    def __init__(self, joint_names: tuple[str, ...]) -> None:
        self._order = JointOrder(joint_names)
        self._count = len(joint_names)

    def parse(self, message) -> JointCommand:
        """Raises ShapeError when joints are missing, counts disagree or values are not finite."""
        if isinstance(message, Float64MultiArray):
            command = JointCommand(0, from_doubles(message.data))
            if len(command.position) != self._count:
                raise ShapeError(
                    f"command has {len(command.position)} values, expected {self._count}"
                )
        elif isinstance(message, JointState):
            values = self._order.pick(message.name, from_doubles(message.position), "positions")
            command = JointCommand(to_ns(message.header.stamp), values)
        else:
            command = self._parse_trajectory(message)
        if not np.all(np.isfinite(command.position)):
            raise ShapeError("command holds NaN or Inf")
        return command

    def path(self, message) -> CommandPath:
        """All points of a command over time. Raises ShapeError as `parse` does."""
        if isinstance(message, Float64MultiArray):
            return CommandPath(np.zeros(1), self.parse(message).position[None])
        if isinstance(message, JointState):
            rows, times, names = [message], [0.0], message.name
            fields = ("position", "velocity", None, "effort")
        else:
            rows, names = message.points, message.joint_names
            times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in rows]
            fields = ("positions", "velocities", "accelerations", "effort")
        if not rows:
            raise ShapeError("trajectory without points")
        positions, velocities, accelerations, efforts = (self._rows(rows, names, f) for f in fields)
        if positions is None:
            raise ShapeError("command has no positions; only position commands are understood")
        plain = len(names) == self._count and efforts is None
        return CommandPath(np.array(times), positions, velocities, accelerations, plain)

    def _rows(self, rows, names, field: str | None) -> Float64 | None:
        """One field of every point, (N, A) in configured order; None where no point has it."""
        if field is None or not any(len(getattr(row, field)) for row in rows):
            return None
        return np.stack([self._order.pick(names, from_doubles(getattr(row, field)), field) for row in rows])

    def _parse_trajectory(self, message: JointTrajectory) -> JointCommand:
        if not message.points:
            raise ShapeError("trajectory without points")
        point = message.points[-1]
        values = self._order.pick(
            message.joint_names, from_doubles(point.positions), "positions"
        )
        reach = point.time_from_start
        duration = reach.sec + reach.nanosec * 1e-9
        return JointCommand(to_ns(message.header.stamp), values, duration or None)
