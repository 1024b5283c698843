"""Demonstrations and noisy rollouts of a base policy on the simulated lift, written as bags without ROS."""

from pathlib import Path

import numpy as np

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig
from resfit_ros.core.acting import ActingSchedule, residual_action
from resfit_ros.core.chunks import Chunking
from resfit_ros.core.residual import CorrelatedNoise
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Action, Observation, Outcome
from resfit_ros.data.bag_about import BagAbout, custom_data
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.policies.chunk_policy import ChunkPolicy
from resfit_ros.policies.expert import ExpertPolicy
from resfit_ros.runner.lockstep import LockstepRobot
from resfit_ros.runner.settings import RobotSettings

ROLLOUT_SCENES = 300_000  # neither those of fine-tuning nor of evaluations


def bag_of(directory: Path, episode: AssembledEpisode, about: BagAbout) -> None:
    """Writes an episode that was run in this process as a bag."""
    (segment,) = episode.segments
    period_ns = round(1e9 / about.control_hz)
    data = EpisodeData(
        states=segment.states,
        bases=segment.bases,
        phases=segment.phases,
        actions=segment.actions,
        stamps_ns=np.arange(1, len(segment) + 2, dtype=np.int64) * period_ns,
        outcome=episode.end.outcome,
        scene_seed=episode.end.scene_seed,
        labelled_by="sim_robot",
    )
    write_episode(directory, episode.end.episode_id, data, about)


def recorded_steps(directory: Path) -> int:
    """Environment steps of all bags of a folder."""
    paths = sorted(directory.glob("episode_*"))
    return sum(int(custom_data(path)["steps"]) for path in paths)


def about_of(settings: RobotSettings) -> BagAbout:
    """What the bags say of themselves."""
    a = settings.aggregator
    return BagAbout(joint_names=a.joint_names, state=a.state, control_hz=a.control_hz, source="simulation")


def record_demonstrations(config: RunConfig, settings: RobotSettings, seed: int, directory: Path) -> None:
    """The successes that `resfit record` would keep, as bags."""
    expert = ExpertPolicy(settings.aggregator.joint_names, settings.aggregator.layout, seed)
    robot = LockstepRobot(settings, expert, Chunking(execute_steps=1))
    won = tried = 0
    while won < config.behaviour_cloning.demonstrations:
        tried += 1
        episode = robot.run_episode(tried, graphs.scenes(seed, graphs.RECORD_SCENES) + tried)
        if episode.end.outcome is Outcome.SUCCESS:
            won += 1
            bag_of(directory, episode, about_of(settings))
    robot.close()


def record_rollouts(
    settings: RobotSettings, policy: ChunkPolicy, seed: int, episodes: int, std: float, directory: Path
) -> None:
    """Base policy with the noise of the warm-up, successes and failures alike."""
    robot, schedule = LockstepRobot(settings, policy), ActingSchedule(1.0, std, warm_up=True)
    noise = CorrelatedNoise(policy.normaliser.action_dim, 0.9)

    def act(_observation: Observation, base_only: Action) -> Action:
        nothing = np.zeros(policy.normaliser.action_dim, np.float32)
        return residual_action(base_only, nothing, noise.sample(), schedule, policy.normaliser) or base_only

    for i in range(1, episodes + 1):
        noise.reset(seed + 10_000, i)
        scene = graphs.scenes(seed, ROLLOUT_SCENES) + i
        bag_of(directory, robot.run_episode(i, scene, act), about_of(settings))
    robot.close()
