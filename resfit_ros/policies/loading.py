"""Which policy a configuration asks for."""

from pathlib import Path

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.policies.protocol import BasePolicy, check_fits


def load_base_policy(p: BasePolicyParameters) -> BasePolicy:
    """The configured base policy, checked against the robot's joints and state layout."""
    if p.policy == "expert":
        from resfit_ros.policies.expert import ExpertPolicy  # needs MuJoCo, which robots lack

        policy: BasePolicy = ExpertPolicy(p.joint_names, p.layout, p.seed)
    else:
        from resfit_ros.policies.chunk_policy import ChunkPolicy

        if not p.policy_path:
            raise ConfigError("policy_path is empty; give the directory written by 'resfit train-bc'")
        policy = ChunkPolicy(Path(p.policy_path))
    check_fits(policy.spec, p.joint_names, p.layout.size)
    if policy.spec.horizon < p.execute_steps:
        raise ConfigError(
            f"execute_steps {p.execute_steps} is longer than the chunks of '{policy.spec.name}' "
            f"({policy.spec.horizon}); lower execute_steps"
        )
    return policy
