"""Listens to one topic of a robot and notes whether its messages can be used, and how they come."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.observation import JOINT_BLOCKS, TF_PREFIX, JointOrder
from resfit_ros.core.parameter_groups import RAW
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.robot.interfaces import CAMERA, DESCRIPTION, JOINT_STATES, STATE_BLOCK, TRANSFORMS, Interface
from resfit_ros.robot.limits import MergedLimits
from resfit_ros.robot.live import Heard
from resfit_ros.pictures.cameras import cameras_of
from resfit_ros.pictures.cdr import read_image
from resfit_ros.ros.commands import MESSAGE_TYPES
from resfit_ros.ros.convert import from_doubles
from resfit_ros.ros.extra_state import READERS, reader_of, stamp_of
from resfit_ros.ros.frames import frames_of
from resfit_ros.ros.qos import LATCHED, SENSORS

SHOWN = 7  # names in a sentence
KINDS = (JointState, String, Image, CompressedImage, *MESSAGE_TYPES.values(), *(kind for kind, _ in READERS.values()))
TRACKING = 0.02  # [rad or m] a joint that is held at its limit may be off by so much
OUTSIDE = "the filter lets it move inwards only: move the robot, or correct the limits"


class Listener:
    """Counts, times and reads the messages of one interface, from when it is made."""

    def __init__(self, node: Node, interface: Interface, p: AggregatorParameters, limits: MergedLimits) -> None:
        self.interface = interface
        self._node, self._params, self._limits = node, p, limits
        self._order = JointOrder(p.joint_names)
        self._arrivals: list[float] = []
        self._ages: list[float] = []
        self._refused, self._why = 0, ""
        self._same = 0
        self._unstamped = False
        self._note, self._text = "", ""
        self._notices: dict[str, tuple[str, str]] = {}
        self._frames = None
        if interface.what == TRANSFORMS:
            self._frames = frames_of(node, p.layout.of_kind(TF_PREFIX))
            return
        self._camera = cameras_of(p)[interface.source] if interface.what == CAMERA else None
        name = interface.type.split("/")[-1]
        self._kind = next(kind for kind in KINDS if kind.__name__ == name)
        qos = LATCHED if interface.latched else SENSORS
        # Serialised: pictures are decoded by the code that will decode them, and only as many as it needs.
        node.create_subscription(self._kind, interface.name, self._on_message, qos, raw=True)

    def _on_message(self, data: bytes) -> None:
        now = time.monotonic()
        look: dict[str, Callable[[Any], None]] = {
            JOINT_STATES: self._look_at_joints,
            STATE_BLOCK: self._look_at_block,
            DESCRIPTION: self._look_at_text,
        }
        try:
            if self._camera is not None:
                stamp_ns = self._look_at_picture(data)
            else:
                message = deserialize_message(data, self._kind)
                look.get(self.interface.what, lambda m: None)(message)
                stamp_ns = stamp_of(message)
        except ResfitError as error:
            self._refused, self._why = self._refused + 1, self._why or str(error)
            return
        self._arrivals.append(now)
        self._look_at_stamp(stamp_ns)

    def _look_at_joints(self, message: JointState) -> None:
        missing = [n for n in self._params.joint_names if n not in message.name]
        if missing:
            raise ResfitError(f"{len(missing)} joints are missing ({_some(missing)}); it has {_some(message.name)}")
        fields = {"joint_positions": message.position, "joint_velocities": message.velocity}
        fields["joint_efforts"] = message.effort
        used = {"joint_positions", *(b for b in self._params.layout.blocks if b in JOINT_BLOCKS)}
        for block in sorted(used):
            what = block.removeprefix("joint_")
            values = self._order.pick(message.name, from_doubles(fields[block]), what)
            if not np.all(np.isfinite(values)):
                name = self._params.joint_names[int(np.argmin(np.isfinite(values)))]
                raise ResfitError(f"joint '{name}': {what} are not finite")
            if block == "joint_positions":
                self._look_at_positions(values)
        self._note = f"all {len(self._params.joint_names)} joints"

    def _look_at_positions(self, positions: np.ndarray) -> None:
        lower, upper = self._limits.values["lower"], self._limits.values["upper"]
        for name, value, low, high in zip(self._params.joint_names, positions, lower, upper, strict=True):
            if low is not None and high is not None and not low - TRACKING <= value <= high + TRACKING:
                words = f"joint '{name}' is at {value:.4g}, outside its limits {low:g} to {high:g}"
                self._notices.setdefault(name, (words, OUTSIDE))

    def _look_at_block(self, message: Any) -> None:
        block = self.interface.source
        numbers = reader_of(block)[1](message)
        wanted = self._params.layout.size_of(block)
        if len(numbers) != wanted or not np.all(np.isfinite(numbers)):
            raise ResfitError(f"{len(numbers)} numbers, {wanted} finite ones are needed")

    def _look_at_picture(self, data: bytes) -> int:
        p, first = self._params, not self._note
        picture, same = self._camera.take(data, eagerly=first)
        self._same += same
        if first:
            width, height = self._camera.size
            is_raw = p.transports[self.interface.source] == RAW
            self._note = f"{width} x {height} {read_image(data).encoding if is_raw else 'compressed'}"
            if width < p.image_width or height < p.image_height:
                words = f"pictures of {width} x {height} are enlarged to {p.image_width} x {p.image_height}"
                self._notices["size"] = words, "lower image_width and image_height"
        return picture.stamp_ns

    def _look_at_text(self, message: String) -> None:
        self._text = message.data

    def _look_at_stamp(self, stamp_ns: int | None) -> None:
        if stamp_ns is None:
            return
        now_ns = self._node.get_clock().now().nanoseconds
        if not stamp_ns:
            self._unstamped = True
        elif now_ns:  # a simulation's clock is 0 until it has been heard
            self._ages.append((now_ns - stamp_ns) * 1e-9)

    def heard(self) -> Heard:
        """All that was noted until now."""
        if self._frames is not None:
            return self._transforms()
        times = self._arrivals
        simulated = self._node.get_parameter("use_sim_time").value
        if not simulated and self._same == len(times) - 1 and len(times) > 2:
            words = f"all {len(times)} pictures are the same to the last bit"
            self._notices["same"] = words, "a real camera's never are: it counts as frozen; see repeated_pictures"
        return Heard(
            usable=len(times),
            refused=self._refused,
            why_refused=self._why,
            rate_hz=(len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0,
            longest_gap_s=float(max(np.diff([*times, time.monotonic()]))) if times else 0.0,
            stamp_age_s=median(self._ages) if self._ages else None,
            unstamped=self._unstamped,
            note=self._note,
            notices=tuple(self._notices.values()),
            text=self._text,
        )

    def _transforms(self) -> Heard:
        found = [block for block, _, _ in self._frames.news()]
        if why := self._frames.why:
            return Heard(refused=len(why), why_refused="; ".join(f"{block}: {text}" for block, text in why.items()))
        return Heard(usable=len(found), note=", ".join(found))


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "none") + more
