"""What somebody at a terminal does to a running graph: parameters, resets, services."""

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, ListParameters, SetParameters
from std_srvs.srv import Trigger

from resfit_ros import graphs
from resfit_ros.msg import Action, Episode

LEARNER = {"warmup_steps": 50, "critic_ensemble": 2, "hidden_width": 16, "batch_size": 16, "utd": 0.2}


def finetune(config, policy_dir, tmp_path):
    (tmp_path / "run").mkdir()
    return graphs.finetune_graph(config, tmp_path / "run", policy_dir, None, 0, learner=LEARNER)


def set_parameter(probe, node: str, name: str, value: ParameterValue):
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return probe.call(SetParameters, f"{node}/set_parameters", request).results[0]


def test_when_a_learning_run_is_reset_expect_episodes_to_go_on(start, config, policy_dir, tmp_path):
    probe = start(finetune(config, policy_dir, tmp_path))
    probe.ended(1)
    answer = probe.call(Trigger, "reset", Trigger.Request())
    assert answer.success, answer.message
    aborted = [e.episode_id for e in probe.seen["episode"] if e.outcome == Episode.OUTCOME_ABORTED]
    newest = max(aborted, default=0)
    probe.wait(lambda: max(e.episode_id for e in probe.ended()) >= newest + 2, 30.0)


def test_when_nothing_is_lost_expect_each_step_published_once(start, config, policy_dir, tmp_path):
    probe = start(finetune(config, policy_dir, tmp_path))
    probe.ended(2)
    messages = [*probe.of_episode("observation", 2), *probe.of_episode("action", 2)]
    steps = len({(type(m), m.step) for m in messages})
    assert steps > 100
    assert len(messages) - steps <= 4  # a heartbeat of the simulation may ask again


def test_when_parameters_are_read_expect_a_value_for_each(start, config, policy_dir, tmp_path):
    specs = finetune(config, policy_dir, tmp_path)
    probe = start(specs)
    for spec in specs:
        names = probe.call(
            ListParameters, f"{spec.name}/list_parameters", ListParameters.Request()
        ).result.names
        request = GetParameters.Request(names=names)
        values = probe.call(GetParameters, f"{spec.name}/get_parameters", request).values
        unset = [n for n, v in zip(names, values, strict=True) if v.type == ParameterType.PARAMETER_NOT_SET]
        assert unset == [], spec.name


def test_when_the_residual_is_switched_off_by_parameter_expect_base_actions(
    start, config, policy_dir, tmp_path
):
    probe = start(finetune(config, policy_dir, tmp_path))
    probe.wait(lambda: any(a.mode == Action.MODE_EXPLORE for a in probe.seen["action"]), 60.0)
    off = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=False)
    assert set_parameter(probe, "residual", "enabled", off).successful
    probe.spin(0.5)
    seen = len(probe.seen["action"])
    probe.wait(lambda: len(probe.seen["action"]) > seen + 20, 30.0)
    assert {a.mode for a in probe.seen["action"][seen:]} == {Action.MODE_BASE}


def test_when_a_read_only_parameter_is_set_expect_a_refusal(start, config, policy_dir, tmp_path):
    probe = start(finetune(config, policy_dir, tmp_path))
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=50.0)
    result = set_parameter(probe, "safety_filter", "control_hz", value)
    assert not result.successful
    assert "read-only" in result.reason
