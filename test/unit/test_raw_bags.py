"""Raw robot bags of known signals become episodes with known figures."""

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin

from raw_bag_builder import (
    BEGIN_NS,
    MS,
    commands,
    header,
    joint_state,
    joints,
    make,
    multi_array,
    pictures,
    read,
    robot,
    trajectory,
    write_bag,
)
from resfit_ros.core.types import Outcome
from resfit_ros.data.episode_data import read_episode, write_episode
from resfit_ros.data.raw_bags import raw_episodes
from resfit_ros.data.raw_options import RawOptions

STEPS = 40  # 2 s at 20 Hz
INSTANTS = np.arange(STEPS + 1) * 0.05


def close(found, wanted) -> None:
    np.testing.assert_allclose(found, wanted, atol=2e-6)


@pytest.fixture
def bag(tmp_path):
    return lambda *messages, **options: write_bag(tmp_path / "raw", sum(messages, []), **options)


def test_when_signals_are_known_expect_them_at_every_instant(bag):
    ((data,), report, notes) = read(bag(joints(), commands()))
    close(data.states, np.stack([INSTANTS, -2 * INSTANTS], 1))
    assert data.stamps_ns.tolist() == [BEGIN_NS + k * 50 * MS for k in range(STEPS + 1)]
    # The last command before the next sampling instant: received at 40, 80, 140, 180, 240 ms ...
    last = np.array([((k + 1) * 50 - 1) // 20 * 0.02 for k in range(STEPS)])
    close(data.actions, np.stack([10 + last, 20 + last], 1))
    close(data.bases, data.actions[[*range(STEPS), STEPS - 1]])
    assert data.outcome is Outcome.SUCCESS and not data.missing.any() and not data.phases.any()
    assert (report.steps, report.dropped.total(), notes) == (STEPS, 0, [])


def test_when_read_expect_the_report_to_hold_rates_and_instants(bag):
    _, report, _ = read(bag(joints(), commands()))
    sources = {s.name: s for s in report.sources}
    assert sources["joints"].messages == 201 and sources["joints"].rate_hz == pytest.approx(100.0)
    assert sources["commands"].messages == 101 and sources["commands"].rate_hz == pytest.approx(50.0)
    assert sources["commands"].longest_gap_s == pytest.approx(0.02)
    (episode,) = report.episodes
    assert (episode.first_ns, episode.last_ns) == (BEGIN_NS, BEGIN_NS + 2000 * MS)
    assert report.to_json()["sources"][0]["topics"] == ["/joint_states"]
    assert report.episode_rows() == [("1", "success", "0.000", "2.000", "40", "0", "kept")]


def test_when_joints_come_in_parts_and_any_order_expect_them_by_name(bag):
    parts = joints(names="bx") + [(t, ms + 1, m) for t, ms, m in joints(names="a")]
    ((data,), _, _) = read(bag(parts, commands()))
    # Joint a is heard a millisecond after each instant: at the first not yet, at the others it is 10 ms old.
    close(data.states, np.stack([INSTANTS[1:] - 0.01, -2 * INSTANTS[1:]], 1))


def test_when_receipt_jitters_expect_the_newest_value_at_each_instant(bag):
    rng = np.random.default_rng(4)
    sent = [(t, ms + int(rng.integers(0, 9)), m) for t, ms, m in joints()]
    ((data,), _, _) = read(bag(sent, commands()))
    times = np.array([ms for _, ms, _ in sent])
    for state, at in zip(data.states, data.stamps_ns, strict=True):
        newest = np.flatnonzero(times <= (at - BEGIN_NS) / MS)[-1]
        assert state[0] == pytest.approx(newest * 0.01, abs=2e-6)


def test_when_there_are_cameras_expect_the_newest_picture_resized(bag):
    config = robot(cameras=("wrist",))
    ((data,), report, _) = read(bag(joints(), commands(), pictures()), config)
    (images,) = data.images
    assert images.shape == (STEPS + 1, 8, 8, 3)
    numbers = [(k * 50) // 33 for k in range(STEPS + 1)]
    assert images[:, 0, 0, 0].tolist() == numbers
    assert images[:, 7, 7, 2].tolist() == [7] * (STEPS + 1)
    assert report.sources[1].rate_hz == pytest.approx(1000 / 33)


def test_when_pictures_are_compressed_expect_them_found_and_decoded(bag):
    cv2 = pytest.importorskip("cv2")
    rows = []
    for i, t in enumerate(range(0, 2001, 50)):
        png = cv2.imencode(".png", np.full((16, 16, 3), (1, 2, i), np.uint8))[1].reshape(-1)
        fields = {"format": "rgb8; png compressed bgr8", "data": png}
        message = make("sensor_msgs/msg/CompressedImage", header=header(t), **fields)
        rows.append(("/wrist/image_raw/compressed", t, message))
    ((data,), _, _) = read(bag(joints(), commands(), rows), robot(cameras=("wrist",)))
    assert data.images[0][:, 0, 0, 0].tolist() == list(range(STEPS + 1))


def test_when_the_state_has_other_blocks_expect_them_too(bag):
    def pose(t):
        point = make("geometry_msgs/msg/Point", x=t * 1e-3, y=2.0, z=3.0)
        turn = make("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=-2.0)
        body = make("geometry_msgs/msg/Pose", position=point, orientation=turn)
        return make("geometry_msgs/msg/PoseStamped", header=header(t), pose=body)

    def wrench(t):
        force = make("geometry_msgs/msg/Vector3", x=1.0, y=2.0, z=t * 1e-3)
        both = make("geometry_msgs/msg/Wrench", force=force, torque=force)
        return make("geometry_msgs/msg/WrenchStamped", header=header(t), wrench=both)

    times = range(0, 2001, 10)
    others = [("/cup_pose", t, pose(t)) for t in times] + [("/tool_wrench", t, wrench(t)) for t in times]
    others += [("/hand_array", t, multi_array([t, 1.0])) for t in times]
    config = robot(state=("pose/cup", "joint_positions", "wrench/tool", "array/hand/2"))
    ((data,), _, _) = read(bag(joints(), commands(), others), config)
    t = INSTANTS[-1]
    close(data.states[-1], [t, 2, 3, 0, 0, 0, 1, t, -2 * t, 1, 2, t, 1, 2, t, 2000, 1])


def test_when_topics_have_other_names_expect_them_by_option(bag):
    renamed = [(topic.replace("/joint", "/my/joint"), t, m) for topic, t, m in joints() + commands()]
    given = ("joint_states:=/my/joint_states", "joint_command:=/my/joint_command")
    ((data,), _, _) = read(bag(renamed), topics=given)
    assert len(data) == STEPS


@pytest.mark.parametrize("storage", list(StoragePlugin))
@pytest.mark.parametrize("mode", [None, *list(CompressionMode)[1:]])
def test_when_stored_in_any_way_expect_the_same_episode(bag, storage, mode):
    if mode is CompressionMode.STORAGE and storage is StoragePlugin.SQLITE3:
        pytest.skip("sqlite3 has none of its own")
    extra = {"compression": (mode, CompressionFormat.ZSTD)} if mode else {}
    ((data,), _, _) = read(bag(joints(), commands(), storage=storage, **extra))
    close(data.states, np.stack([INSTANTS, -2 * INSTANTS], 1))
    assert len(data) == STEPS


def test_when_written_as_our_bag_expect_the_same_arrays(bag, tmp_path):
    path = bag(joints(), commands(), pictures())
    config = robot(cameras=("wrist",))
    ((data, about),) = raw_episodes(path, config, RawOptions(outcome="failure"), print)
    back = read_episode(write_episode(tmp_path / "ours", 1, data, about))
    np.testing.assert_array_equal(back.states, data.states)
    np.testing.assert_array_equal(back.actions, data.actions)
    np.testing.assert_array_equal(back.images[0], data.images[0])
    assert (about.joint_names, about.control_hz, about.source) == (("a", "b"), 20.0, "raw bag raw")
    assert (about.camera_names, about.image_size) == (("wrist",), (8, 8))


# -- actions --------------------------------------------------------------------------------


def test_when_trajectories_are_sent_expect_the_point_at_the_end_of_the_period(bag):
    path = trajectory(25, "ba", {0.2: [2.0, 1.0], 0.4: [4.0, 1.0]})
    ((data,), _, _) = read(bag(joints(), [("/joint_command", 25, path)]), max_command_age_s=5.0)
    # It sets out at 25 ms from where the joints are: a at 0.02, b at -0.04.
    at = 0.025
    close(data.actions[0], [0.02 + (1 - 0.02) * at / 0.2, -0.04 + (2 + 0.04) * at / 0.2])
    close(data.actions[1, 1], -0.04 + 2.04 * 0.075 / 0.2)
    close(data.actions[6], [1.0, 2.0 + 2.0 * (0.325 - 0.2) / 0.2])
    close(data.actions[8:], np.tile([1.0, 4.0], (len(data) - 8, 1)))


def test_when_a_trajectory_is_for_some_joints_expect_the_others_to_stay(bag):
    first = ("/joint_command", 0, joint_state(0, "ab", [5.0, 6.0]))
    later = ("/gripper", 500, trajectory(500, "b", {0.1: [9.0]}))
    given = ("joint_command:=/joint_command", "joint_command:=/gripper")
    ((data,), _, _) = read(bag(joints(), [first, later]), topics=given, max_command_age_s=5.0)
    close(data.actions[9], [5.0, 6.0])
    close(data.actions[10], [5.0, 7.5])
    close(data.actions[11:], np.tile([5.0, 9.0], (STEPS - 11, 1)))


def test_when_no_command_has_named_a_joint_expect_it_where_it_was(bag):
    told = ("/joint_command", 105, joint_state(105, "a", [5.0]))
    ((data,), _, _) = read(bag(joints(), [told]), max_command_age_s=5.0)
    # Joint b was measured at -2 x 0.1 when the command came.
    close(data.actions, np.tile([5.0, -0.2], (len(data), 1)))
    assert len(data) == STEPS - 2


def test_when_commands_pause_expect_them_held_and_then_their_steps_dropped(bag):
    pause = commands(last_ms=500) + commands(first_ms=1500)
    ((data,), report, notes) = read(bag(joints(), pause), max_command_age_s=0.2)
    # The command of 500 ms holds until 700 ms: the steps that end at 750 to 1500 ms are dropped.
    why = "the newest command ended more than 0.2 s ago"
    assert report.dropped == {why: 16}
    assert data.missing.tolist() == [False] * 14 + [True] + [False] * 10
    close(data.actions[10:14, 0], 10.5)
    close(np.diff(data.stamps_ns[13:17]) / MS, [50, 800, 50])
    assert notes == [f"{report.bag}: 16 of 40 steps dropped: 16: {why}"]


def test_when_a_command_comes_late_expect_the_steps_before_it_dropped(bag):
    ((data,), report, _) = read(bag(joints(), commands(first_ms=300)))
    assert report.dropped == {"no command has come yet": 6}
    assert data.stamps_ns[0] == BEGIN_NS + 300 * MS and len(data) == STEPS - 6


def test_when_commands_are_bad_expect_them_refused_and_the_rest_kept(bag):
    rows = {1003: [float("nan"), 0.0], 1005: [1.0]}
    bad = [("/joint_command", t, multi_array(values)) for t, values in rows.items()]
    ((data,), report, notes) = read(bag(joints(), commands(), bad))
    assert len(data) == STEPS and np.all(np.isfinite(data.actions))
    refused = report.sources[-1].refused
    assert refused == {"command holds NaN or Inf": 1, "command has 1 values, expected 2": 1}
    assert f"{report.bag}: commands: 1 of 103 messages refused: command holds NaN or Inf" in notes
