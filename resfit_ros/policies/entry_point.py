"""Any Python class as a base policy: `python:package.module:Class`."""

import importlib
import inspect

from resfit_ros.core.errors import ConfigError
from resfit_ros.policies.protocol import BasePolicy, PolicySpec, Robot
from resfit_ros.policies.reference import PolicyReference


def load(reference: PolicyReference, robot: Robot) -> BasePolicy:
    """Calls Class(robot, **options); options come from a description.

    Raises ConfigError when there is no such class, or it is no base policy.
    """
    cls = _find(reference)
    try:
        inspect.signature(cls).bind(robot, **reference.options)
    except (TypeError, ValueError) as error:  # ValueError: no signature to be had
        raise ConfigError(
            f"base policy '{reference}': it is called as Class(robot, **options), which does not fit: {error}"
        ) from None
    policy = cls(robot, **reference.options)
    for name in ("spec", "reset", "infer"):
        if not hasattr(policy, name):
            raise ConfigError(f"base policy '{reference}' has no '{name}'; see resfit_ros.policies.protocol.BasePolicy")
    if not isinstance(policy.spec, PolicySpec):
        raise ConfigError(f"base policy '{reference}': spec must be a PolicySpec, got {type(policy.spec).__name__}")
    if not policy.spec.identity:
        raise ConfigError(
            f"base policy '{reference}': spec.identity is empty, so that a run could not tell two policies apart; "
            "give it resfit_ros.policies.identity.identity_of(files, options)"
        )
    return policy


def _find(reference: PolicyReference) -> type:
    module_name, colon, class_name = reference.location.partition(":")
    if not colon or not class_name or not module_name or module_name.startswith("."):
        raise ConfigError(f"base policy '{reference}': write python:package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # found, but something that it imports is missing
        raise ConfigError(
            f"base policy '{reference}': there is no module '{error.name}'; install it, or put its folder "
            "on PYTHONPATH"
        ) from None
    found = getattr(module, class_name, None)
    if found is None:
        raise ConfigError(f"base policy '{reference}': module '{module_name}' has no '{class_name}'")
    return found
