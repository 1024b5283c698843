"""Pretrain critics on bags that are played: start this, then `ros2 bag play` every bag, one after another.

ros2 launch resfit_ros pretrain.launch.py policy:=DIR run_dir:=DIR updates:=3000
"""

from resfit_ros import graphs, launching
from resfit_ros.launching import AUTO, Argument, Plan, Values

ARGUMENTS = (
    launching.POLICY,
    Argument("run_dir", AUTO, "Run directory for the checkpoint; fine-tuning goes on from it. auto: a new one."),
    Argument("updates", "3000", "Critic updates; the last ones once nothing has been played for five seconds."),
    launching.CONFIG,
    launching.TIMING,
    launching.SEED,
)


def plan(values: Values) -> Plan:
    config = values.config()
    policy, run_dir = values.policy(config), values.run_directory("run_dir")
    updates = values.number("updates", 1)
    specs = graphs.pretrain_graph(config, run_dir, policy, values.number("seed", 0), updates)
    words = f"{updates} critic updates on what is played, on top of {policy or 'a controller'}, run in {run_dir}"
    return Plan(specs, run_dir, "learner", words)


def generate_launch_description():
    return launching.description("pretrain", ARGUMENTS, plan)
