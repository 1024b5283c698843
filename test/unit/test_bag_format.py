"""Our bags as others see them: the MCAP library, rosbags, rosbag2's metadata."""

import numpy as np
import pytest
import yaml
from builders import episode_messages
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability
from serialised import serialise

from resfit_ros.core.types import EpisodeStarted
from resfit_ros.data.bag_metadata import OFFERED
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.interfaces import EPISODE_TOPICS, type_name, typestore

TOPICS = {f"/left/{topic}": type_name(message) for topic, message in EPISODE_TOPICS.items()}
GIVEN = [
    serialise(value)
    for value in (
        EpisodeStarted(10**9, 1),
        *episode_messages(np.random.default_rng(0), 20, image_shape=(40, 60, 3)),
    )
]
FIRST_NS = 10**18


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    opened = EpisodeBag(tmp_path_factory.mktemp("bags"), 1, "/left", {"resfit.source": '"robot"'})
    for number, (topic, raw) in enumerate(GIVEN):
        opened.write(topic, FIRST_NS + number, raw)
        if number == 30:
            opened.sync()  # chunks of one message follow
    return opened.close({"outcome": "success"})


@pytest.fixture
def summary(bag):
    reader = pytest.importorskip("mcap.reader", reason="the MCAP library is not installed; pip install mcap")
    (file,) = bag.glob("*.mcap")
    with file.open("rb") as opened:
        made = reader.make_reader(opened, validate_crcs=True)
        yield made, made.get_summary()


def test_when_the_mcap_library_reads_expect_every_message_with_checksums_right(summary):
    reader, _ = summary
    read = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
    assert read == [(f"/left/{topic}", FIRST_NS + n, raw) for n, (topic, raw) in enumerate(GIVEN)]


def test_when_the_mcap_library_seeks_expect_the_indices_right(summary):
    reader, _ = summary
    begin, end = FIRST_NS + 40, FIRST_NS + 47
    found = [m.data for _, _, m in reader.iter_messages(starting_at=begin, ending_before=end)]
    assert found == [raw for _, raw in GIVEN[40:47]]
    actions = [m.data for _, _, m in reader.iter_messages(topics=["/left/action"], reverse=True)]
    assert actions == [raw for topic, raw in GIVEN if topic == "action"][::-1]


def test_when_opened_expect_what_foxglove_asks_for(summary):
    reader, found = summary
    assert reader.get_header().profile == "ros2"
    assert {c.topic: found.schemas[c.schema_id].name for c in found.channels.values()} == TOPICS
    assert {c.message_encoding for c in found.channels.values()} == {"cdr"}
    assert {s.encoding for s in found.schemas.values()} == {"ros2msg"}
    text = next(s.data.decode() for s in found.schemas.values() if s.name == TOPICS["/left/observation"])
    assert "MSG: sensor_msgs/Image" in text and "float32[] state" in text


def test_when_opened_expect_statistics_and_indices_of_every_chunk(summary):
    _, found = summary
    counts = {found.channels[i].topic: n for i, n in found.statistics.channel_message_counts.items()}
    assert counts == {t: sum(f"/left/{g}" == t for g, _ in GIVEN) for t in TOPICS}
    assert found.statistics.message_count == len(GIVEN)
    assert found.statistics.chunk_count == len(found.chunk_indexes) > 30
    assert found.statistics.message_start_time == FIRST_NS
    last_ns = FIRST_NS + len(GIVEN) - 1
    assert all(c.message_start_time <= c.message_end_time <= last_ns for c in found.chunk_indexes)
    assert [m.name for m in found.metadata_indexes] == ["rosbag2"]


def test_when_opened_expect_the_quality_of_service_as_jazzy_writes_it(summary):
    _, found = summary
    for channel in found.channels.values():
        (qos,) = yaml.safe_load(channel.metadata["offered_qos_profiles"])
        kinds = tuple(qos[name] for name in ("history", "reliability", "durability"))
        assert kinds == ("keep_last", "reliable", "volatile")
        assert qos["deadline"] == {"sec": 9223372036, "nsec": 854775807}
        assert set(qos) == {
            "history",
            "depth",
            "reliability",
            "durability",
            "deadline",
            "lifespan",
            "liveliness",
            "liveliness_lease_duration",
            "avoid_ros_namespace_conventions",
        }
        kind = found.schemas[channel.schema_id].name
        assert channel.metadata["topic_type_hash"] == typestore().hash_rihs01(kind)


def test_when_offered_expect_what_the_graph_asks_for():
    qos = pytest.importorskip("resfit_ros.ros.qos")
    for asked in (qos.STEPS, qos.EPISODES):
        assert (asked.reliability.name, asked.durability.name) == ("RELIABLE", "VOLATILE")
        assert OFFERED.depth == asked.depth
    assert (OFFERED.reliability, OFFERED.durability) == (QosReliability.RELIABLE, QosDurability.VOLATILE)


def test_when_rosbags_reads_expect_every_message_and_our_quality_of_service(bag):
    with AnyReader([bag]) as reader:
        assert {c.topic: c.msgtype for c in reader.connections} == TOPICS
        assert all(c.ext.offered_qos_profiles == [OFFERED] for c in reader.connections)
        assert [raw for _, _, raw in reader.messages()] == [raw for _, raw in GIVEN]
        for connection, _, raw in reader.messages():
            reader.deserialize(raw, connection.msgtype)


def test_when_closed_expect_metadata_in_the_file_and_beside_it_alike(bag, summary):
    reader, _ = summary
    (kept,) = [m for m in reader.iter_metadata() if m.name == "rosbag2"]
    beside = yaml.safe_load((bag / "metadata.yaml").read_text())["rosbag2_bagfile_information"]
    assert yaml.safe_load(kept.metadata["serialized_metadata"]) == beside
    assert beside["custom_data"] == {"resfit.source": '"robot"', "outcome": "success"}
    assert (beside["version"], beside["storage_identifier"]) == (9, "mcap")
    assert beside["relative_file_paths"] == [file.name for file in bag.glob("*.mcap")]
    assert beside["starting_time"] == {"nanoseconds_since_epoch": FIRST_NS}
    assert beside["duration"] == {"nanoseconds": len(GIVEN) - 1}
