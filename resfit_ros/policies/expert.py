"""The simulation's scripted expert in the place of a base policy, to record demonstrations."""

from collections.abc import Sequence

import numpy as np

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Float32, Observation
from resfit_ros.policies.identity import identity_of
from resfit_ros.policies.protocol import PolicySpec, Robot
from resfit_ros.policies.reference import PolicyReference
from resfit_ros.sim import DemonstrationNoise, LiftTask, ScriptedExpert, load_model


class ExpertPolicy:
    """Closed loop: one action per observation, from joint positions and the box pose."""

    def __init__(self, joint_names: Sequence[str], layout: StateLayout, seed: int = 0) -> None:
        self._expert = ScriptedExpert(load_model(LiftTask()), noise=DemonstrationNoise())
        self._positions = layout.slice_of("joint_positions")
        self._box = layout.slice_of("pose/box")
        self._seed = seed
        about = {"kind": "expert", "seed": seed}
        self.spec = PolicySpec(
            name="scripted_expert",
            action_dim=len(joint_names),
            horizon=1,
            identity=identity_of(about=about),
            state_dim=layout.size,
            joint_names=tuple(joint_names),
            config=about,
        )

    def reset(self, episode_id: int) -> None:
        """Draws the demonstrator's noise for this episode."""
        self._expert.reset(seed=np.random.SeedSequence((self._seed, episode_id)).generate_state(1)[0])

    def infer(self, observation: Observation) -> Float32:
        """One joint target, float32 (1, A)."""
        box = observation.state[self._box].astype(np.float64)
        x, y, z, w = box[3:]
        positions = observation.state[self._positions].astype(np.float64)
        target = self._expert.act(positions, box[:3], np.array([w, x, y, z]))
        return target.astype(np.float32)[None, :]


def load(reference: PolicyReference, robot: Robot) -> ExpertPolicy:
    """`expert` or `expert:SEED`. Raises ConfigError on another seed than a whole number."""
    reference.require_no_options()
    seed = reference.location or "0"
    if not seed.isdecimal():
        raise ConfigError(f"policy '{reference}': write expert:SEED with a whole number")
    return ExpertPolicy(robot.joint_names, robot.layout, int(seed))
