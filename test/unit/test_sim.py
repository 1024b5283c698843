"""The simulated robot: its joints, its clock, its scenes, its task and its scripted expert."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")

from resfit_ros.sim import (  # noqa: E402
    DemonstrationNoise,
    GraspPlan,
    HumanoidSim,
    LiftTask,
    ScriptedExpert,
)
from resfit_ros.sim.errors import ClosedError, RenderError, TargetError, TaskError  # noqa: E402
from resfit_ros.sim.expert import yaw_of  # noqa: E402
from resfit_ros.sim.grasp_plan import minimum_jerk  # noqa: E402
from resfit_ros.sim.palm_kinematics import (  # noqa: E402
    ARM_JOINTS,
    PalmKinematics,
    PalmPose,
    hand_rotation,
)

HAND_JOINTS = ("thumb_yaw", "thumb_pitch", "index", "middle", "ring", "pinky")
CONTROL_PERIOD_S = 0.05


@pytest.fixture(scope="module")
def shared_sim() -> Iterator[HumanoidSim]:
    with HumanoidSim() as sim:
        yield sim


@pytest.fixture
def sim(shared_sim: HumanoidSim) -> HumanoidSim:
    shared_sim.reset(seed=0)
    return shared_sim


def act(expert: ScriptedExpert, sim: HumanoidSim) -> np.ndarray:
    return expert.act(sim.joint_positions, sim.box_position, sim.box_quaternion)


def run_episode(sim: HumanoidSim, expert: ScriptedExpert, seed: int) -> list[np.ndarray]:
    """Runs until success or the last step; returns the targets."""
    sim.reset(seed)
    expert.reset(seed)
    targets: list[np.ndarray] = []
    while not sim.success and len(targets) < sim.task.max_steps:
        targets.append(act(expert, sim))
        sim.step(targets[-1])
    return targets


# --- the robot ---------------------------------------------------------------------------------


def test_robot_has_torso_head_two_arms_and_two_hands(sim: HumanoidSim) -> None:
    expected = ["torso_yaw", "head_pan", "head_tilt"]
    for side in ("left", "right"):
        expected += [f"{side}_{joint}" for joint in (*ARM_JOINTS, *HAND_JOINTS)]
    assert list(sim.joint_names) == expected
    assert len(sim.joint_names) == 29


def test_home_is_inside_the_limits(sim: HumanoidSim) -> None:
    assert np.all(sim.joint_lower < sim.home)
    assert np.all(sim.home < sim.joint_upper)


def test_robot_holds_its_home_pose(sim: HumanoidSim) -> None:
    for _ in range(20):
        sim.step(sim.home)
    assert np.abs(sim.joint_positions - sim.home).max() < 0.01
    assert np.abs(sim.joint_velocities).max() < 0.01


def test_every_joint_reaches_its_target(sim: HumanoidSim) -> None:
    target = sim.home + 0.1
    for _ in range(30):
        sim.step(target)
    assert np.abs(sim.joint_positions - target).max() < 0.02


def test_vectors_are_copies(sim: HumanoidSim) -> None:
    for name in ("joint_positions", "joint_velocities", "joint_efforts", "set_point", "home"):
        vector = getattr(sim, name)
        assert vector.shape == (29,)
        vector += 1.0
        assert not np.array_equal(vector, getattr(sim, name))


# --- reset -------------------------------------------------------------------------------------


def test_when_reset_with_one_seed_expect_one_scene(sim: HumanoidSim) -> None:
    sim.reset(seed=7)
    position, quaternion = sim.box_position, sim.box_quaternion
    sim.step(sim.home + 0.2)
    sim.reset(seed=7)
    np.testing.assert_array_equal(sim.box_position, position)
    np.testing.assert_array_equal(sim.box_quaternion, quaternion)
    np.testing.assert_array_equal(sim.joint_positions, sim.home)
    np.testing.assert_array_equal(sim.set_point, sim.home)
    np.testing.assert_array_equal(sim.joint_velocities, np.zeros(29))


def test_scenes_fill_the_ranges_of_the_task(sim: HumanoidSim) -> None:
    task = sim.task
    scenes = []
    for seed in range(200):
        sim.reset(seed)
        x, y, _ = sim.box_position
        scenes.append((x - task.box_x, y - task.box_y, yaw_of(sim.box_quaternion)))
    ranges = np.array([task.box_x_range, task.box_y_range, task.box_yaw_range])
    relative = np.array(scenes) / ranges
    assert np.abs(relative).max() <= 1.0 + 1e-9
    assert np.all(relative.max(axis=0) > 0.9)
    assert np.all(relative.min(axis=0) < -0.9)
    assert np.all(np.abs(relative.mean(axis=0)) < 0.15)


def test_box_stands_still_on_the_table(sim: HumanoidSim) -> None:
    before = sim.box_position
    for _ in range(20):
        sim.step(sim.home)
    assert np.abs(sim.box_position - before).max() < 0.002
    assert sim.box_tilt < 0.01
    assert sim.palms_in_contact == (False, False)


# --- time and determinism ----------------------------------------------------------------------


def test_time_goes_on_by_the_duration_of_each_step(sim: HumanoidSim) -> None:
    start = sim.time_ns
    sim.step(sim.home)
    assert sim.time_ns - start == 50_000_000
    sim.step(sim.home, duration_s=0.01)
    assert sim.time_ns - start == 60_000_000


def test_when_reset_expect_time_to_go_on(sim: HumanoidSim) -> None:
    stamps = [sim.time_ns]
    for seed in range(3):
        sim.step(sim.home)
        stamps.append(sim.time_ns)
        sim.reset(seed)
        stamps.append(sim.time_ns)
    assert all(later > earlier for earlier, later in zip(stamps, stamps[1:]))


def test_same_seed_and_targets_give_bit_identical_states(sim: HumanoidSim) -> None:
    targets = run_episode(sim, ScriptedExpert(sim.model, noise=DemonstrationNoise()), seed=3)
    first = np.concatenate([sim.joint_positions, sim.joint_velocities, sim.box_position])
    with HumanoidSim() as other:
        other.reset(seed=3)
        for target in targets:
            other.step(target)
        second = np.concatenate([other.joint_positions, other.joint_velocities, other.box_position])
    np.testing.assert_array_equal(first, second)


# --- targets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28,), (30,), (1, 29), ()])
def test_when_target_has_wrong_shape_expect_error(sim: HumanoidSim, shape: tuple[int, ...]) -> None:
    with pytest.raises(TargetError, match=r"expected shape \(29,\), got"):
        sim.step(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_when_target_is_not_finite_expect_error_that_names_the_joint(
    sim: HumanoidSim, value: float
) -> None:
    target = sim.home
    target[sim.joint_names.index("left_elbow")] = value
    before = sim.time_ns
    with pytest.raises(ValueError, match="left_elbow"):
        sim.step(target)
    assert sim.time_ns == before


@pytest.mark.parametrize("duration_s", [0.0, -0.05, 0.0512, np.nan])
def test_when_duration_is_impossible_expect_error(sim: HumanoidSim, duration_s: float) -> None:
    with pytest.raises(TargetError, match="duration_s"):
        sim.step(sim.home, duration_s=duration_s)


def test_targets_are_clipped_to_the_limits(sim: HumanoidSim) -> None:
    sim.step(np.full(29, 10.0))
    np.testing.assert_array_equal(sim.set_point, sim.joint_upper)


def test_set_point_moves_linearly(sim: HumanoidSim) -> None:
    """Half a ramp, then the other half, is the ramp itself: same physics, bit for bit or nearly."""
    target = sim.home + 0.1
    sim.step(target, duration_s=0.05)
    whole = sim.joint_positions
    sim.reset(seed=0)
    sim.step(sim.home + 0.05, duration_s=0.025)
    np.testing.assert_allclose(sim.set_point, sim.home + 0.05, atol=1e-12)
    sim.step(target, duration_s=0.025)
    np.testing.assert_allclose(sim.set_point, target, atol=1e-12)
    np.testing.assert_allclose(sim.joint_positions, whole, atol=1e-9)


# --- the task ----------------------------------------------------------------------------------


def test_expert_lifts_ten_of_ten_fresh_scenes(sim: HumanoidSim) -> None:
    expert = ScriptedExpert(sim.model)
    lengths = []
    for seed in range(4000, 4010):
        lengths.append(len(run_episode(sim, expert, seed)))
        assert sim.success, f"seed {seed}: box at {sim.box_position}, tilt {sim.box_tilt:.2f} rad"
    assert max(lengths) <= 45


def test_expert_moves_moderately(sim: HumanoidSim) -> None:
    expert = ScriptedExpert(sim.model)
    for seed in range(3):
        targets = np.array([sim.home, *run_episode(sim, expert, seed)])
        velocity = np.diff(targets, axis=0) / CONTROL_PERIOD_S
        acceleration = np.diff(velocity, axis=0) / CONTROL_PERIOD_S
        assert np.abs(velocity).max() < 3.0
        assert np.abs(acceleration).max() < 30.0


def test_same_seed_gives_the_same_noisy_demonstration(sim: HumanoidSim) -> None:
    expert = ScriptedExpert(sim.model, noise=DemonstrationNoise())
    first = run_episode(sim, expert, seed=11)
    second = run_episode(sim, expert, seed=11)
    np.testing.assert_array_equal(first, second)


def test_different_seeds_give_different_demonstrations_of_one_scene(sim: HumanoidSim) -> None:
    expert = ScriptedExpert(sim.model, noise=DemonstrationNoise())
    expert.reset(seed=1)
    first = act(expert, sim)
    expert.reset(seed=2)
    assert not np.array_equal(first, act(expert, sim))


def test_when_palms_grasp_off_centre_expect_the_box_to_tip(sim: HumanoidSim) -> None:
    ahead = ScriptedExpert(sim.model, plan=GraspPlan(palm_ahead=0.045))
    lifted = []
    for seed in range(4000, 4003):
        run_episode(sim, ahead, seed)
        lifted.append(sim.success)
    assert not any(lifted)


def test_when_palms_grasp_a_little_off_centre_expect_success(sim: HumanoidSim) -> None:
    for palm_ahead in (-0.004, 0.008):
        run_episode(sim, ScriptedExpert(sim.model, plan=GraspPlan(palm_ahead=palm_ahead)), 4000)
        assert sim.success


def test_success_needs_the_box_to_stay_up() -> None:
    with HumanoidSim(LiftTask(hold_steps=4)) as sim:
        expert = ScriptedExpert(sim.model)
        sim.reset(seed=1)
        expert.reset(seed=1)
        up = 0
        while not sim.success:
            sim.step(act(expert, sim))
            height = sim.box_position[2] - sim.model.box_rest_height
            up = up + 1 if height >= sim.task.lift_height else 0
            assert sim.success == (up >= 4)
            assert up <= 4


def test_when_the_box_is_let_go_early_expect_no_success(sim: HumanoidSim) -> None:
    expert = ScriptedExpert(sim.model)
    sim.reset(seed=1)
    expert.reset(seed=1)
    while sim.box_position[2] - sim.model.box_rest_height < sim.task.lift_height:
        sim.step(act(expert, sim))
    for _ in range(20):
        sim.step(sim.home, duration_s=0.1)
    assert not sim.success


def test_when_reset_expect_success_to_be_forgotten(sim: HumanoidSim) -> None:
    run_episode(sim, ScriptedExpert(sim.model), seed=1)
    assert sim.success
    sim.reset(seed=1)
    assert not sim.success


@pytest.mark.parametrize(
    ("height", "tilt", "speed", "held", "lifted"),
    [
        (0.10, 0.0, 0.0, True, True),
        (0.07, 0.0, 0.0, True, False),
        (0.10, 0.5, 0.0, True, False),
        (0.10, 0.0, 1.0, True, False),
        (0.10, 0.0, 0.0, False, False),
    ],
)
def test_a_lifted_box_is_high_level_slow_and_held(
    height: float, tilt: float, speed: float, held: bool, lifted: bool
) -> None:
    assert LiftTask().is_lifted(height, tilt, speed, held) is lifted


@pytest.mark.parametrize(
    "wrong",
    [
        {"box_mass": 0.0},
        {"box_x_range": -0.1},
        {"sliding_friction": float("nan")},
        {"hold_steps": 0},
        {"hold_steps": 60},
    ],
)
def test_when_task_is_impossible_expect_error(wrong: dict[str, float]) -> None:
    with pytest.raises(TaskError, match="expected"):
        LiftTask(**wrong)  # type: ignore[arg-type]


# --- kinematics --------------------------------------------------------------------------------


def test_inverse_kinematics_reaches_both_palm_poses(sim: HumanoidSim) -> None:
    kinematics = PalmKinematics(sim.model, iterations=40)
    goals = tuple(
        PalmPose(np.array([0.40, y, 0.95]), hand_rotation(yaw=0.2, pitch=0.3)) for y in (0.15, -0.1)
    )
    solved = kinematics.solve(sim.home, (goals[0], goals[1]))
    for palm, goal in zip(kinematics.palms(solved), goals):
        np.testing.assert_allclose(palm.position, goal.position, atol=1e-3)
        np.testing.assert_allclose(palm.rotation, goal.rotation, atol=1e-2)
    assert np.all((sim.joint_lower <= solved) & (solved <= sim.joint_upper))


def test_minimum_jerk_starts_and_ends_at_rest() -> None:
    assert minimum_jerk(-1.0) == 0.0
    assert minimum_jerk(0.5) == pytest.approx(0.5)
    assert minimum_jerk(2.0) == 1.0
    assert minimum_jerk(1e-3) < 1e-7


# --- pictures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", ["front", "overview"])
def test_pictures_show_the_scene(sim: HumanoidSim, camera: str) -> None:
    try:
        picture = sim.render(160, 120, camera)
    except RenderError as error:
        pytest.skip(f"no OpenGL backend on this machine: {error}")
    assert picture.shape == (120, 160, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10.0


def test_when_camera_is_unknown_expect_error_that_names_the_known(sim: HumanoidSim) -> None:
    with pytest.raises(RenderError, match=r"front.*overview.*'side'"):
        sim.render(64, 48, "side")


def test_when_closed_expect_error() -> None:
    sim = HumanoidSim()
    sim.close()
    sim.close()
    with pytest.raises(ClosedError):
        sim.step(sim.home)
