"""The configuration of the graph as the in-process robot needs it, and what it cannot run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resfit_ros.bringup import RunConfig, node_parameters
from resfit_ros.core.errors import ConfigError, nearest
from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.parameters import (
    AggregatorParameters,
    BasePolicyParameters,
    EpisodeParameters,
    LearnerParameters,
    SimRobotParameters,
)
from resfit_ros.core.safety_parameters import SafetyParameters
from resfit_ros.core.schema import hints
from resfit_ros.sim import HumanoidSim

CAMERA, BOX = "camera", "box"  # the one camera and the one pose that the simulated robot publishes


@dataclass(frozen=True)
class RobotSettings:
    """What the nodes of the control path and the simulated robot are configured with."""

    aggregator: AggregatorParameters
    base_policy: BasePolicyParameters
    safety: SafetyParameters
    episodes: EpisodeParameters
    sim: SimRobotParameters

    @classmethod
    def of(cls, config: RunConfig) -> "RobotSettings":
        """Raises ConfigError on what the simulated robot has not got."""
        nodes = ("aggregator", "base_policy", "safety_filter", "episode_manager", "sim_robot")
        settings = cls(*(node_parameters(config, node) for node in nodes))
        settings._check_sources(config)
        settings._check_sim(config)
        return settings

    def _check_sources(self, config: RunConfig) -> None:
        odd = [b for b in self.aggregator.layout.others if b != f"pose/{BOX}"]
        if odd:
            raise ConfigError(
                f"{config.path}: state lists {odd[0]}, but the simulated robot knows only pose/{BOX}"
            )
        names = self.aggregator.camera_names
        if names and names != (CAMERA,):
            raise ConfigError(
                f"{config.path}, section 'aggregator': camera_names {list(names)}, but the simulated "
                f"robot has only the camera '{CAMERA}'"
            )
        if self.aggregator.camera_crops:
            raise ConfigError(
                f"{config.path}, section 'aggregator': camera_crops are for real cameras; the runner without ROS "
                "does not crop: leave them out"
            )
        if names and not self.sim.camera_hz:
            raise ConfigError(
                f"{config.path}, section 'sim_robot': camera_hz is 0, so no image is rendered for "
                f"camera_names {list(names)}; set it to control_hz"
            )

    def _check_sim(self, config: RunConfig) -> None:
        with HumanoidSim() as sim:
            if self.safety.joint_names != sim.joint_names:
                raise ConfigError(
                    f"{config.path}: joint_names are not those of the simulated humanoid; use "
                    "config/bimanual_lift.yaml"
                )
            ticks = 1.0 / self.sim.control_hz / sim.timestep_s
            if ticks < 1 or abs(ticks - round(ticks)) > 1e-6:
                raise ConfigError(
                    f"{config.path}: control_hz {self.sim.control_hz:g}: its period must be a multiple "
                    f"of the physics timestep, {sim.timestep_s:g} s"
                )


def learner_parameters(config: RunConfig, seed: int, overrides: Mapping[str, Any]) -> LearnerParameters:
    """The learner's parameters with `overrides` of the algorithm's settings, for one seed.

    Raises ConfigError on a key that is none of them (naming the nearest), a wrong type or value, and
    on settings that do not go together.
    """
    known = set(hints(LearningConfig)) - {"seed"}
    for key in overrides:
        if key not in known:
            raise ConfigError(f"unknown learning setting '{key}'; {nearest(str(key), known)}")
    # The files of the graph's learner are not read: the runner has its own.
    fixed = {"seed": seed, "run_dir": ".", "policy": "", "demo_dir": "", "pretrain_updates": 0}
    learner = node_parameters(config, "learner", {**overrides, **fixed})
    learner.learning  # noqa: B018  raises on settings that do not go together
    return learner
