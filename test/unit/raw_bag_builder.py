"""Bags as a robot's own recorder writes them, of signals that are known at every instant."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer

from resfit_ros.bringup import RunConfig
from resfit_ros.data.interfaces import typestore
from resfit_ros.data.raw_bags import raw_episodes
from resfit_ros.data.raw_options import RawOptions

BEGIN_NS = 1_700_000_000_000_000_000
MS = 1_000_000
Message = tuple[str, int, object]  # topic, ms after the begin, message
HZ = 20.0


def make(kind: str, **fields):
    return typestore().types[kind](**fields)


def stamp(ms: float):
    ns = BEGIN_NS + round(ms * MS)
    return make("builtin_interfaces/msg/Time", sec=ns // 10**9, nanosec=ns % 10**9)


def header(ms: float):
    return make("std_msgs/msg/Header", stamp=stamp(ms), frame_id="")


def doubles(values) -> np.ndarray:
    return np.array(values, np.float64)


def joint_state(ms: float, names: Iterable[str], positions, velocities=()):
    fields = {"position": doubles(positions), "velocity": doubles(velocities), "effort": doubles(())}
    return make("sensor_msgs/msg/JointState", header=header(ms), name=list(names), **fields)


def trajectory(ms: float, names: Iterable[str], points: dict[float, list[float]]):
    """points: seconds from start to positions."""
    none = doubles(())
    rows = [
        make(
            "trajectory_msgs/msg/JointTrajectoryPoint",
            positions=doubles(positions),
            velocities=none,
            accelerations=none,
            effort=none,
            time_from_start=make("builtin_interfaces/msg/Duration", sec=int(s), nanosec=round(s % 1 * 1e9)),
        )
        for s, positions in points.items()
    ]
    kind = "trajectory_msgs/msg/JointTrajectory"
    return make(kind, header=header(ms), joint_names=list(names), points=rows)


def multi_array(values):
    layout = make("std_msgs/msg/MultiArrayLayout", dim=[], data_offset=0)
    return make("std_msgs/msg/Float64MultiArray", layout=layout, data=doubles(values))


def image(ms: float, pixels: np.ndarray):
    rows, columns, _ = pixels.shape
    fields = {"height": rows, "width": columns, "encoding": "rgb8", "is_bigendian": 0, "step": 3 * columns}
    return make("sensor_msgs/msg/Image", header=header(ms), data=pixels.reshape(-1), **fields)


def of_std(kind: str, value):
    return make(f"std_msgs/msg/{kind}", data=value)


# Joint a is at t, joint b at -2 t [s]; both are told to be at 10 + t and 20 + t.
def joints(last_ms: int = 2000, every_ms: int = 10, names: str = "ab") -> list[Message]:
    value = {"a": 1e-3, "b": -2e-3}
    times = range(0, last_ms + 1, every_ms)
    return [
        ("/joint_states", t, joint_state(t, names, [value.get(n, 0.0) * t for n in names])) for t in times
    ]


def commands(last_ms: int = 2000, every_ms: int = 20, first_ms: int = 0) -> list[Message]:
    times = range(first_ms, last_ms + 1, every_ms)
    return [("/joint_command", t, multi_array([10 + t * 1e-3, 20 + t * 1e-3])) for t in times]


def pictures(
    last_ms: int = 2000, every_ms: int = 33, first_ms: int = 0, name: str = "wrist"
) -> list[Message]:
    """Each one colour: red and green the number of 33 ms periods, in base 200."""
    rows = []
    for t in range(first_ms, last_ms + 1, every_ms):
        pixels = np.full((16, 16, 3), 7, np.uint8)
        pixels[..., 0], pixels[..., 1] = t // every_ms % 200, t // every_ms // 200
        rows.append((f"/{name}/image_raw", t, image(t, pixels)))
    return rows


def write_bag(
    path: Path, messages: Iterable[Message], storage: StoragePlugin = StoragePlugin.MCAP, compression=None
) -> Path:
    """Messages in the order of their instants of receipt. compression: (mode, format)."""
    writer = Writer(path, version=9, storage_plugin=storage)
    if compression:
        writer.set_compression(*compression)
    connections = {}
    with writer:
        for topic, ms, message in sorted(messages, key=lambda m: m[1]):
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=typestore())
            raw = typestore().serialize_cdr(message, kind)
            writer.write(connections[topic], BEGIN_NS + round(ms * MS), raw)
    return path


def robot(state=("joint_positions",), cameras=(), **aggregator) -> RunConfig:
    """A robot of joints a and b, observed at 20 Hz."""
    small = {"image_width": 8, "image_height": 8} if cameras else {}
    section = {"camera_names": list(cameras), **small, **aggregator}
    values = {"joint_names": ["a", "b"], "state": list(state), "control_hz": HZ}
    return RunConfig(Path("robot.yaml"), {"robot": values, "aggregator": section})


def read(path: Path, config: RunConfig | None = None, **options):
    """(episodes, report, notes) of a bag, as a success unless the options say how it ended."""
    if not {"outcome", "success_topic", "labels", "episode_topic"} & set(options):
        options["outcome"] = "success"
    notes, reports = [], []
    found = raw_episodes(path, config or robot(), RawOptions(**options), notes.append, reports.append)
    episodes = [data for data, _ in found]
    return episodes, reports[-1], notes
