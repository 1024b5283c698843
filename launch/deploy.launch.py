"""Run the base policy, and the residual of a checkpoint or exported file on top of it, without learning.

ros2 launch resfit_ros deploy.launch.py checkpoint:=DIR
ros2 launch resfit_ros deploy.launch.py checkpoint:=lift.resfit policy:=DIR robot:=true
"""

import dataclasses

from resfit_ros import deploying, launching
from resfit_ros.core.parameter_groups import REALTIME
from resfit_ros.launching import AUTO, NONE, Argument, Plan, Values

ARGUMENTS = (
    Argument(
        "policy",
        AUTO,
        "Base policy; auto: the configuration's, else the one the checkpoint was trained on, else that of "
        "runs/latest.",
    ),
    Argument(
        "checkpoint",
        NONE,
        "Checkpoint, folder of them, run, or file of 'resfit export', whose residual runs; auto: those beside "
        "the policy; none: base policy alone.",
    ),
    Argument("record", "false", "true: keep one bag per episode, in bags/ below the directory 'out'."),
    Argument("out", AUTO, "Directory for the nodes' parameters and bags; auto: a new one in runs/."),
    launching.CONFIG,
    dataclasses.replace(launching.TIMING, default=REALTIME),
    launching.ROBOT,
)


def plan(values: Values) -> Plan:
    chosen = deploying.deployment(values)
    directory = values.run_directory("out")
    bags = directory / deploying.BAGS if values.flag("record") else None
    return Plan(chosen.specs(not values.flag("robot"), bags), directory, words=chosen.words)


def generate_launch_description():
    return launching.description("deploy", ARGUMENTS, plan)
