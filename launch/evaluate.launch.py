"""Measure success rates: blind, interleaved, base and base + residual on the same initial scenes.

ros2 launch resfit_ros evaluate.launch.py policy:=DIR checkpoint:=DIR out:=DIR
"""

import json

from resfit_ros import graphs, launching
from resfit_ros.core import run_layout
from resfit_ros.launching import AUTO, NONE, Argument, Plan, Values

ARGUMENTS = (
    launching.POLICY,
    Argument("checkpoint", AUTO, "What is compared; auto: those beside the policy; none: base policy alone."),
    Argument("against", NONE, "Another checkpoint, in the place of the base policy alone."),
    Argument("out", AUTO, "Directory for everything; an unfinished evaluation goes on; auto: one in runs/."),
    Argument("episodes", "100", "Episodes per policy, at most."),
    Argument("sequential", "true", "true: stop as soon as the answer is known; false: run all episodes."),
    Argument("scene", "900000", "Seed of the first initial scene."),
    launching.CONFIG,
    launching.TIMING,
    launching.ROBOT,
    Argument("seed", "-1", "Seed of the order; -1: drawn, so that nobody can know it."),
)


def plan(values: Values) -> Plan:
    from resfit_ros.reporting.compared import free_for, newest_checkpoint, setup_of

    config, simulate, out = values.config(), not values.flag("robot"), values.run_directory("out")
    policy, result, first = values.policy(config), out / run_layout.EVALUATION, free_for(out)
    paths = [values.beside_policy(n, run_layout.CHECKPOINTS, policy) for n in ("checkpoint", "against")]
    actor, against = (newest_checkpoint(path, graphs.feature_extractor(config)) for path in paths)
    numbers = [values.number(name, least) for name, least in (("episodes", 1), ("scene", 0), ("seed", -1))]
    setup = json.dumps(setup_of(config, policy, "", actor, against, simulate))
    more = {"sequential": values.flag("sequential"), "setup": setup, "report": True}
    where = config, policy, actor, result, out / "bags"
    specs = graphs.evaluate_graph(*where, *numbers, simulate, against, more, first)
    words = f"policy {policy or 'of a controller'}, checkpoint {actor}, result in {result}"
    return Plan(specs, out, "evaluator", words)


def generate_launch_description():
    return launching.description("evaluate", ARGUMENTS, plan)
