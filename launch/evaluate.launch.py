"""Measure success rates: blind, interleaved, base and base + residual on the same initial scenes.

ros2 launch resfit_ros evaluate.launch.py policy:=DIR checkpoint:=DIR out:=DIR
"""

from resfit_ros import graphs, launching
from resfit_ros.core import run_layout
from resfit_ros.core.errors import ConfigError
from resfit_ros.launching import AUTO, Argument, Plan, Values

ARGUMENTS = (
    launching.POLICY,
    Argument(
        "checkpoint",
        AUTO,
        "Checkpoint, or folder of them, to compare with the base policy; auto: those beside the policy; "
        "none: base policy alone.",
    ),
    Argument("out", AUTO, "New directory for the result and the bags; auto: one in runs/."),
    Argument("episodes", "100", "Episodes per policy."),
    Argument("scene", "900000", "Seed of the first initial scene."),
    launching.CONFIG,
    launching.TIMING,
    launching.ROBOT,
    launching.SEED,
)


def plan(values: Values) -> Plan:
    config = values.config()
    policy = values.policy(config)
    checkpoint = values.beside_policy("checkpoint", run_layout.CHECKPOINTS, policy)
    episodes, scene, seed = (values.number(n, i) for n, i in (("episodes", 1), ("scene", 0), ("seed", 0)))
    simulate = not values.flag("robot")
    out = values.run_directory("out")
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError(f"out:={out}: not empty; choose another directory or remove it")
    result = out / run_layout.EVALUATION
    specs = graphs.evaluate_graph(
        config, policy, checkpoint, result, out / "bags", episodes, scene, seed, simulate
    )
    return Plan(specs, out, "evaluator", f"policy {policy or 'of a controller'}, checkpoint {checkpoint}, result in {result}")


def generate_launch_description():
    return launching.description("evaluate", ARGUMENTS, plan)
