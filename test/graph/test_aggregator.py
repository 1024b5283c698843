"""The aggregator alone between sensors that fail in every way and a residual that answers at once."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from geometry_msgs.msg import WrenchStamped
from rclpy.serialization import serialize_message
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float64MultiArray

from resfit_ros.bringup import NodeSpec
from resfit_ros.msg import ExecutedAction, Hold
from resfit_ros.ros.convert import image_to_msg, to_ns, to_time
from resfit_ros.ros.qos import SENSORS
from sensor_rig import Rig, joint_state, noise

SIZE = 16
BASE = {"timing": "realtime", "joint_names": ["a", "b"], "image_width": SIZE, "image_height": SIZE}
JOINTS = {**BASE, "state": ["joint_positions"]}
# A shared machine may stop the publishing process for longer than a camera may be silent.
PATIENT = {"max_source_age_s": 1.0}
WRIST = {**JOINTS, **PATIENT, "camera_names": ["wrist"]}


@pytest.fixture
def rig(start):
    """Starts the aggregator with these parameters."""

    def run(parameters: dict, **options) -> Rig:
        return Rig(start((NodeSpec("aggregator", parameters),), whole=False), **options)

    return run


def test_when_sensors_are_of_every_kind_expect_one_observation_of_them_all(rig):
    cv2 = pytest.importorskip("cv2")
    rig = rig(
        {
            **BASE,
            **PATIENT,
            "state": ["wrench/tool", "joint_positions", "array/hand/2"],
            "camera_names": ["wrist", "front", "depth"],
            "camera_transports": ["raw", "compressed", "raw"],
            "camera_crops": [8, 0, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
        }
    )
    rig.source("joint_states", JointState, alternating(rig))
    picture = noise()
    spot = iter(range(10**6))

    def bgr(stamp_ns):
        picture[31, 31] = next(spot) % 256  # outside the crop: no two messages are the same
        message = image_to_msg(np.ascontiguousarray(picture[:, :, ::-1]), stamp_ns)
        message.encoding = "bgr8"
        return message

    def png(stamp_ns):
        pixels = np.full((SIZE, SIZE, 3), (10, 20, 30), np.uint8)
        data = cv2.imencode(".png", pixels)[1].tobytes() + next(spot).to_bytes(4, "little")
        message = CompressedImage(format="bgr8; png compressed", data=data)
        message.header.stamp = to_time(stamp_ns)
        return message

    def depth(stamp_ns):
        pixels = np.full((SIZE, SIZE), 1000, np.uint16)
        pixels[0, 0] = next(spot) % 5000
        message = image_to_msg(pixels.view(np.uint8).reshape(SIZE, SIZE, 2), stamp_ns)
        message.encoding = "16UC1"
        return message

    def wrench(stamp_ns):
        message = WrenchStamped()
        message.header.stamp = to_time(stamp_ns)
        message.wrench.force.z, message.wrench.torque.x = -9.0, 0.5
        return message

    rig.camera(bgr)
    rig.source("front/image_raw/compressed", CompressedImage, png)
    rig.camera(depth, "depth")
    rig.source("tool_wrench", WrenchStamped, wrench)
    rig.source("hand_array", Float64MultiArray, lambda _: Float64MultiArray(data=[0.25, 0.75]))
    rig.begin()
    seen = rig.observations[-1]
    assert list(seen.state) == [0, 0, -9, 0.5, 0, 0, 97, 98, 0.25, 0.75]
    wrist, front, depth_image = (np.array(i.data).reshape(SIZE, SIZE, 3) for i in seen.images)
    np.testing.assert_array_equal(wrist, picture[:16, 8:24])
    assert front[5, 5].tolist() == [30, 20, 10]
    assert depth_image[5, 5].tolist() == [127] * 3
    assert len(seen.source_ages_s) == 6


def alternating(rig: Rig) -> Callable[[int], JointState]:
    """Joint states of two publishers in turn, as if on one topic."""
    return lambda stamp_ns: joint_state(("xb", "ay")[rig.sent["joint_states"] % 2], stamp_ns)


def test_when_the_node_starts_expect_what_its_predecessor_held_released(rig):
    rig = rig(JOINTS)
    rig.probe.wait(lambda: rig.holds(Hold.REQUEST_RELEASE), 10.0)
    assert rig.holds() == []


@pytest.mark.parametrize("fault", ["silent", "same stamp", "same picture"])
def test_when_a_camera_drops_out_or_freezes_expect_hold_until_five_new_pictures(rig, fault):
    rig = rig(WRIST)
    rig.joints()
    rig.camera()
    rig.begin()
    frozen, at = noise(), rig.now_ns()
    rig.camera(
        {
            "silent": lambda stamp_ns: None,
            "same stamp": lambda stamp_ns: image_to_msg(noise(), at),
            "same picture": lambda stamp_ns: image_to_msg(frozen, stamp_ns),
        }[fault]
    )
    hold = rig.held("camera 'wrist'")
    assert hold.reasons == ExecutedAction.REASON_STALE_SENSOR
    assert hold.source_id == "/resfit/aggregator"
    count = len(rig.observations)
    rig.probe.spin(0.3)
    assert len(rig.observations) == count
    rig.camera(lambda stamp_ns: image_to_msg(noise(), stamp_ns) if rig.sent["wrist/image_raw"] < 4 else None)
    rig.probe.spin(0.3)
    assert rig.probe.seen["hold_request"][-1].request == Hold.REQUEST_HOLD
    rig.camera()
    rig.released()


@pytest.mark.parametrize("offset_ns", [None, 10**9])
def test_when_stamps_are_zero_or_in_the_future_expect_them_counted_and_hold(rig, offset_ns):
    rig = rig(WRIST)
    rig.joints()
    rig.camera()
    rig.begin()
    rig.camera(lambda stamp_ns: image_to_msg(noise(), 0 if offset_ns is None else stamp_ns + offset_ns))
    word = "stamped zero" if offset_ns is None else "stamped in the future"
    assert word in rig.held("camera 'wrist'").why
    rig.probe.wait(lambda: int(rig.diagnosed("values refused")) >= 20, 10.0)
    rig.camera()
    rig.released()


def test_when_a_camera_changes_its_size_expect_hold_naming_both_until_it_is_back(rig):
    rig = rig(WRIST)
    rig.joints()
    rig.camera()
    rig.begin()
    rig.camera(lambda stamp_ns: image_to_msg(noise(24, 48), stamp_ns))
    assert "camera 'wrist' is refused: pictures are 48 x 24 px now, but were 32 x 32" in rig.held("48 x 24").why
    rig.camera()
    rig.released()


def test_when_1000_malformed_messages_come_expect_the_node_alive(rig):
    rig = rig(WRIST)
    rig.joints()
    rig.camera()
    rig.begin()
    good = serialize_message(image_to_msg(noise(), rig.now_ns()))
    random = np.random.default_rng(0)

    def broken() -> bytes:
        data = bytearray(good[: random.integers(0, len(good))])
        for _ in range(8):
            if len(data) > 60:
                data[random.integers(4, 60)] = random.integers(0, 256)
        return bytes(data)

    publisher = rig.probe.node.create_publisher(Image, "wrist/image_raw", SENSORS)
    states = rig.probe.node.create_publisher(JointState, "joint_states", SENSORS)
    odd = [
        JointState(name=["a", "b"], position=[1.0]),
        JointState(name=["a", "b"], position=[float("nan")] * 2),
        JointState(name=["a", "a"], position=[1.0, 2.0]),
        JointState(),
    ]
    for i in range(1000):
        publisher.publish(broken())
        odd[i % 4].header.stamp = to_time(rig.now_ns())
        states.publish(odd[i % 4])
        rig.probe.executor.spin_once(timeout_sec=0.001)
    rig.released() if rig.holds() else None
    count = len(rig.observations)
    rig.probe.wait(lambda: len(rig.observations) > count + 3, 10.0)
    assert list(rig.observations[-1].state) == [97, 98]


@pytest.mark.parametrize("jump_s", [10, -10])
def test_when_the_ros_clock_jumps_expect_hold_until_the_sources_are_fresh(rig, jump_s):
    offset = [0]
    began = []

    def simulated() -> int:
        now = rig.probe.node.get_clock().now().nanoseconds
        began.append(now)
        return 1_000_000_000_000 + now - began[0] + offset[0]

    make = rig
    rig = make({**WRIST, "use_sim_time": True, "repeated_pictures": "refuse"}, now_ns=lambda: simulated())
    rig.source("/clock", Clock, lambda stamp_ns: Clock(clock=to_time(stamp_ns)), 10)
    rig.joints()
    rig.camera()
    rig.begin()
    rig.camera(lambda stamp_ns: None)
    offset[0] = jump_s * 10**9
    assert rig.held("the ROS clock jumped").reasons == ExecutedAction.REASON_CLOCK_JUMP
    count = len(rig.observations)
    rig.probe.spin(0.3)
    assert len(rig.observations) == count
    rig.camera()
    rig.released()
    assert to_ns(rig.observations[-1].header.stamp) - to_ns(rig.observations[0].header.stamp) > (jump_s - 1) * 10**9


def test_when_a_publisher_offers_too_little_expect_both_policies_named(rig):
    rig = rig({**JOINTS, "timing": "lockstep"})
    rig.joints()
    said = "topic /resfit/joint_states: publisher /resfit/probe offers best effort, we ask reliable"
    rig.probe.wait(lambda: rig.diagnosed("incompatible publishers") == said, 10.0)


@pytest.mark.skipif(importlib.util.find_spec("tf2_ros") is not None, reason="tf2_ros is installed")
def test_when_tf2_is_missing_expect_the_node_refused_with_what_to_do(domain):
    values = ["joint_names:=[a]", "state:=[tf/base/tool]"]
    arguments = [word for value in values for word in ("-p", value)]
    command = [sys.executable, "-m", "resfit_ros.nodes.aggregator", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "block 'tf/base/tool' needs tf2_ros" in done.stderr
