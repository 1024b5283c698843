"""The security policy grants what the running nodes use, and nothing else."""

import importlib.util
from pathlib import Path

import pytest

from resfit_ros.bringup import NAMESPACE
from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import NODE_PARAMETERS
from resfit_ros.ros.monitor import GraphMonitor

SCRIPT = Path(__file__).parents[2] / "scripts/security_policy.py"
REMEDY = "if that is meant, run `python scripts/security_policy.py` and look at the changes it makes"


def _script():
    spec = importlib.util.spec_from_file_location("security_policy", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


security_policy = _script()


def lines(use) -> list[str]:
    """Grants as one line each, for a message."""
    return sorted(f"{enclave}: {kind} {name}" for enclave, grants in use.items() for kind, name in grants)


def without(use, other):
    """What the first grants and the second does not."""
    return {k: v - other.get(k, set()) for k, v in use.items()}


# -- the file -------------------------------------------------------------------------------------


def test_when_the_policy_is_read_expect_one_enclave_per_node_and_one_for_people():
    assert set(security_policy.read_policy()) == {*NODE_PARAMETERS, security_policy.CONSOLE}


def test_when_the_policy_is_read_by_sros2_expect_it_to_follow_its_schema():
    missing = "sros2 is not installed; it comes with ROS from apt"
    sros2_policy = pytest.importorskip("sros2.policy", reason=missing)
    tree = sros2_policy.load_policy(security_policy.POLICY)  # raises on a file that is against the schema
    assert len(tree.findall("enclaves/enclave")) == len(NODE_PARAMETERS) + 1


def test_when_a_policy_is_written_and_read_expect_the_same_grants(tmp_path):
    use = {"a": {("publish", "/x"), ("reply", "/resfit/a/get")}, "b": {("request", "/resfit/a/get")}}
    (tmp_path / "policy.xml").write_text(security_policy.policy_text(use))
    assert security_policy.read_policy(tmp_path / "policy.xml") == use


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('version="0.2.0"', 'version="0.1.0"', "expected 0.2.0"),
        ('publish="ALLOW"', 'publish="DENY"', "'a': expected topics or services"),
        ('publish="ALLOW"', 'request="ALLOW"', "'a': expected topics or services"),
        ("<topic>/x", "<topic>x", "absolute names in 'publish'"),
        ('path="/resfit/b"', 'path="/resfit/a"', "'a': expected one enclave of that path"),
        ('node="a"', 'node="c"', "'a': expected the node of the enclave's name"),
        ("<policy", "<policy<", "cannot be read as XML"),
    ],
)
def test_when_a_policy_is_malformed_expect_the_place_named(tmp_path, old, new, said):
    text = security_policy.policy_text({"a": {("publish", "/x")}, "b": {("publish", "/y")}})
    assert old in text
    (tmp_path / "policy.xml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said):
        security_policy.read_policy(tmp_path / "policy.xml")


def test_when_an_optional_grant_is_not_absolute_expect_it_named(tmp_path):
    (tmp_path / "optional.yaml").write_text("residual:\n  subscribe: [joy]\n")
    with pytest.raises(ConfigError, match="residual: subscribe: joy; give absolute names"):
        security_policy.optional_use(tmp_path / "optional.yaml")


# -- who may do what ------------------------------------------------------------------------------


def holders(kind: str, name: str) -> set[str]:
    """Enclaves granted exactly that."""
    return {enclave for enclave, grants in security_policy.read_policy().items() if (kind, name) in grants}


@pytest.mark.parametrize(
    ("kind", "name", "expected"),
    [
        ("publish", "/joint_command", {"safety_filter"}),
        ("publish", f"{NAMESPACE}/action", {"residual"}),
        ("publish", f"{NAMESPACE}/episode", {"episode_manager"}),
        ("publish", f"{NAMESPACE}/executed_action", {"safety_filter"}),
        ("publish", f"{NAMESPACE}/actor_weights", {"learner"}),
        ("reply", f"{NAMESPACE}/arm", {"safety_filter"}),
        ("request", f"{NAMESPACE}/arm", {"console", "operator"}),
        ("request", f"{NAMESPACE}/estop", {"console", "operator"}),
        ("request", f"{NAMESPACE}/safety_filter/set_parameters", {"console"}),
    ],
)
def test_when_it_is_asked_who_may_expect_only_those_who_must(kind, name, expected):
    assert holders(kind, name) == expected


def test_when_people_use_the_console_expect_them_to_publish_nothing_to_the_graph():
    grants = security_policy.read_policy()[security_policy.CONSOLE]
    assert {name for kind, name in grants if kind == "publish"} == {"/rosout", "/parameter_events"}


def test_when_names_hold_a_wildcard_expect_them_to_be_the_optional_ones_only():
    def wild(use):
        return {name for grants in use.values() for _, name in grants if "*" in name}

    assert wild(security_policy.read_policy()) == wild(security_policy.optional_use())


# -- against the running graph --------------------------------------------------------------------


def test_when_the_graphs_run_expect_all_they_use_granted_and_nothing_else(start, config, tmp_path):
    live, cli = [], set()
    for specs in security_policy.example_graphs(config, tmp_path / "run").values():
        probe = start(specs)
        with GraphMonitor():  # what `resfit` looks at a graph with
            live.append(security_policy.watch(probe.node, probe.spin, [s.name for s in specs]))
            cli |= monitor_use(probe)
        enclaves = {n: e for n, _, e in probe.node.get_node_names_and_namespaces_with_enclaves()}
        assert all(enclaves[s.name] == security_policy.enclave_path(s.name) for s in specs)
        probe.supervisor.stop()
        probe.spin(0.5)
    policy, optional = security_policy.read_policy(), security_policy.optional_use()
    used = security_policy.merged(*live)
    expected = security_policy.granted_use(used, optional)
    assert set(used) == set(NODE_PARAMETERS)
    assert lines(without(used, policy)) == [], f"used, but not granted; {REMEDY}"
    assert lines(without(policy, expected)) == [], f"granted, but used by nobody; {REMEDY}"
    assert lines(without(expected, policy)) == [], f"optional.yaml and the policy differ; {REMEDY}"
    assert cli - policy[security_policy.CONSOLE] == set()
    served = {name for grants in used.values() for kind, name in grants if kind == "reply"}
    called = {name for kind, name in policy[security_policy.CONSOLE] if kind == "request"}
    assert called - served == set(), "the console may call services nobody offers"


def monitor_use(probe) -> set[tuple[str, str]]:
    """What the command line's own node uses, its process id as the policy writes it."""
    (name,) = [n for n in probe.node.get_node_names() if n.startswith("resfit_cli_")]
    (grants,) = security_policy.live_use(probe.node, [name]).values()
    return {(kind, topic.replace(name, "resfit_cli_*")) for kind, topic in grants}
