"""Record demonstrations of the scripted expert in the simulation, one bag per episode.

ros2 launch resfit_ros record.launch.py out:=DIR episodes:=8
"""

from resfit_ros import graphs, launching
from resfit_ros.core.errors import ConfigError
from resfit_ros.data.bag_directory import count_successes, next_episode_id
from resfit_ros.launching import AUTO, Argument, Plan, Values

ARGUMENTS = (
    Argument("out", AUTO, "Folder that takes one bag per episode; what is there counts. auto: a new one."),
    Argument("episodes", "8", "Successful episodes to record."),
    launching.CONFIG,
    launching.TIMING,
    launching.SEED,
)


def plan(values: Values) -> Plan:
    config, seed = values.config(), values.number("seed", 0)
    wanted = values.number("episodes", 1)
    out = values.run_directory("out")
    there = count_successes(out)
    if there >= wanted:
        raise ConfigError(f"out:={out}: {there} successful episodes are there already; ask for more")
    specs = graphs.record_graph(config, out, seed, next_episode_id(out), successes=wanted - there)
    return Plan(specs, out, "recorder", f"{wanted - there} successful episodes to {out}")


def generate_launch_description():
    return launching.description("record", ARGUMENTS, plan)
