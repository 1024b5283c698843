"""One robot in one process: what the graph's nodes do in lockstep, in the same order."""

from collections.abc import Callable

import numpy as np

from resfit_ros.bringup import NAMESPACE
from resfit_ros.core.acting import base_action
from resfit_ros.core.chunks import Chunking
from resfit_ros.core.episode import EpisodeMachine
from resfit_ros.core.errors import DataError
from resfit_ros.core.images import resized
from resfit_ros.core.observation import (
    JOINT_BLOCKS,
    POSE_PREFIX,
    ObservationAssembler,
    SourceValue,
    canonical_pose,
)
from resfit_ros.core.safety import SafetyFilter
from resfit_ros.core.safety_settings import SafetyTiming
from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import Action, Executed, Observation, Outcome
from resfit_ros.policies.chunked import ChunkedPolicy
from resfit_ros.policies.protocol import BasePolicy
from resfit_ros.runner.settings import BOX, CAMERA, RobotSettings
from resfit_ros.sim import HumanoidSim

SOURCE = f"{NAMESPACE}/residual"  # what the safety filter trusts

# act(observation, base action) -> what to do instead
Act = Callable[[Observation, Action], Action]


def base_alone(_observation: Observation, base_only: Action) -> Action:
    """The residual switched off."""
    return base_only


class LockstepRobot:
    """The simulated robot, the control path around it and a base policy.

    An episode depends on its id, its scene and on what acts, not on the episodes before it.
    """

    def __init__(
        self, settings: RobotSettings, policy: BasePolicy, chunking: Chunking | None = None
    ) -> None:
        self.settings = settings
        self.sim = HumanoidSim()
        self.base = ChunkedPolicy(policy, chunking or settings.base_policy.chunking)
        self._joints = len(settings.safety.joint_names)
        self._begin(0, 0)

    def close(self) -> None:
        """Frees the renderer."""
        self.sim.close()

    def run_episode(self, episode_id: int, scene_seed: int, act: Act = base_alone) -> AssembledEpisode:
        """One episode up to its success or the step limit, as the learner would take it in.

        Raises DataError when the base policy or the simulation gives what cannot be executed.
        """
        self._begin(episode_id, scene_seed)
        while True:
            observation = self._observe()
            ended = self._machine.on_observation(episode_id, observation.step, observation.stamp_ns)
            action = act(observation, self._base_action(observation))
            self._transitions.add(observation)
            self._transitions.add(action)
            if ended is not None:
                (episode,) = self._transitions.add(ended)
                return episode
            self._transitions.add(self._execute(action))

    def _begin(self, episode_id: int, scene_seed: int) -> None:
        s = self.settings
        self._machine = EpisodeMachine(s.episodes.max_steps, first_episode_id=episode_id)
        self._transitions = TransitionAssembler(self._joints)
        self._sources = ObservationAssembler(s.aggregator.layout, s.aggregator.camera_names)
        self.base.reset(episode_id)
        self._step = 0
        self._machine.request_start(scene_seed)
        self.sim.reset(scene_seed)
        self._machine.reset_done(self.sim.time_ns)
        self._safety = self._new_safety_filter(episode_id)

    def _new_safety_filter(self, episode_id: int) -> SafetyFilter:
        period_ns = self.settings.safety.control_period_ns
        timing = SafetyTiming(period_ns, period_ns, 0, 0)  # the simulation waits: nothing can be late
        safety = SafetyFilter(self.settings.safety.limits, timing, SOURCE, armed=True)
        now_ns = self.sim.time_ns
        safety.on_joint_state(self.sim.joint_positions, now_ns, now_ns)
        safety.on_episode_started(episode_id, now_ns)
        return safety

    # -- aggregator -------------------------------------------------------------------------

    def _observe(self) -> Observation:
        sim, stamp_ns = self.sim, self.sim.time_ns
        layout = self._sources.layout
        self._see("joints", {b: getattr(sim, b) for b in layout.blocks if b in JOINT_BLOCKS})
        if layout.poses:
            w, x, y, z = sim.box_quaternion
            pose = canonical_pose(sim.box_position, (x, y, z, w))
            self._see(POSE_PREFIX + BOX, {POSE_PREFIX + BOX: pose})
        if self._sources.cameras:
            self._see(CAMERA, {"image": self._image()})
        state = self._sources.state()
        if not np.all(np.isfinite(state)):
            raise DataError(f"scene {self._machine.scene_seed}: the simulated state holds NaN or Inf")
        observation = Observation(
            stamp_ns, self._machine.episode_id, self._step, state, self._sources.images()
        )
        self._step += 1
        return observation

    def _see(self, source: str, value: dict[str, np.ndarray]) -> None:
        self._sources.update(source, SourceValue(self.sim.time_ns, self.sim.time_ns, value))

    def _image(self) -> np.ndarray:
        a, rendered = self.settings.aggregator, self.settings.sim
        picture = self.sim.render(rendered.image_width, rendered.image_height)
        return resized(picture, a.image_width, a.image_height)

    # -- base policy and residual -----------------------------------------------------------

    def _base_action(self, observation: Observation) -> Action:
        return base_action(observation, *self.base.action(observation), SOURCE)

    # -- safety filter and robot ------------------------------------------------------------

    def _execute(self, action: Action) -> Executed:
        sim, now_ns = self.sim, self.sim.time_ns
        taken, _ = self._safety.on_action(action, now_ns)
        set_point = self._safety.tick(now_ns) if taken else None
        if set_point is None or set_point.executed is None:
            raise DataError(f"step {action.step}: the safety filter refused an action that is not finite")
        sim.step(set_point.position, 1.0 / self.settings.sim.control_hz)
        if sim.success and self.settings.sim.label_success:
            self._machine.on_label(Outcome.SUCCESS, sim.time_ns, "sim_robot")
        self._safety.on_joint_state(sim.joint_positions, sim.time_ns, sim.time_ns)
        return set_point.executed
