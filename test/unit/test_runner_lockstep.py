"""The in-process robot: how episodes end, what they hold, that they repeat."""

import numpy as np
import pytest
from builders import assert_same_segments
from tiny_run import shipped_config

pytest.importorskip("mujoco", reason="the simulated robot needs mujoco")

from resfit_ros.core.acting import ActingSchedule  # noqa: E402
from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError  # noqa: E402
from resfit_ros.core.normalize import Normaliser  # noqa: E402
from resfit_ros.core.residual import CorrelatedNoise  # noqa: E402
from resfit_ros.core.types import Outcome  # noqa: E402
from resfit_ros.policies.expert import ExpertPolicy  # noqa: E402
from resfit_ros.policies.protocol import PolicySpec  # noqa: E402
from resfit_ros.runner.acting import Residual  # noqa: E402
from resfit_ros.runner.lockstep import LockstepRobot  # noqa: E402
from resfit_ros.runner.settings import RobotSettings, learner_parameters  # noqa: E402
from resfit_ros.sim.errors import RenderError  # noqa: E402

HORIZON = 4


class StandStill:
    """Chunks that differ only in a marked joint, so that each row can be recognised."""

    def __init__(self, settings: RobotSettings, home: np.ndarray, horizon: int = HORIZON) -> None:
        self.home, self.horizon = home, horizon
        self.asked_at: list[int] = []
        names = settings.safety.joint_names
        self.spec = PolicySpec("stand_still", len(names), horizon, "still", joint_names=names)

    def reset(self, episode_id: int) -> None:
        self.asked_at = []

    def infer(self, observation) -> np.ndarray:
        self.asked_at.append(observation.step)
        chunk = np.tile(self.home, (self.horizon, 1)).astype(np.float32)
        chunk[:, 0] = 1e-3 * np.arange(self.horizon)
        return chunk


def standing_robot(max_steps: int = 10, horizon: int = HORIZON, **sections) -> LockstepRobot:
    config = shipped_config(
        episode_manager={"max_steps": max_steps}, robot={"execute_steps": HORIZON}, **sections
    )
    settings = RobotSettings.of(config)
    expert = ExpertPolicy(settings.safety.joint_names, settings.aggregator.layout)
    robot = LockstepRobot(settings, expert)
    robot.base.policy = StandStill(settings, robot.sim.home, horizon)
    return robot


@pytest.fixture(scope="module")
def expert_robot() -> LockstepRobot:
    settings = RobotSettings.of(shipped_config())
    expert = ExpertPolicy(settings.safety.joint_names, settings.aggregator.layout, seed=0)
    return LockstepRobot(settings, expert, Chunking(execute_steps=1))


@pytest.fixture(scope="module")
def success(expert_robot):
    """(episode id, episode) of the first success of the expert."""
    for i in range(1, 20):
        episode = expert_robot.run_episode(i, i)
        if episode.end.outcome is Outcome.SUCCESS:
            return i, episode
    pytest.fail("the expert never succeeded")


def test_when_the_task_is_done_expect_a_terminal_segment_with_one_reward_at_its_end(success):
    episode_id, episode = success
    (segment,) = episode.segments
    assert (segment.episode_id, segment.terminal, episode.steps_lost) == (episode_id, True, 0)
    assert len(segment) == episode.end.steps < 60
    assert (segment.rewards.sum(), segment.rewards[-1]) == (1.0, 1.0)
    assert episode.end.labelled_by == "sim_robot"


def test_when_the_task_is_done_expect_the_end_at_the_step_the_simulation_says(success, expert_robot):
    episode_id, episode = success
    expert_robot.run_episode(episode_id, episode_id)
    assert expert_robot.sim.success
    assert len(episode.segments[0].states) == episode.end.steps + 1


def test_when_steps_run_out_expect_a_timeout_that_is_not_terminal():
    episode = standing_robot(max_steps=10).run_episode(1, 5)
    (segment,) = episode.segments
    assert (episode.end.outcome, episode.end.steps) == (Outcome.TIMEOUT, 10)
    assert (len(segment), segment.terminal, segment.rewards.sum()) == (10, False, 0.0)


def test_when_success_is_not_labelled_expect_the_episode_to_run_on(success):
    episode_id, _ = success
    settings = RobotSettings.of(shipped_config(sim_robot={"label_success": False}))
    expert = ExpertPolicy(settings.safety.joint_names, settings.aggregator.layout, seed=0)
    robot = LockstepRobot(settings, expert, Chunking(execute_steps=1))
    end = robot.run_episode(episode_id, episode_id).end
    assert (end.outcome, end.steps) == (Outcome.TIMEOUT, 60)


def test_when_an_episode_ends_expect_a_base_action_for_its_last_observation():
    robot = standing_robot(max_steps=8)
    (segment,) = robot.run_episode(1, 5).segments
    assert robot.base.policy.asked_at == [0, 4, 8]
    assert segment.bases.shape == (9, 29)
    np.testing.assert_array_equal(segment.phases, np.float32([0, 0.25, 0.5, 0.75] * 2 + [0]))
    np.testing.assert_array_equal(segment.bases[:, 0], np.float32([0, 1e-3, 2e-3, 3e-3] * 2 + [0]))


def test_when_a_scene_is_run_again_in_between_others_expect_the_same_segments(success, expert_robot):
    episode_id, first = success
    expert_robot.run_episode(episode_id + 1, 77)
    assert_same_segments(expert_robot.run_episode(episode_id, episode_id).segments, first.segments)


def test_when_a_command_is_too_fast_expect_the_limited_one_stored_as_executed():
    robot = standing_robot(max_steps=1)
    robot.base.policy.home = robot.base.policy.home + 1.0
    (segment,) = robot.run_episode(1, 5).segments
    moved = segment.actions[0] - robot.sim.home
    # From rest: v = a T = 120 rad/s^2 * 0.05 s = 6 rad/s, also the velocity limit; 0.3 rad in one step.
    assert np.max(np.abs(moved)) == pytest.approx(0.3, abs=1e-6)


def test_when_noise_is_given_expect_one_sample_per_observation():
    robot = standing_robot(max_steps=3)
    unit = Normaliser(robot.base.policy.spec.joint_names, np.zeros(29), np.ones(29), np.zeros(65), np.ones(65))
    schedule = ActingSchedule(residual_scale=0.2, exploration_std=0.01, warm_up=True)
    noise, again = CorrelatedNoise(29, 0.8), CorrelatedNoise(29, 0.8)
    noise.reset(3, 1)
    again.reset(3, 1)
    act = Residual(lambda o, b, p: np.ones(29, np.float32), schedule, unit, noise)
    (segment,) = robot.run_episode(1, 5, act).segments
    for k in range(3):
        wanted = segment.bases[k] + np.float32(0.01) * again.sample()
        np.testing.assert_array_equal(segment.actions[k], wanted)


def test_when_the_residual_is_not_finite_expect_the_base_action():
    robot = standing_robot(max_steps=2)
    unit = Normaliser(robot.base.policy.spec.joint_names, np.zeros(29), np.ones(29), np.zeros(65), np.ones(65))
    schedule = ActingSchedule(residual_scale=0.2, warm_up=False)
    act = Residual(lambda o, b, p: np.full(29, np.nan, np.float32), schedule, unit)
    (segment,) = robot.run_episode(1, 5, act).segments
    np.testing.assert_array_equal(segment.actions, segment.bases[:2])


def test_when_a_chunk_is_not_finite_expect_the_policy_named():
    robot = standing_robot()
    robot.base.policy.home = np.full(29, np.nan)
    with pytest.raises(DataError, match="stand_still.*NaN or Inf"):
        robot.run_episode(1, 5)


def test_when_chunks_are_too_short_expect_the_reason():
    robot = standing_robot(horizon=2)
    with pytest.raises(DataError, match="stand_still.*fewer actions than execute_steps"):
        robot.run_episode(1, 5)


CAMERA = {
    "aggregator": {"camera_names": ["camera"], "image_width": 32, "image_height": 24},
    "sim_robot": {"camera_hz": 20.0, "image_width": 64, "image_height": 48},
}


def test_when_a_camera_is_configured_expect_resized_images_in_the_segment():
    robot = standing_robot(max_steps=2, **CAMERA)
    try:
        (segment,) = robot.run_episode(1, 5).segments
    except RenderError as error:
        pytest.skip(f"no OpenGL to render with: {error}")
    finally:
        robot.close()
    (camera,) = segment.images
    assert (camera.shape, camera.dtype) == ((3, 24, 32, 3), np.uint8)
    assert robot.settings.aggregator.cameras == ((24, 32),)
    assert len(np.unique(camera)) > 10


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"robot": {"state": ["joint_positions", "pose/cup"]}}, "pose/cup"),
        ({"aggregator": {"camera_names": ["wrist"]}}, "only the camera 'camera'"),
        ({"aggregator": {"camera_names": ["camera"]}}, "camera_hz is 0"),
        ({"robot": {"control_hz": 30.0}}, "control_hz 30"),
    ],
)
def test_when_the_simulated_robot_lacks_something_expect_it_named(sections, words):
    with pytest.raises(ConfigError, match=words):
        RobotSettings.of(shipped_config(**sections))


def test_when_joints_are_in_another_order_expect_refusal():
    names = list(reversed(shipped_config().joint_names))
    with pytest.raises(ConfigError, match="joint_names are not those"):
        RobotSettings.of(shipped_config(robot={"joint_names": names}))


def test_when_a_learning_setting_is_overridden_expect_it_in_the_learner_of_that_seed():
    learner = learner_parameters(shipped_config(), seed=7, overrides={"utd": 2})
    assert (learner.seed, learner.utd, learner.learning.seed) == (7, 2.0, 7)
    assert learner.residual_scale == shipped_config().section("learner")["residual_scale"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [({"utdd": 2}, "did you mean 'utd'"), ({"utd": "fast"}, "utd"), ({"seed": 3}, "unknown.*'seed'")],
)
def test_when_a_learning_setting_is_wrong_expect_it_named(overrides, words):
    with pytest.raises(ConfigError, match=words):
        learner_parameters(shipped_config(), 0, overrides)
