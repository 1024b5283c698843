"""What rosbag2 keeps of a bag beside its messages: metadata.yaml and each topic's quality of service."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

BAG_VERSION = 9  # rosbag2 of Jazzy
_FOR_EVER = QosTime(9223372036, 854775807)  # as rosbag2 writes an infinite duration
# What the nodes offer on these topics (STEPS in ros/qos.py): `ros2 bag play` then offers the same, and
# every subscription of the graph takes it. Not latched: an old boundary of an episode is not a new one.
OFFERED = Qos(
    history=QosHistory.KEEP_LAST,
    depth=256,
    reliability=QosReliability.RELIABLE,
    durability=QosDurability.VOLATILE,
    deadline=_FOR_EVER,
    lifespan=_FOR_EVER,
    liveliness=QosLiveliness.AUTOMATIC,
    liveliness_lease_duration=_FOR_EVER,
    avoid_ros_namespace_conventions=False,
)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """libyaml where it is there: a recorder that closes a bag hears nothing meanwhile."""

    def ignore_aliases(self, data: Any) -> bool:
        return True  # equal parts are written out


def as_yaml(value: Any) -> str:
    """Block style, keys in the order given."""
    style = {"sort_keys": False, "default_flow_style": False, "allow_unicode": True, "width": 1 << 20}
    return yaml.dump(value, Dumper=_Dumper, **style)


def _duration(value: QosTime) -> dict[str, int]:
    return {"sec": value.sec, "nsec": value.nsec}


def qos_entries(profiles: Sequence[Qos]) -> list[dict[str, Any]]:
    """Quality of service as rosbag2 writes it from version 9 on."""
    return [
        {
            "history": qos.history.name.lower(),
            "depth": qos.depth,
            "reliability": qos.reliability.name.lower(),
            "durability": qos.durability.name.lower(),
            "deadline": _duration(qos.deadline),
            "lifespan": _duration(qos.lifespan),
            "liveliness": qos.liveliness.name.lower(),
            "liveliness_lease_duration": _duration(qos.liveliness_lease_duration),
            "avoid_ros_namespace_conventions": qos.avoid_ros_namespace_conventions,
        }
        for qos in profiles
    ]


def information(
    file_name: str,
    connections: Sequence[Connection],
    counts: Mapping[int, int],
    first_ns: int,
    last_ns: int,
    custom: Mapping[str, str],
) -> dict[str, Any]:
    """The part `rosbag2_bagfile_information` of metadata.yaml for a bag of one MCAP file.

    counts: connection id to number of messages; first_ns, last_ns: when they were received.
    """
    messages = sum(counts.values())
    begin = {"nanoseconds_since_epoch": first_ns if messages else 0}
    duration = {"nanoseconds": last_ns - first_ns if messages else 0}
    return {
        "version": BAG_VERSION,
        "storage_identifier": "mcap",
        "duration": duration,
        "starting_time": begin,
        "message_count": messages,
        "topics_with_message_count": [
            {
                "topic_metadata": {
                    "name": connection.topic,
                    "type": connection.msgtype,
                    "serialization_format": connection.ext.serialization_format,
                    "offered_qos_profiles": qos_entries(connection.ext.offered_qos_profiles),
                    "type_description_hash": connection.digest,
                },
                "message_count": counts[connection.id],
            }
            for connection in connections
        ],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file_name],
        "files": [
            {"path": file_name, "starting_time": begin, "duration": duration, "message_count": messages}
        ],
        "custom_data": dict(custom) or None,
        "ros_distro": "jazzy",
    }
