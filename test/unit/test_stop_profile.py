"""A stop is smooth where there is room, and within every limit where there is none."""

import builtins
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.limiter import JointLimiter, JointLimits
from resfit_ros.core.types import Reason
from resfit_ros.robot.stop_profile import NO_RUCKIG, StopProfile

TICK = 0.01
LIMITS = JointLimits(("a", "b"), [-1.0], [1.0], [2.0], [10.0])
# Positions are rounded to about 1e-16, which a division by T^2 (T^3) turns into 1e-12 (1e-10).
ACCELERATION_TOLERANCE, JERK_TOLERANCE = 1e-7, 1e-5


def run(profile: StopProfile) -> np.ndarray:
    """All set points (N, A)."""
    positions = []
    while not profile.done:
        positions.append(profile.next())
    return np.array(positions)


def started(position, velocity, acceleration=(0.0, 0.0), jerk=None, limits=LIMITS) -> StopProfile:
    profile = StopProfile(limits, TICK, jerk)
    profile.start(np.array(position), np.array(velocity), np.array(acceleration))
    return profile


def without_ruckig(monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **named):
        if name == "ruckig":
            raise ModuleNotFoundError("No module named 'ruckig'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", missing)


def test_when_jerk_is_not_limited_expect_constant_deceleration():
    # 1 rad/s at 10 rad/s^2: ten ticks of 10 ms, 0.9 + 0.8 + ... + 0.1 rad/s.
    positions = run(started([0.0, 0.0], [1.0, 0.0]))
    assert positions[:3, 0] == pytest.approx([0.009, 0.017, 0.024], abs=1e-7)
    assert positions[-1] == pytest.approx([0.045, 0.0], abs=1e-6)


def test_when_jerk_is_limited_expect_the_time_optimal_stop():
    pytest.importorskip("ruckig")
    # From 1 rad/s at 10 rad/s^2 and 100 rad/s^3: v/a + a/j = 0.2 s, so v/2 * 0.2 s = 0.1 rad.
    profile = started([0.0, 0.0], [1.0, 0.0], jerk=100.0)
    positions = run(profile)
    assert profile.smooth.all()
    assert positions[-1] == pytest.approx([0.1, 0.0], abs=1e-6)
    assert len(positions) - 21 in (0, 1)


def test_when_jerk_is_limited_expect_no_step_above_it():
    pytest.importorskip("ruckig")
    speed, jerk = np.array([1.0, -1.5]), np.array([100.0, 40.0])
    positions = run(started([0.0, 0.9], speed, [2.0, -1.0], jerk))
    velocity = np.diff(np.vstack([np.array([0.0, 0.9]), positions]), axis=0) / TICK
    acceleration = np.diff(np.vstack([speed, velocity]), axis=0) / TICK
    third = np.diff(np.vstack([[2.0, -1.0], acceleration]), axis=0) / TICK
    assert np.all(np.abs(third) <= jerk + JERK_TOLERANCE)


def test_when_the_smooth_stop_would_pass_a_limit_expect_that_joint_to_brake_hard():
    pytest.importorskip("ruckig")
    # The smooth stop takes 0.1 rad, there are 0.07; the other joint has room.
    profile = started([0.93, 0.0], [1.0, 1.0], jerk=100.0)
    positions = run(profile)
    assert profile.smooth.tolist() == [False, True]
    assert positions[-1] == pytest.approx([0.975, 0.1], abs=1e-6)


def test_when_top_speed_leaves_no_room_to_accelerate_expect_a_smooth_stop_all_the_same():
    pytest.importorskip("ruckig")
    profile = started([-0.9, 0.0], [2.0, 0.0], [8.0, 0.0], jerk=200.0)
    velocity = np.diff(np.vstack([[-0.9, 0.0], run(profile)]), axis=0) / TICK
    assert profile.smooth.all()
    assert velocity.max() <= 2.0


def test_when_a_smooth_stop_would_take_ages_expect_hard_braking():
    pytest.importorskip("ruckig")
    profile = started([0.0, 0.0], [1.0, 0.0], jerk=0.01)
    assert run(profile)[-1] == pytest.approx([0.045, 0.0], abs=1e-6)
    assert profile.smooth.tolist() == [False, True]


def test_when_one_joint_has_no_jerk_limit_expect_only_the_other_to_be_smooth():
    pytest.importorskip("ruckig")
    profile = started([0.0, 0.0], [1.0, 1.0], jerk=[math.inf, 100.0])
    assert run(profile)[-1] == pytest.approx([0.045, 0.1], abs=1e-6)


def test_when_ruckig_is_missing_expect_hard_braking_and_a_note(monkeypatch):
    without_ruckig(monkeypatch)
    profile = started([0.0, 0.0], [1.0, 0.0], jerk=100.0)
    assert run(profile)[-1] == pytest.approx([0.045, 0.0], abs=1e-6)
    assert profile.note == NO_RUCKIG


def test_when_at_rest_expect_the_same_position_for_ever():
    profile = started([0.3, -0.2], [0.0, 0.0], jerk=100.0)
    run(profile)
    assert profile.done
    assert profile.next().tolist() == [0.3, -0.2]


def test_when_started_again_expect_the_new_plan():
    profile = started([0.0, 0.0], [1.0, 0.0])
    run(profile)
    profile.start(np.array([0.5, 0.0]), np.zeros(2), np.zeros(2))
    assert not profile.done
    assert profile.next().tolist() == [0.5, 0.0]


def test_when_next_comes_before_start_expect_an_error():
    with pytest.raises(ShapeError, match=r"start\(\) comes before"):
        StopProfile(LIMITS, TICK).next()


def test_when_a_state_is_not_finite_expect_an_error():
    with pytest.raises(ShapeError, match="finite"):
        started([0.0, math.nan], [0.0, 0.0])


@pytest.mark.parametrize("jerk", ([1.0, 0.0], [1.0, -3.0], [1.0, math.nan]))
def test_when_a_jerk_limit_is_not_positive_expect_the_joint_named(jerk):
    with pytest.raises(ConfigError, match="joint 'b': max_jerk must be positive"):
        StopProfile(LIMITS, TICK, jerk)


def test_when_jerk_has_another_length_expect_both_lengths_named():
    with pytest.raises(ConfigError, match="expected 2 values .* got 3"):
        StopProfile(LIMITS, TICK, [1.0, 2.0, 3.0])


def random_case(seed: int):
    """(limits, jerk, a limiter brought into motion by random commands), 40 joints."""
    rng = np.random.default_rng(seed)
    count = 40
    lower = rng.uniform(-3.0, -0.01, count)
    speed = 10 ** rng.uniform(-1, 1, count)
    limits = JointLimits(
        tuple(f"j{i}" for i in range(count)),
        lower,
        lower + rng.uniform(0.02, 5.0, count),
        speed,
        speed * 10 ** rng.uniform(0.5, 2, count),
    )
    limiter = JointLimiter(limits, TICK)
    limiter.reset(rng.uniform(limits.lower - 0.1, limits.upper + 0.1))
    for _ in range(int(rng.integers(0, 60))):
        limiter.limit(rng.uniform(limits.lower, limits.upper))
    for _ in range(int(rng.integers(0, 20))):
        limiter.limit(np.where(np.arange(count) % 2, 1e3, limiter.position + 0.2 * limiter.velocity * TICK))
    return limits, 10 ** rng.uniform(0, 4, count), limiter


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_when_a_smooth_stop_goes_through_the_limiter_expect_it_unchanged(seed):
    pytest.importorskip("ruckig")
    limits, jerk, limiter = random_case(seed)
    profile = StopProfile(limits, TICK, jerk)
    profile.start(limiter.position, limiter.velocity, limiter.acceleration)
    smooth = profile.smooth
    bounds = (limits.lower, limits.upper, limits.max_velocity, limits.max_acceleration)
    names = tuple(np.array(limits.joint_names)[smooth])
    alone = JointLimiter(JointLimits(names, *(values[smooth] for values in bounds)), TICK)
    alone.follow(limiter.position[smooth], limiter.velocity[smooth])
    assert smooth.any()
    for position in run(profile)[:, smooth]:
        sent, reasons = alone.limit(position)
        assert reasons == Reason.NONE
        np.testing.assert_array_equal(sent, position)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_when_any_stop_goes_through_the_limiter_expect_no_limit_violated(seed, anywhere):
    limits, jerk, limiter = random_case(seed)
    if anywhere:  # where another controller may have brought the robot
        rng = np.random.default_rng(seed)
        limiter.follow(
            rng.uniform(limits.lower, limits.upper), rng.uniform(-1, 1, 40) * limits.max_velocity
        )
    profile = StopProfile(limits, TICK, jerk)
    start, before = limiter.position, limiter.velocity
    profile.start(start, before, limiter.acceleration)
    for position in run(profile):
        sent, _ = limiter.limit(position)
        assert np.all(sent <= np.maximum(limits.upper, start))
        assert np.all(sent >= np.minimum(limits.lower, start))
        assert np.all(np.abs(limiter.velocity) <= limits.max_velocity + 1e-9)
        if not anywhere:  # the position limit comes before the acceleration limit
            assert np.all(np.abs(limiter.acceleration) <= limits.max_acceleration + ACCELERATION_TOLERANCE)
    assert anywhere or np.all(limiter.velocity == pytest.approx(0.0, abs=1e-6))
