"""Learn a residual on top of a frozen base policy, on the robot or in simulation.

ros2 launch resfit_ros finetune.launch.py policy:=DIR run_dir:=DIR
"""

from resfit_ros import graphs, launching
from resfit_ros.core import run_layout
from resfit_ros.data.bag_directory import next_episode_id
from resfit_ros.launching import AUTO, Argument, Plan, Values

ARGUMENTS = (
    launching.POLICY,
    Argument("run_dir", AUTO, "Run directory; an unfinished one is resumed. auto: a new one in runs/."),
    Argument("demos", AUTO, "Demonstration bags to mix in; auto: those beside the policy; none: without."),
    Argument("steps", AUTO, "Environment steps to learn for; auto: as the configuration says."),
    launching.CONFIG,
    launching.TIMING,
    launching.ROBOT,
    launching.SEED,
)


def plan(values: Values) -> Plan:
    config = values.config()
    policy = values.policy(config)
    demos = values.beside_policy("demos", run_layout.DEMOS, policy)
    learner = {"exit_when_done": True}
    if values.text("steps") != AUTO:
        learner["total_steps"] = values.number("steps", 100)
    seed, simulate = values.number("seed", 0), not values.flag("robot")
    run_dir = values.run_directory("run_dir")
    first = next_episode_id(run_dir / run_layout.FINETUNE_BAGS)
    specs = graphs.finetune_graph(config, run_dir, policy, demos, seed, first, simulate, learner)
    return Plan(specs, run_dir, "learner", f"policy {policy or 'of a controller'}, demonstrations {demos}, run in {run_dir}")


def generate_launch_description():
    return launching.description("finetune", ARGUMENTS, plan)
