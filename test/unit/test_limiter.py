"""Joint limits hold for whatever is requested, and change nothing that is within them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.limiter import JointLimiter, JointLimits
from resfit_ros.core.types import Reason

JOINTS, TICKS = 1000, 1000  # a million commands per case
TICK_LENGTHS = (0.01, 0.05)
# Positions are rounded to about 1e-15, which a division by T^2 = 1e-4 turns into 1e-11.
VELOCITY_TOLERANCE, ACCELERATION_TOLERANCE = 1e-9, 1e-7


def random_limits(rng: np.random.Generator, joints: int = JOINTS) -> JointLimits:
    lower = rng.uniform(-3.0, -0.01, joints)
    return JointLimits(
        tuple(f"j{i}" for i in range(joints)),
        lower,
        lower + rng.uniform(0.02, 5.0, joints),
        10 ** rng.uniform(-1, 1.3, joints),
        10 ** rng.uniform(-1, 2.5, joints),
    )


def simple_limits(**changes) -> JointLimits:
    values = dict(lower=[-1.0], upper=[1.0], max_velocity=[2.0], max_acceleration=[10.0])
    return JointLimits(("a", "b"), **(values | changes))


def huge(rng, limits, tick):
    return rng.choice([-1e300, -1e9, 1e9, 1e300], size=JOINTS)


def reversals(rng, limits, tick):
    return np.where(tick % 2, limits.lower, limits.upper)


def slow_reversals(rng, limits, tick):
    period = np.arange(JOINTS) % 97 + 2  # each joint at its own pace, so all phases occur
    return np.where((tick // period) % 2, limits.lower - 1.0, limits.upper + 1.0)


def outside(rng, limits, tick):
    return limits.upper + rng.exponential(1.0, JOINTS)


def anywhere(rng, limits, tick):
    return rng.uniform(limits.lower - 0.5, limits.upper + 0.5)


def follow(limiter: JointLimiter, commands, rng, ticks: int = TICKS) -> np.ndarray:
    """Set points (ticks + 1, joints), the first being the start."""
    positions = [limiter.position]
    for tick in range(ticks):
        positions.append(limiter.limit(commands(rng, limiter.limits, tick))[0])
    return np.array(positions)


@pytest.mark.parametrize("tick_s", TICK_LENGTHS)
@pytest.mark.parametrize("commands", [huge, reversals, slow_reversals, outside, anywhere])
def test_when_commands_are_adversarial_expect_every_limit_kept(commands, tick_s):
    rng = np.random.default_rng(0)
    limits = random_limits(rng)
    limiter = JointLimiter(limits, tick_s)
    limiter.reset(rng.uniform(limits.lower, limits.upper))
    positions = follow(limiter, commands, rng)
    assert np.all(positions >= limits.lower)
    assert np.all(positions <= limits.upper)
    velocity = np.diff(positions, axis=0) / tick_s
    assert np.max(np.abs(velocity) - limits.max_velocity) <= VELOCITY_TOLERANCE
    velocity = np.concatenate((np.zeros((1, JOINTS)), velocity))  # it starts at rest
    acceleration = np.diff(velocity, axis=0) / tick_s
    assert np.max(np.abs(acceleration) - limits.max_acceleration) <= ACCELERATION_TOLERANCE


@pytest.mark.parametrize("tick_s", TICK_LENGTHS)
def test_when_start_is_outside_expect_only_inward_motion(tick_s):
    rng = np.random.default_rng(1)
    limits = random_limits(rng)
    limiter = JointLimiter(limits, tick_s)
    side = np.where(np.arange(JOINTS) % 2, 1.0, -1.0)
    edge = np.where(side > 0, limits.upper, limits.lower)
    limiter.reset(edge + side * rng.exponential(0.3, JOINTS))
    excess = np.maximum(0.0, side * (follow(limiter, anywhere, rng) - edge))
    assert excess[0].min() > 0
    assert np.all(np.diff(excess, axis=0) <= 0)


@pytest.mark.parametrize("tick_s", TICK_LENGTHS)
def test_when_start_is_outside_expect_acceleration_limit_kept_and_return_inside(tick_s):
    limits = simple_limits()
    limiter = JointLimiter(limits, tick_s)
    limiter.reset(np.array([1.4, -1.7]))
    positions = follow(limiter, lambda *_: np.zeros(2), None, ticks=300)
    velocity = np.diff(positions, axis=0, prepend=positions[:1]) / tick_s
    acceleration = np.diff(velocity, axis=0) / tick_s
    assert np.max(np.abs(acceleration)) <= 10.0 + ACCELERATION_TOLERANCE
    assert positions[-1].tolist() == [0.0, 0.0]


@given(
    tick_s=st.sampled_from(TICK_LENGTHS),
    share=st.floats(0.05, 0.95),
    frequency=st.floats(0.1, 3.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_when_requests_are_within_limits_expect_them_bit_for_bit(tick_s, share, frequency, seed):
    rng = np.random.default_rng(seed)
    limits = random_limits(rng, 5)
    pulsation = 2 * np.pi * frequency
    reach = (limits.upper - limits.lower) / 2
    # The largest sine that needs no more than `share` of the speed and of the acceleration.
    amplitude = share * np.minimum.reduce(
        [reach, limits.max_velocity / pulsation, limits.max_acceleration / pulsation**2]
    )
    middle = (limits.upper + limits.lower) / 2
    limiter = JointLimiter(limits, tick_s)
    limiter.reset(middle - amplitude)
    for tick in range(100):
        target = middle - amplitude * np.cos(pulsation * tick * tick_s)
        position, reasons = limiter.limit(target)
        assert reasons == Reason.NONE
        assert position.tobytes() == target.tobytes()


@pytest.mark.parametrize(
    ("start", "target", "expected"),
    [
        (0.0, 0.0, Reason.NONE),
        (0.0, 0.0005, Reason.NONE),
        (1.0, 1.5, Reason.POSITION_LIMIT),
        (0.0, 0.015, Reason.ACCELERATION_LIMIT),
        (0.0, 0.5, Reason.VELOCITY_LIMIT | Reason.ACCELERATION_LIMIT),
    ],
)
def test_when_a_limit_applies_expect_it_named(start, target, expected):
    limiter = JointLimiter(simple_limits(), 0.01)
    limiter.reset(np.full(2, start))
    assert limiter.limit(np.full(2, target))[1] == expected


def test_when_speed_is_the_only_limit_reached_expect_it_named():
    limiter = JointLimiter(simple_limits(max_acceleration=[1e6]), 0.01)
    limiter.reset(np.zeros(2))
    position, reasons = limiter.limit(np.full(2, 0.5))
    assert reasons == Reason.VELOCITY_LIMIT
    assert position.tolist() == pytest.approx([0.02, 0.02])


def test_when_far_target_is_held_expect_it_reached_exactly():
    limiter = JointLimiter(simple_limits(), 0.01)
    limiter.reset(np.zeros(2))
    given = follow(limiter, lambda *_: np.array([0.7, -0.3]), None, ticks=1000)
    assert given[-1].tolist() == [0.7, -0.3]
    # The joints pass it by at most their braking distance, v^2 / 2a = 0.2 rad.
    assert np.all(np.max(np.abs(given), axis=0) <= [0.9, 0.5])


def test_when_target_is_the_position_limit_expect_it_reached():
    limiter = JointLimiter(simple_limits(), 0.01)
    limiter.reset(np.zeros(2))
    for _ in range(300):
        position, _ = limiter.limit(np.ones(2))
    assert position.tolist() == pytest.approx([1.0, 1.0], abs=1e-12)


def test_when_one_joint_is_limited_expect_the_others_untouched():
    limiter = JointLimiter(simple_limits(), 0.01)
    limiter.reset(np.zeros(2))
    position, _ = limiter.limit(np.array([0.5, 0.0005]))
    assert position[1] == 0.0005
    assert position[0] == pytest.approx(0.001)  # 10 rad/s^2 for one tick


@pytest.mark.parametrize("position", [[0.0], [0.0, np.nan], [0.0, np.inf], [[0.0, 0.0]]])
def test_when_reset_position_is_unusable_expect_refusal(position):
    limiter = JointLimiter(simple_limits(), 0.01)
    with pytest.raises(ShapeError):
        limiter.reset(np.array(position))


def test_when_one_value_is_given_expect_it_for_every_joint():
    assert simple_limits().max_velocity.tolist() == [2.0, 2.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": [-1.0, 1.0]}, "joint 'b': lower limit must be below"),
        ({"max_velocity": [0.0]}, "joint 'a': max_velocity must be positive"),
        ({"max_acceleration": [1.0, -1.0]}, "joint 'b': max_acceleration must be positive"),
        ({"upper": [1.0, 1.0, 1.0]}, "upper: expected 2 values .* got 3"),
        ({"upper": [1.0, np.nan]}, "upper: every value must be finite"),
    ],
)
def test_when_limits_make_no_sense_expect_the_joint_and_rule_named(change, message):
    with pytest.raises(ConfigError, match=message):
        simple_limits(**change)
