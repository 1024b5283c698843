"""Raw bags that are damaged, or of another robot than was said."""

import sqlite3

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_typestore

from raw_bag_builder import (
    BEGIN_NS,
    MS,
    commands,
    joint_state,
    joints,
    make,
    multi_array,
    pictures,
    read,
    robot,
    stamp,
    write_bag,
)
from resfit_ros.core.errors import ConfigError, DataError

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_CHUNKS = (CompressionMode.STORAGE, CompressionFormat.ZSTD)
CAMERA = robot(cameras=("wrist",))


@pytest.fixture
def bag(tmp_path):
    return lambda messages, **options: write_bag(tmp_path / "raw", messages, **options)


def refused(path, config=None, **options) -> str:
    with pytest.raises(DataError) as caught:
        read(path, config, **options)
    return str(caught.value)


def test_when_a_topic_is_missing_expect_those_there_and_the_nearest(bag):
    said = refused(bag(joints() + commands() + pictures(name="wrists")), CAMERA)
    assert "no topic /wrist/image_raw for camera 'wrist'" in said
    assert "/joint_states (sensor_msgs/msg/JointState)" in said
    assert "did you mean '/wrists/image_raw'?; give it with --topic wrist/image_raw:=TOPIC" in said


def test_when_a_topic_has_another_type_expect_both(bag):
    said = refused(bag([("/joint_states", t, m) for _, t, m in commands()] + commands()))
    assert "/joint_states for the joint states is of type std_msgs/msg/Float64MultiArray" in said
    assert "expected sensor_msgs/msg/JointState" in said


def test_when_an_option_names_what_there_is_not_expect_the_nearest(bag):
    with pytest.raises(ConfigError, match="'joint_comand': no such name in robot.yaml; did you mean 'joint"):
        read(bag(joints() + commands()), topics=("joint_comand:=/x",))


def test_when_joints_have_other_names_expect_them_named(bag):
    said = refused(bag(joints(names="xy") + commands()))
    assert "the joint state lacks joint 'a'" in said and "(joint states name x, y)" in said


def test_when_one_joint_is_missing_expect_it_and_those_there(bag):
    said = refused(bag(joints(names="ax") + commands()))
    assert "the joint state lacks joint 'b'" in said and "(joint states name a, x)" in said


def test_when_velocities_are_missing_expect_that_said(bag):
    said = refused(bag(joints() + commands()), robot(state=("joint_positions", "joint_velocities")))
    assert "joint state has 2 names but 0 velocities" in said


def test_when_a_frame_is_asked_for_expect_it_refused(bag):
    with pytest.raises(ConfigError, match="block 'tf/base/tool' cannot be made of a raw bag"):
        read(bag(joints() + commands()), robot(state=("tf/base/tool",)))


def test_when_joints_hold_nan_expect_those_messages_refused_and_the_rest_kept(bag):
    rows = joints()
    for topic, t, message in rows[100:103]:
        message.position[1] = np.nan
    ((data,), report, _) = read(bag(rows + commands()))
    assert np.all(np.isfinite(data.states)) and len(data) == 40
    assert data.states[20, 0] == pytest.approx(0.99)  # at 1 s: the value of before
    assert report.sources[0].refused == {"joint_positions holds NaN or Inf": 3}


def test_when_a_camera_falls_silent_expect_its_steps_dropped_and_counted(bag):
    rows = [m for m in pictures() if not 800 < m[1] < 1400]
    ((data,), report, notes) = read(bag(joints() + commands() + rows), CAMERA)
    why = "camera 'wrist' is silent for more than 0.2 s"
    # Last picture 792 ms: from 1000 ms on there is none that is fresh, until five new ones have come.
    assert list(report.dropped) == [why] and data.missing.sum() == 1
    assert report.sources[1].stale_stretches == 1
    assert report.steps + report.dropped[why] == 40
    assert (data.stamps_ns[data.missing.argmax()] - BEGIN_NS) / MS == 950


def test_when_a_picture_repeats_expect_it_to_count_as_not_sent(bag):
    rows = pictures()
    frozen = [(t, ms, rows[10][2] if ms > 330 else m) for t, ms, m in rows]
    for _, ms, message in frozen:
        message.header.stamp = stamp(ms)
    frozen = [(t, ms, make_again(m, ms)) for t, ms, m in frozen]
    (_, report, _) = read(bag(joints() + commands() + frozen), CAMERA)
    repeats = len([ms for _, ms, _ in rows if ms > 330])
    assert report.sources[1].refused == {"repeats the picture before": repeats}
    assert report.steps == 10


def make_again(message, ms):
    fields = ("height", "width", "encoding", "is_bigendian", "step", "data")
    header = make("std_msgs/msg/Header", stamp=stamp(ms), frame_id="")
    return make("sensor_msgs/msg/Image", header=header, **{f: getattr(message, f) for f in fields})


def test_when_stamps_are_of_another_clock_expect_advice_and_the_option_to_help(bag):
    rows = joints()
    for _, ms, message in rows:
        message.header.stamp = stamp(ms + 5000)
    path = bag(rows + commands())
    said = refused(path)
    assert "stamped in the future" in said and "use --ignore-stamps" in said
    ((data,), _, _) = read(path, ignore_stamps=True)
    assert len(data) == 40


def test_when_a_simulations_clock_is_recorded_expect_stamps_measured_by_it(bag):
    rows = joints()
    for _, ms, message in rows:
        message.header.stamp = stamp(ms - 10**9)
    times = range(0, 2001, 10)
    clock = [("/clock", ms, make("rosgraph_msgs/msg/Clock", clock=stamp(ms - 10**9))) for ms in times]
    ((data,), report, _) = read(bag(clock + rows + commands()))
    assert len(data) == 40 and report.sources[0].refused == {}


def test_when_an_mcap_file_is_cut_expect_its_first_part_used(bag):
    path = bag(joints(20_000) + commands(20_000) + pictures(20_000))
    (file,) = path.glob("*.mcap")
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size * 6 // 10)
    ((data,), report, notes) = read(path, CAMERA)
    assert 200 < len(data) < 260 and not data.missing.any()
    assert any("cut short" in n and "what came before is used" in n for n in notes)
    np.testing.assert_allclose(data.states[:, 0], np.arange(len(data) + 1) * 0.05, atol=1e-5)


def test_when_the_recorder_was_killed_before_its_metadata_expect_the_file_read(bag):
    path = bag(joints() + commands())
    (path / "metadata.yaml").unlink()
    (file,) = path.glob("*.mcap")
    file.rename(path / "raw_0.mcap")
    assert len(read(path)[0][0]) == 40
    assert len(read(path / "raw_0.mcap")[0][0]) == 40


def test_when_a_chunk_is_damaged_expect_the_others_used(bag):
    rng = np.random.default_rng(0)
    noisy = pictures(10_000)
    for _, _, message in noisy:
        message.data = rng.integers(0, 255, len(message.data) * 20, np.uint8)
        message.height *= 20
    path = bag(joints(10_000) + commands(10_000) + noisy, compression=ZSTD_CHUNKS)
    (file,) = path.glob("*.mcap")
    parts = file.read_bytes().split(ZSTD_MAGIC)
    assert len(parts) > 4
    file.write_bytes(ZSTD_MAGIC.join(parts[:3]) + bytes(4) + ZSTD_MAGIC.join(parts[3:]))
    ((data,), _, notes) = read(path, CAMERA)
    assert any("1 damaged chunks are left out" in n for n in notes)
    assert data.missing.sum() == 1 and data.stamps_ns[-1] == BEGIN_NS + 10_000 * MS


def test_when_the_bag_is_empty_expect_it_refused(bag, tmp_path):
    assert "has no messages" in refused(bag([])) or "nothing can be read" in refused(tmp_path / "raw")
    (tmp_path / "nothing").mkdir()
    assert "holds no bags" in refused(tmp_path / "nothing")
    assert "no such bag" in refused(tmp_path / "none")
    (tmp_path / "zero.mcap").touch()
    assert "nothing can be read of it" in refused(tmp_path / "zero.mcap")
    (tmp_path / "text.txt").touch()
    assert "not a bag" in refused(tmp_path / "text.txt")


def test_when_messages_are_garbage_expect_them_refused_and_the_rest_kept(tmp_path):
    path = write_bag(tmp_path / "raw", joints() + commands(), storage=StoragePlugin.SQLITE3)
    (file,) = path.glob("*.db3")
    with sqlite3.connect(file) as db:
        db.execute("update messages set data = x'0001000002' where timestamp % 100000000 = 30000000")
    ((data,), report, _) = read(path)
    assert len(data) == 40
    assert sum(report.sources[0].refused.values()) == 20


def test_when_a_database_is_cut_expect_a_sentence(bag):
    path = bag(joints() + commands(), storage=StoragePlugin.SQLITE3)
    (file,) = path.glob("*.db3")
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2)
    assert str(file.parent) in refused(path)


def test_when_the_clock_was_set_over_days_expect_it_refused(bag):
    late = ("/joint_command", 10**9, multi_array([1, 2]))
    assert "spans 12 days; the clock was set" in refused(bag([*joints(), late]))


def test_when_the_bag_is_of_ros_1_expect_the_same_episode(tmp_path):
    store = get_typestore(Stores.ROS1_NOETIC)
    types = store.types

    def old(t, message):
        time = types["builtin_interfaces/msg/Time"](sec=stamp(t).sec, nanosec=stamp(t).nanosec)
        header = types["std_msgs/msg/Header"](seq=7, stamp=time, frame_id="x")
        fields = {f: getattr(message, f) for f in ("name", "position", "velocity", "effort")}
        return types["sensor_msgs/msg/JointState"](header=header, **fields)

    path, times = tmp_path / "raw.bag", range(0, 2001, 20)
    told = [(t, joint_state(t, "ab", [10 + t * 1e-3, 20])) for t in times]
    kind = "sensor_msgs/msg/JointState"
    with Ros1Writer(path) as writer:
        names = ("/joint_states", "/joint_command")
        topics = {name: writer.add_connection(name, kind, typestore=store) for name in names}
        rows = [("/joint_states", t, m) for _, t, m in joints()] + [("/joint_command", t, m) for t, m in told]
        for topic, t, message in sorted(rows, key=lambda m: m[1]):
            writer.write(topics[topic], BEGIN_NS + t * MS, store.serialize_ros1(old(t, message), kind))
    ((data,), _, _) = read(path)
    np.testing.assert_allclose(data.states[:, 0], np.arange(41) * 0.05, atol=1e-6)
    assert data.actions[0].tolist() == pytest.approx([10.04, 20.0])


def test_when_the_first_chunk_is_damaged_expect_the_others_used_by_the_index(bag):
    rows = pictures(10_000)
    rng = np.random.default_rng(0)
    for _, _, message in rows:
        message.data = rng.integers(0, 255, len(message.data) * 20, np.uint8)
        message.height *= 20
    path = bag(joints(10_000) + commands(10_000) + rows, compression=ZSTD_CHUNKS)
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes().replace(ZSTD_MAGIC, bytes(4), 1))
    ((data,), _, _) = read(path, CAMERA)
    assert data.stamps_ns[0] > BEGIN_NS and data.stamps_ns[-1] >= BEGIN_NS + 9_950 * MS


def test_when_a_database_has_a_log_beside_it_expect_that_said(bag):
    path = bag(joints() + commands(), storage=StoragePlugin.SQLITE3)
    (file,) = path.glob("*.db3")
    file.with_name(f"{file.name}-wal").write_bytes(b"x")
    assert any("its messages are not read" in note for note in read(path)[2])
