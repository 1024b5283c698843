"""Silent, frozen and badly stamped sources, and a clock that is set, on injected time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.source_health import MS, HealthSettings, SensorHealth, SourceHealth
from resfit_ros.core.types import Reason

ROS = 1_000_000 * MS  # the ROS clock at steady time 0
FRAME = 33 * MS


def camera(**changes) -> SourceHealth:
    return SourceHealth("camera 'wrist'", 200 * MS, HealthSettings(**changes))


def send(source: SourceHealth, now_ns: int, late_ns: int = 0, same: bool = False) -> bool:
    return source.on_value(ROS + now_ns - late_ns, now_ns, ROS + now_ns, same)


def test_when_nothing_ever_came_expect_trouble_that_names_the_source():
    assert camera().trouble(0) == "camera 'wrist' was not heard yet"


def test_when_the_first_value_comes_expect_no_trouble():
    source = camera()
    assert send(source, 0)
    assert source.trouble(0) is None


@pytest.mark.parametrize(("age_ms", "silent"), [(200, False), (201, True)])
def test_when_a_source_falls_silent_expect_trouble_after_its_age_limit(age_ms, silent):
    source = camera()
    send(source, 0)
    assert (source.trouble(age_ms * MS) is not None) == silent


def test_when_it_comes_back_expect_trouble_until_the_fifth_new_value():
    source = camera()
    send(source, 0)
    assert source.trouble(300 * MS)
    troubled = []
    for i in range(6):
        now = 300 * MS + i * FRAME
        send(source, now)
        troubled.append(source.trouble(now) is not None)
    assert troubled == [True] * 4 + [False] * 2


def test_when_it_falls_silent_while_coming_back_expect_the_count_anew():
    source = camera()
    send(source, 0)
    source.trouble(300 * MS)
    times = [300, 333, 366, 399, 700, 733, 766, 799, 832]
    for time_ms in times:
        assert source.trouble(time_ms * MS)
        send(source, time_ms * MS)
    assert source.trouble(832 * MS) is None


def test_when_a_gap_falls_between_two_looks_expect_it_noticed_all_the_same():
    source = camera()
    send(source, 0)
    send(source, 500 * MS)
    assert source.trouble(500 * MS) == "camera 'wrist' is silent for more than 0.2 s"


def test_when_one_frame_is_repeated_expect_trouble_as_if_silent():
    source = camera()
    send(source, 0)
    for now in range(FRAME, 200 * MS, FRAME):
        assert not source.on_value(ROS, now, ROS + now)
        assert source.trouble(now) is None
    assert source.trouble(201 * MS) == "camera 'wrist' repeats one stamp"


def test_when_new_stamps_hold_the_same_picture_expect_trouble_as_if_silent():
    source = camera()
    send(source, 0)
    for now in range(FRAME, 200 * MS, FRAME):
        assert not send(source, now, same=True)
    assert source.trouble(201 * MS) == "camera 'wrist' repeats one picture"


@pytest.mark.parametrize(("ahead_ms", "taken"), [(20, True), (20.001, False), (10_000, False)])
def test_when_a_stamp_is_in_the_future_expect_it_refused_beyond_20_ms(ahead_ms, taken):
    source = camera()
    assert send(source, 0, late_ns=-round(ahead_ms * MS)) == taken
    assert source.refused == (not taken)


def test_when_1000_stamps_are_zero_or_in_the_future_expect_1000_refused():
    source = camera()
    for i in range(500):
        source.on_value(0, i * MS, ROS)
        source.on_value(ROS + 10**12, i * MS, ROS)
    assert source.refused == 1000
    assert source.trouble(500 * MS).startswith("camera 'wrist' is stamped in the future")


@pytest.mark.parametrize(("late_ms", "taken"), [(200, True), (201, False)])
def test_when_a_value_is_old_as_it_arrives_expect_it_refused_beyond_the_age_limit(late_ms, taken):
    assert send(camera(), 0, late_ns=late_ms * MS) == taken


def test_when_the_ros_clock_has_not_begun_expect_no_stamp_in_the_future():
    assert camera().on_value(5 * MS, 0, 0)


def test_when_there_is_no_stamp_expect_each_value_new():
    source = camera()
    assert [source.on_value(None, now * MS, ROS) for now in range(3)] == [True] * 3


def test_when_stamps_go_backwards_expect_the_older_passed_over():
    source = camera()
    send(source, 10 * MS)
    assert not source.on_value(ROS + 9 * MS, 11 * MS, ROS + 11 * MS)
    assert source.refused == 0


def test_when_the_newest_is_retracted_expect_the_age_of_the_one_before():
    source = camera()
    send(source, 0)
    send(source, 150 * MS)
    source.retract("is refused: cannot be decoded")
    assert source.trouble(200 * MS) is None
    assert source.trouble(201 * MS) == "camera 'wrist' is refused: cannot be decoded"


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_when_gaps_are_any_expect_trouble_never_later_than_20_ms_after_the_limit(gaps_ms):
    source, last, now = camera(), 0, 0
    send(source, 0)
    for gap in gaps_ms:
        for tick in range(now, now + gap * MS, 10 * MS):
            if tick - last > 200 * MS:
                assert source.trouble(tick)
        now += gap * MS
        send(source, now)
        last = now


# --- all sources together --------------------------------------------------------------------------


def sensors() -> SensorHealth:
    health = SensorHealth(
        {"joints": "the joint state", "wrist": "camera 'wrist'"},
        {"joints": 50 * MS, "wrist": 200 * MS},
        HealthSettings(),
    )
    for source in health.sources.values():
        send(source, 0)
    health.clock_jumped(ROS, 0)
    return health


def test_when_sources_have_limits_of_their_own_expect_each_held_to_its_own():
    health = sensors()
    assert health.trouble(50 * MS) is None
    trouble = health.trouble(51 * MS)
    assert trouble.reasons == Reason.STALE_SENSOR
    assert trouble.why == "the joint state is silent for more than 0.05 s"
    assert "camera 'wrist'" in health.trouble(201 * MS).why


@pytest.mark.parametrize(
    ("jump_s", "noticed"), [(0.5, False), (-0.5, False), (0.501, True), (-0.501, True), (10.0, True), (-10.0, True)]
)
def test_when_the_ros_clock_is_set_expect_it_noticed_beyond_half_a_second(jump_s, noticed):
    health = sensors()
    now = 10 * MS
    assert health.clock_jumped(ROS + now + round(jump_s * 1e9), now) == noticed
    assert health.jumps == noticed


def test_when_the_clock_jumped_expect_hold_until_every_source_is_fresh_again():
    health = sensors()
    back = ROS - 10_000 * MS
    assert health.clock_jumped(back + 10 * MS, 10 * MS)
    assert health.trouble(10 * MS).reasons == Reason.CLOCK_JUMP
    joints, wrist = health.sources.values()
    assert joints.on_value(back + 15 * MS, 15 * MS, back + 15 * MS)
    assert health.trouble(15 * MS).why == "the ROS clock jumped: camera 'wrist' was not heard yet"
    assert wrist.on_value(back + 20 * MS, 20 * MS, back + 20 * MS)
    assert health.trouble(20 * MS) is None
    assert health.trouble(70 * MS).reasons == Reason.STALE_SENSOR


def test_when_the_clock_runs_evenly_expect_no_jump_in_an_hour():
    health = sensors()
    rng = np.random.default_rng(0)
    drift = np.cumsum(rng.normal(0, 0.1 * MS, 3600)).astype(int)
    assert not any(health.clock_jumped(ROS + i * 1000 * MS + int(d), i * 1000 * MS) for i, d in enumerate(drift))
