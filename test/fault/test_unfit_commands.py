"""FAULTS rows 1 to 9, 11, 26, 27 and 34 on injected time: what must never reach the robot."""

import numpy as np
import pytest
from safety_rig import ACTION_TIMEOUT, HERE, MS, STATE_TIMEOUT, TICK, TICKS_PER_STEP, Rig, make_action
from soak import count

from resfit_ros.core.chunks import ChunkBuffer, Chunking, ChunkVerdict
from resfit_ros.core.errors import ConfigError, ShapeError
from resfit_ros.core.limiter import JointLimiter, JointLimits
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.core.types import ActionChunk, SafetyState

JOINTS = 7
LIMITS = JointLimits(tuple(f"j{i}" for i in range(JOINTS)), [-1.5] * JOINTS, [1.5] * JOINTS, [2.0], [20.0])
TICK_S = 0.01


def test_when_chunks_hold_nan_or_inf_expect_every_one_rejected_whole(measured):
    rng = np.random.default_rng(1)
    buffer = ChunkBuffer(JOINTS, Chunking(8))
    buffer.reset(1)
    number, wrong = count(100_000, 10_000), 0
    for k in range(number):
        actions = rng.standard_normal((16, JOINTS)).astype(np.float32)
        row, joint = rng.integers(16), rng.integers(JOINTS)
        actions[row, joint] = (np.nan, np.inf, -np.inf)[k % 3]
        wrong += buffer.add(ActionChunk(0, 1, 0, actions), 0) is not ChunkVerdict.NON_FINITE
    assert wrong == 0
    assert buffer.action(0) is None
    measured(1, f"{number} of {number} fuzzed chunks rejected")


@pytest.mark.parametrize("joints", [0, 1, 3, 29])
def test_when_actions_have_the_wrong_size_expect_a_latched_fault_within_two_ticks(measured, joints):
    rig = Rig()
    for step in range(250):
        assert not rig.act(step, np.zeros(joints))[0]
        assert rig.ticks(1)[0].state is SafetyState.FAULT
    measured(3, f"250 actions with {joints} joints rejected, fault at the next tick")


def test_when_commands_are_huge_and_turn_at_every_tick_expect_no_limit_broken(measured):
    """Row 4: positions, velocities and accelerations of every set point."""
    rng = np.random.default_rng(2)
    number = count(1_000_000, 50_000)
    limiter = JointLimiter(LIMITS, TICK_S)
    given = np.empty((1000, JOINTS))
    last, velocity, worst = limiter.position.copy(), np.zeros(JOINTS), np.zeros(3)
    for _ in range(number // 1000):
        scale = 10.0 ** rng.uniform(-3, 30)
        targets = rng.choice([-1.0, 1.0], (1000, JOINTS)) * scale * rng.random((1000, JOINTS))
        for k, target in enumerate(targets):
            given[k] = limiter.limit(target)[0]
        speeds = np.diff(given, axis=0, prepend=last[None]) / TICK_S
        accelerations = np.diff(speeds, axis=0, prepend=velocity[None]) / TICK_S
        worst = np.maximum(worst, [np.abs(given).max(), np.abs(speeds).max(), np.abs(accelerations).max()])
        last, velocity = given[-1].copy(), speeds[-1].copy()
    assert worst[0] <= 1.5
    assert worst[1] <= 2.0 * (1 + 1e-9)
    assert worst[2] <= 20.0 * (1 + 1e-6)
    measured(4, f"0 violations in {number} ticks; largest {worst[0]:.3f} rad, {worst[1]:.3f} rad/s, "
                f"{worst[2]:.3f} rad/s^2")  # fmt: skip


def test_when_the_robot_starts_outside_its_limits_expect_only_inward_motion(measured):
    rng = np.random.default_rng(3)
    ticks = outward = 0
    while ticks < 10_000:
        limiter = JointLimiter(LIMITS, TICK_S)
        limiter.reset(rng.uniform(-2.5, 2.5, JOINTS))
        before = limiter.position
        for _ in range(100):
            after = limiter.limit(rng.uniform(-4, 4, JOINTS))[0]
            outward += np.sum((before > 1.5) & (after > before)) + np.sum((before < -1.5) & (after < before))
            before, ticks = after, ticks + 1
    assert outward == 0
    measured(5, f"0 outward motions in {ticks} ticks")


def test_when_actions_come_twice_and_out_of_order_expect_each_step_once_and_in_order(measured):
    rng = np.random.default_rng(4)
    rig, executed = Rig(), []
    for _ in range(2000):
        taken, cut = rig.act(int(max(0, len(executed) + rng.integers(-5, 3))))
        executed += [cut.step] if cut else []
        for point in rig.ticks(TICKS_PER_STEP if taken else 1):
            executed += [point.executed.step] if point.executed else []
    assert len(executed) > 200
    assert np.all(np.diff(executed) > 0)
    measured(7, f"{len(executed)} steps executed, all ascending, {rig.filter.counters.dropped} dropped")


def test_when_actions_stop_expect_hold_within_the_timeout_and_two_ticks(measured):
    rig = Rig()
    rig.act(0)
    ticks = 0
    while rig.state is SafetyState.ARMED:
        rig.ticks(1)
        ticks += 1
    assert ticks * TICK <= ACTION_TIMEOUT + 2 * TICK
    measured(8, f"hold after {ticks * TICK // MS} ms (timeout {ACTION_TIMEOUT // MS} ms)")


def test_when_joint_states_stop_expect_a_latched_fault_within_70_ms(measured):
    rig = Rig()
    rig.act(0)
    ticks = 0
    while rig.state is not SafetyState.FAULT:
        rig.ticks(1, measure=False)
        ticks += 1
        rig.act(ticks)
    assert ticks * TICK <= STATE_TIMEOUT + 2 * TICK
    measured(11, f"fault after {ticks * TICK // MS} ms")


@pytest.mark.parametrize("state", [np.full(2, np.nan), np.array([0.0, np.inf])])
def test_when_joint_states_hold_nan_expect_them_to_count_as_none(state):
    rig = Rig()
    with pytest.raises(ShapeError, match="NaN or Inf"):
        rig.filter.on_joint_state(state, 0, rig.now)


def test_when_the_estop_is_pressed_expect_nothing_to_arm_it(measured):
    rig = Rig()
    rig.step(0)
    rig.filter.set_estop(True)
    refused = [rig.filter.arm(rig.now) for _ in range(1000)]
    for step in range(1, 100):
        rig.act(0, episode_id=step)
        rig.ticks(1)
        rig.filter.on_episode_started(step + 1, 0)
        rig.filter.requests.release("anybody")
    assert all(refused)
    assert rig.state is SafetyState.FAULT
    measured(26, "1000 of 1000 arm requests refused, fault at once")


def parameters(**changes) -> SafetyParameters:
    values = {
        "joint_names": ("a", "b"),
        "lower": (-1.0, -1.0),
        "upper": (1.0, 1.0),
        "max_velocity": (1.0,),
        "max_acceleration": (5.0,),
    }
    return SafetyParameters(**values | changes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lower": (-1.0, float("nan"))}, r"lower\[1\] must be finite"),
        ({"upper": (1.0, float("inf"))}, r"upper\[1\] must be finite"),
        ({"max_velocity": (0.0,)}, "max_velocity"),
        ({"lower": (-1.0, 2.0)}, "joint 'b': lower limit must be below the upper limit"),
        ({"max_tracking_error": (0.1, 0.2, 0.3)}, "max_tracking_error: expected 2 values"),
        ({"speed_scale": 1.5}, "speed_scale must be at most 1"),
        ({"action_timeout_s": 0.05}, "action_timeout_s 0.05 is not longer than a control period"),
        ({"workspace": (0.0, 0.0, 0.0, 1.0, 1.0, -1.0)}, "workspace: expected six values"),
    ],
)
def test_when_a_parameter_is_out_of_range_expect_it_refused_as_a_whole(changes, named):
    with pytest.raises(ConfigError, match=named):
        parameters(**changes)


def test_when_a_residual_is_nan_expect_the_base_action_within_two_ticks(measured):
    rig = Rig()
    rig.act(0, HERE)
    rig.ticks(1)
    rig.filter.on_action(make_action(1, [np.nan, 0.0], base=HERE + 0.01), rig.now)
    given = rig.ticks(TICKS_PER_STEP)
    np.testing.assert_allclose(given[-1].position, HERE + 0.01, atol=1e-7)
    measured(2, "base action alone from the next tick on")
