"""How often a base policy alone does the simulated task."""

import time
from collections.abc import Callable
from typing import Any

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig
from resfit_ros.core.types import Outcome
from resfit_ros.core.intervals import wilson_interval
from resfit_ros.policies.protocol import BasePolicy
from resfit_ros.runner.lockstep import LockstepRobot
from resfit_ros.runner.settings import RobotSettings


def measure_success(
    config: RunConfig,
    policy: BasePolicy,
    episodes: int,
    seed: int,
    on_progress: Callable[[float, float, str], None] = lambda done, total, words: None,
) -> dict[str, Any]:
    """Success rate with its 95 % interval over the scenes that base policies are evaluated on.

    The policy acts as on the robot: chunks executed as section 'base_policy' says, behind the safety
    filter. Raises ConfigError when the simulated robot cannot run the configuration.
    """
    first, started = graphs.scenes(seed, graphs.BASE_SCENES), time.monotonic()
    robot = LockstepRobot(RobotSettings.of(config), policy)
    won: list[int] = []  # steps of each success
    try:
        for i in range(episodes):
            end = robot.run_episode(i + 1, first + i).end
            if end.outcome is Outcome.SUCCESS:
                won.append(end.steps)
            on_progress(i + 1, episodes, f"{len(won)} of {i + 1} succeeded")
    finally:
        robot.close()
    return {
        "policy": policy.spec.name,
        "identity": policy.spec.identity,
        "seed": seed,
        "first_scene": first,
        "episodes": episodes,
        "successes": len(won),
        "success_rate": len(won) / episodes,
        "wilson_95": list(wilson_interval(len(won), episodes)),
        "mean_steps_of_successes": sum(won) / len(won) if won else None,
        "seconds": time.monotonic() - started,
    }
