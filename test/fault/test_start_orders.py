"""FAULTS row 28: the nodes come up in any order, and nothing moves before all inputs have been there for a second."""

import time

import numpy as np
import pytest
from soak import SOAK, count

from resfit_ros import graphs
from resfit_ros.bringup import RunConfig, with_timing
from resfit_ros.msg import ExecutedAction
from resfit_ros.supervise import Supervisor

INPUTS = ("residual", "episode_manager", "sim_robot", "safety_filter")
LONGEST_DELAY_S = 10.0 if SOAK else 0.4


@pytest.mark.parametrize("seed", range(count(20, 2)))
def test_when_nodes_start_in_any_order_expect_disarmed_until_all_inputs_are_healthy(
    start, config, switch, tmp_path, measured, seed
):
    realtime = with_timing(config, "realtime")
    safety = config.section("safety_filter") | {"action_timeout_s": 0.4, "state_timeout_s": 2.0}
    sections = {**realtime.sections, "safety_filter": safety}
    settings = RunConfig(config.path, sections)
    specs = {s.name: s for s in graphs.deploy_graph(settings, "python:odd_policies:StandStill", None)}
    rng = np.random.default_rng(seed)
    order = [str(name) for name in rng.permutation(list(specs))]
    probe = start((specs[order[0]],), whole=False)
    others, begun = [], {order[0]: time.monotonic()}
    armed_at = None
    try:
        for name in order[1:]:
            probe.spin(float(rng.uniform(0, LONGEST_DELAY_S)))
            assert probe.state() != ExecutedAction.STATE_ARMED or set(INPUTS) <= set(begun)
            others.append(Supervisor((specs[name],), tmp_path / "config", tmp_path / "logs"))
            others[-1].__enter__()
            begun[name] = time.monotonic()
        probe.wait(lambda: probe.state() == ExecutedAction.STATE_ARMED, 60.0)
        armed_at = time.monotonic()
        probe.wait(lambda: len(probe.seen["executed_action"]) > 5, 30.0)
    finally:
        for supervisor in others:
            supervisor.stop()
    after_s = armed_at - max(begun[name] for name in INPUTS)
    first_armed = next(
        i for i, s in enumerate(probe.seen["safety_status"]) if s.state == ExecutedAction.STATE_ARMED
    )
    before = {s.state for s in probe.seen["safety_status"][:first_armed]}
    assert before <= {ExecutedAction.STATE_DISARMED}
    assert after_s >= 1.0
    measured(28, f"{' '.join(order)}: armed {after_s:.1f} s after the last input was started")
