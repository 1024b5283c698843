"""The launch files with ROS's own launch: arguments, a whole small run, errors, and an orderly end."""

import json
from pathlib import Path

import pytest
from conftest import LAUNCH_FILES, until

# Not "launch": the folder of the launch files has that name, too.
WHERE = "is not installed: source a ROS 2, e.g. /opt/ros/jazzy/setup.bash; `resfit` runs without it"
pytest.importorskip("launch_ros.actions", reason=f"launch_ros {WHERE}")
pytest.importorskip("ros2launch", reason=f"ros2launch {WHERE}")

from launch.launch_description_sources import PythonLaunchDescriptionSource  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from resfit_ros import graphs  # noqa: E402
from resfit_ros.core import run_layout  # noqa: E402
from resfit_ros.bringup import load_config  # noqa: E402
from resfit_ros.data.bag_directory import bag_ids, count_successes  # noqa: E402
from resfit_ros.ros.own_node import OwnNode  # noqa: E402


class Probe:
    """A node that looks at the graph from outside."""

    def __init__(self, domain: int) -> None:
        self._own = OwnNode("probe", arguments=[], domain_id=domain)
        self._node = self._own.node
        self.close = self._own.close

    def names(self) -> set[str]:
        """Full names of the nodes there are, itself left out."""
        pairs = self._node.get_node_names_and_namespaces()
        return {f"{space.rstrip('/')}/{name}" for name, space in pairs} - {self._node.get_fully_qualified_name()}

    def trigger(self, service: str) -> Trigger.Response:
        """Calls a std_srvs/Trigger service."""
        client = self._node.create_client(Trigger, service)
        until(client.service_is_ready, f"{service} offered")
        future = client.call_async(Trigger.Request())

        def answered() -> bool:
            self._own.executor.spin_once(timeout_sec=0.05)
            return future.done()

        until(answered, f"{service} answers")
        return future.result()


@pytest.fixture
def probe(domain):
    one = Probe(domain)
    yield one
    one.close()


def errors(text: str) -> list[str]:
    return [line for line in text.splitlines() if "[ERROR]" in line]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name.split(".")[0])
def test_when_a_launch_file_is_loaded_expect_documented_arguments(path: Path):
    source = PythonLaunchDescriptionSource(str(path))
    arguments = source.try_get_launch_description_without_context().get_launch_arguments()
    assert len(arguments) >= 5
    for argument in arguments:
        assert argument.default_value is not None, argument.name
        assert len(argument.description) >= 15, argument.name


def test_when_finetune_is_launched_expect_its_graph_and_an_end_by_itself(
    launched, probe, policy_dir, small_config, tmp_path
):
    run_dir = tmp_path / "run"
    graph = graphs.finetune_graph(load_config(small_config), run_dir, policy_dir, None, seed=0)
    arguments = f"policy:={policy_dir}", f"config:={small_config}", f"run_dir:={run_dir}", "steps:=300"
    launch = launched("finetune", *arguments)
    expected = {f"{spec.namespace}/{spec.name}" for spec in graph}
    until(lambda: probe.names() >= expected, "every node of the graph")
    assert {name for name in probe.names() if name.startswith("/resfit/")} == expected
    answer = probe.trigger("/resfit/reset")
    assert answer.success, answer.message
    assert launch.wait() == 0, launch.output
    assert launch.processes() == []
    assert errors(launch.output) == []
    assert {p.stem for p in (run_dir / "config/finetune").glob("*.yaml")} == {s.name for s in graph}
    assert any((run_dir / run_layout.CHECKPOINTS).glob("step-*"))

    # The same command again goes on from there: nothing is left to learn, no bag is overwritten.
    before = bag_ids(run_dir / run_layout.FINETUNE_BAGS)
    again = launched("finetune", *arguments)
    assert again.wait() == 0, again.output
    assert bag_ids(run_dir / run_layout.FINETUNE_BAGS)[: len(before)] == before


def test_when_deploy_is_interrupted_expect_no_process_left(launched, probe, policy_dir, tmp_path):
    launch = launched("deploy", f"policy:={policy_dir}", f"out:={tmp_path / 'out'}")
    until(lambda: "/resfit/safety_filter" in probe.names(), "the safety filter")
    assert len(launch.processes()) == 7  # six nodes and `ros2 launch`
    launch.interrupt()
    assert launch.wait(30.0) == 0, launch.output
    assert launch.processes() == []


def test_when_a_demonstration_is_recorded_expect_its_bag_and_an_end_by_itself(launched, tmp_path):
    launch = launched("record", f"out:={tmp_path / 'demos'}", "episodes:=1")
    assert launch.wait() == 0, launch.output
    assert count_successes(tmp_path / "demos") >= 1
    assert launch.processes() == []


def test_when_an_evaluation_is_over_expect_its_result(launched, policy_dir, tmp_path):
    arguments = f"policy:={policy_dir}", "checkpoint:=none", f"out:={tmp_path / 'out'}", "episodes:=2"
    launch = launched("evaluate", *arguments)
    assert launch.wait() == 0, launch.output
    assert "base" in json.loads((tmp_path / "out" / run_layout.EVALUATION).read_text())["arms"]
    assert launch.processes() == []


def test_when_a_node_fails_expect_the_launch_to_fail(launched, tmp_path):
    (tmp_path / "empty").mkdir()
    launch = launched("finetune", f"policy:={tmp_path / 'empty'}")
    assert launch.wait() == 1
    assert "policy.json: no such file" in launch.output
    assert "node 'learner' ended with status 2" in launch.output
    assert launch.processes() == []


def test_when_the_base_policy_cannot_be_loaded_expect_the_graph_up_and_the_reason(launched, tmp_path):
    (tmp_path / "empty").mkdir()
    launch = launched("deploy", f"policy:={tmp_path / 'empty'}")
    until(lambda: "tried again every 2 s" in launch.output, "the reason")
    assert "policy.json: no such file" in launch.output
    assert len(launch.processes()) == 7  # six nodes and `ros2 launch`
    launch.interrupt()
    assert launch.wait(30.0) == 0, launch.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "policy:= is missing"),
        (("polcy:=x",), "unknown argument 'polcy'; did you mean 'policy'?"),
        (("policy:=.", "steps:=few"), "steps:=few: use a whole number"),
        (("policy:=.", "config:=nowhere"), "nowhere: no such configuration file"),
        (("policy:=.", "demos:=nowhere"), "demos:=nowhere: no such directory"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else "",
)
def test_when_an_argument_is_wrong_expect_one_line_that_says_so(launched, tmp_path, arguments, words):
    launch = launched("finetune", *arguments)
    assert launch.wait() == 1
    (line,) = errors(launch.output)
    assert words in line
    assert "Traceback" not in launch.output
    assert not (tmp_path / "runs").exists()


def test_when_the_domain_is_in_use_expect_a_second_launch_to_be_refused(launched, probe, policy_dir):
    first = launched("deploy", f"policy:={policy_dir}")
    until(lambda: "/resfit/safety_filter" in probe.names(), "the safety filter")
    second = launched("evaluate", f"policy:={policy_dir}")
    assert second.wait() == 1
    assert "is in use" in second.output
    first.interrupt()
    assert first.wait(30.0) == 0, first.output
