"""Run the base policy, and the residual of a checkpoint on top of it, without learning.

ros2 launch resfit_ros deploy.launch.py policy:=DIR checkpoint:=DIR
"""

import dataclasses

from resfit_ros import graphs, launching
from resfit_ros.core import run_layout
from resfit_ros.core.parameter_groups import REALTIME
from resfit_ros.launching import AUTO, NONE, Argument, Plan, Values

ARGUMENTS = (
    launching.POLICY,
    Argument(
        "checkpoint",
        NONE,
        "Checkpoint, or folder of them, whose residual runs; auto: those beside the policy; "
        "none: base policy alone.",
    ),
    Argument("out", AUTO, "Directory for the nodes' parameters; auto: a new one in runs/."),
    launching.CONFIG,
    dataclasses.replace(launching.TIMING, default=REALTIME),
    launching.ROBOT,
)


def plan(values: Values) -> Plan:
    config = values.config()
    policy = values.policy(config)
    checkpoint = values.beside_policy("checkpoint", run_layout.CHECKPOINTS, policy)
    simulate = not values.flag("robot")
    specs = graphs.deploy_graph(config, policy, checkpoint, simulate)
    return Plan(specs, values.run_directory("out"), words=f"policy {policy or 'of a controller'}, checkpoint {checkpoint}")


def generate_launch_description():
    return launching.description("deploy", ARGUMENTS, plan)
