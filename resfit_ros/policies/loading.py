"""From a reference to a loaded policy that fits the robot."""

import importlib
from collections.abc import Callable

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.policies import reference as kinds
from resfit_ros.policies.protocol import BasePolicy, Robot, check_fits, close_policy
from resfit_ros.policies.reference import PolicyReference, parse_reference

# Each module has load(reference, robot) -> BasePolicy. They are imported when they are asked for: no
# robot has all the libraries they need.
ADAPTERS = {
    kinds.BUILT_IN: "chunk_policy",
    kinds.LEROBOT: "lerobot",
    kinds.TORCHSCRIPT: "torch_files",
    kinds.TORCH_EXPORT: "torch_files",
    kinds.ONNX: "onnx",
    kinds.OPENPI: "openpi",
    kinds.PYTHON: "entry_point",
    kinds.EXPERT: "expert",
}
# What to install where a library is missing, by the name of its top-level module.
INSTALL = {
    "onnxruntime": "pip install onnxruntime",
    "websockets": "pip install websockets msgpack",
    "msgpack": "pip install websockets msgpack",
    "lerobot": "install LeRobot here, or serve the policy from LeRobot's own environment with "
    "'resfit serve-policy --lerobot DIR' and use policy: ws://HOST:PORT",
    "mujoco": "pip install mujoco",
    "torch": "pip install torch",
}


def load_policy(reference: PolicyReference, robot: Robot, chunking: Chunking) -> BasePolicy:
    """The policy, checked against the robot's joints, state, cameras, rate and chunk lengths.

    Raises ConfigError or DataError naming the policy and what is wrong.
    """
    try:
        module = importlib.import_module(f"resfit_ros.policies.{ADAPTERS[reference.kind]}")
        load: Callable[[PolicyReference, Robot], BasePolicy] = module.load
        policy = load(reference, robot)
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in INSTALL:
            raise
        raise ConfigError(
            f"base policy '{reference}' needs the Python package '{missing}', which is missing: {INSTALL[missing]}"
        ) from None
    try:
        check_fits(policy.spec, robot, chunking.least_horizon)
    except BaseException:  # it may hold a connection, and is loaded again and again
        close_policy(policy)
        raise
    return policy


def load_base_policy(p: BasePolicyParameters) -> BasePolicy:
    """The policy that the node's parameters ask for."""
    return load_policy(parse_reference(p.policy), Robot.of(p), p.chunking)
