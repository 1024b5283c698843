"""Write config/security/policy.xml from what the running nodes use.

Usage: security_policy.py [POLICY.xml]

Starts the graphs in a ROS domain of their own, asks ROS what each node publishes, subscribes to, serves and
calls, adds config/security/optional.yaml, and writes an SROS2 policy with one enclave per node.
"""

import os
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from resfit_ros import graphs  # noqa: E402
from resfit_ros.bringup import NAMESPACE, NodeSpec, RunConfig, load_config, with_timing  # noqa: E402
from resfit_ros.core.errors import ConfigError, ResfitError  # noqa: E402
from resfit_ros.core.normalize import Normaliser  # noqa: E402
from resfit_ros.core.parameter_groups import LOCKSTEP, REALTIME  # noqa: E402
from resfit_ros.policies.scaling import write_normaliser  # noqa: E402
from resfit_ros.supervise import Supervisor  # noqa: E402

POLICY, OPTIONAL = ROOT / "config/security/policy.xml", ROOT / "config/security/optional.yaml"
COMMAND = "python scripts/security_policy.py"
VERSION = "0.2.0"  # of the policy format; `ros2 security` knows no other
CONSOLE = "console"  # enclave of people
# How a grant is written: attribute of the list, list, item.
KINDS = {
    "publish": ("topics", "topic"),
    "subscribe": ("topics", "topic"),
    "reply": ("services", "service"),
    "request": ("services", "service"),
}
PARAMETER_SERVICES = (
    "describe_parameters",
    "get_parameter_types",
    "get_parameters",
    "list_parameters",
    "set_parameters",
    "set_parameters_atomically",
)
READY_TIMEOUT_S = 120.0
ALIVE = 2  # messages on /diagnostics after which a node has finished its constructor
SETTLED_S = 3.0  # nothing new for so long: discovery is over

Use = dict[str, set[tuple[str, str]]]  # enclave to (kind, absolute name)


# -- what is used ---------------------------------------------------------------------------------


def example_graphs(config: RunConfig, folder: Path) -> dict[str, tuple[NodeSpec, ...]]:
    """Graphs that together hold every node, in lockstep and by the clock, with all a simulation allows."""
    whole = {**config.sections, "operator": {}, "aggregator": {"camera_names": ["camera"]}}
    sections = {**whole, "episode_manager": {"max_steps": 5000}, "sim_robot": {"camera_hz": 1.0}}
    # The scripted expert: a base policy that nobody has to train first.
    sections["robot"] = {**config.robot, **graphs.STEP_BY_STEP}
    config = RunConfig(config.path, sections)
    policy, long = "expert:0", 1000
    finetune, evaluate = folder / "finetune", folder / "evaluate"
    finetune.mkdir(parents=True)
    evaluate.mkdir(parents=True)
    realtime = with_timing(config, REALTIME)
    by_clock = RunConfig(config.path, {**realtime.sections, "robot": {**realtime.robot, "teleop": True}})
    scaling = _write_scaling(config, folder / "normaliser.json")
    return {
        "finetune": graphs.finetune_graph(
            with_timing(config, LOCKSTEP), finetune, policy, None, 0, learner={"normaliser_path": scaling}
        ),
        "evaluate": graphs.evaluate_graph(
            by_clock, policy, None, evaluate / "result.json", evaluate / "bags", long, 0, 0
        ),
    }


def _write_scaling(config: RunConfig, path: Path) -> str:
    """Some scaling: without one the learner does not start, and nothing is learned here that could suffer."""
    a, s = len(config.joint_names), config.state_dim
    write_normaliser(path, Normaliser(config.joint_names, np.zeros(a), np.ones(a), np.zeros(s), np.ones(s)))
    return str(path)


def live_use(node, names: Collection[str]) -> Use:
    """What each named node of the graph uses now, as ROS node `node` has found; one not found is left out."""
    asked = {
        "publish": node.get_publisher_names_and_types_by_node,
        "subscribe": node.get_subscriber_names_and_types_by_node,
        "reply": node.get_service_names_and_types_by_node,
        "request": node.get_client_names_and_types_by_node,
    }
    found = {n for n, namespace in node.get_node_names_and_namespaces() if namespace == NAMESPACE}
    return {
        name: {(kind, topic) for kind, ask in asked.items() for topic, _ in ask(name, NAMESPACE)}
        for name in found & set(names)
    }


def watch(node, spin: Callable[[float], None], names: Collection[str]) -> Use:
    """What each named node uses once all of them run and nothing new has been discovered for SETTLED_S.

    spin(seconds) handles what arrives. Raises ConfigError naming the nodes that did not come up.
    """
    from diagnostic_msgs.msg import DiagnosticArray

    alive = dict.fromkeys(names, 0)

    def on_diagnostics(message: DiagnosticArray) -> None:
        for status in message.status:
            name = status.name.removeprefix(f"{NAMESPACE}/")
            if name in alive:
                alive[name] += 1

    subscription = node.create_subscription(DiagnosticArray, "/diagnostics", on_diagnostics, 50)
    end = time.monotonic() + READY_TIMEOUT_S
    use, changed = {}, time.monotonic()
    while time.monotonic() < end:
        spin(0.2)
        now = live_use(node, names)
        waiting = [n for n, count in alive.items() if count < ALIVE or n not in now]
        if now != use or waiting:
            use, changed = now, time.monotonic()
        elif time.monotonic() > changed + SETTLED_S:
            node.destroy_subscription(subscription)
            return use
    raise ConfigError(
        f"not running after {READY_TIMEOUT_S:g} s: {', '.join(waiting) or 'a settled graph'}; see their logs"
    )


def merged(*uses: Mapping[str, Collection[tuple[str, str]]]) -> Use:
    """All grants of all of them."""
    return {name: set().union(*(u.get(name, ()) for u in uses)) for name in sorted(set().union(*uses))}


def optional_use(path: Path = OPTIONAL) -> Use:
    """What optional.yaml grants; raises ConfigError on a kind that is none or a name that is not absolute."""
    use: Use = {}
    for enclave, kinds in yaml.safe_load(path.read_text()).items():
        for kind, names in kinds.items():
            wrong = [n for n in names if not n.startswith("/")]
            if kind not in KINDS or wrong:
                raise ConfigError(
                    f"{path}: {enclave}: {kind}: {', '.join(wrong) or 'unknown'}; give absolute names under "
                    f"one of {', '.join(KINDS)}"
                )
            use.setdefault(enclave, set()).update((kind, n) for n in names)
    return use


def granted_use(live: Use, optional: Use) -> Use:
    """What the policy is to grant: the console also reads every topic and reaches every node's parameters."""
    nodes = merged(live, {k: v for k, v in optional.items() if k != CONSOLE})
    everything = set().union(*nodes.values())
    reads = {("subscribe", name) for kind, name in everything if kind in ("publish", "subscribe")}
    asks = {
        ("request", name)
        for kind, name in everything
        if kind == "reply" and name.rpartition("/")[2] in PARAMETER_SERVICES
    }
    return merged(nodes, {CONSOLE: reads | asks | optional.get(CONSOLE, set())})


# -- the file -------------------------------------------------------------------------------------


def enclave_path(name: str) -> str:
    """The enclave a node of that name is started in."""
    return f"{NAMESPACE}/{name}"


def policy_text(use: Use) -> str:
    """The policy as XML: one enclave per node, in order."""
    policy = ElementTree.Element("policy", version=VERSION)
    enclaves = ElementTree.SubElement(policy, "enclaves")
    for name, grants in sorted(use.items()):
        enclave = ElementTree.SubElement(enclaves, "enclave", path=enclave_path(name))
        profiles = ElementTree.SubElement(enclave, "profiles")
        profile = ElementTree.SubElement(profiles, "profile", ns=NAMESPACE, node=name)
        for kind, (plural, singular) in KINDS.items():
            names = sorted(n for k, n in grants if k == kind)
            if names:
                group = ElementTree.SubElement(profile, plural, {kind: "ALLOW"})
                for text in names:
                    ElementTree.SubElement(group, singular).text = text
    ElementTree.indent(policy)
    note = f"<!-- Made by `{COMMAND}` from the running nodes and optional.yaml: do not edit. -->"
    body = ElementTree.tostring(policy, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{note}\n{body}\n'


def read_policy(path: Path = POLICY) -> Use:
    """The grants of a policy; raises ConfigError where it is not one, or grants other than by ALLOW."""
    try:
        policy = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigError(f"{path}: cannot be read as XML ({error}); make it with `{COMMAND}`") from None
    _expect(path, policy.tag == "policy" and policy.attrib == {"version": VERSION}, "policy", VERSION)
    listed = [c.tag for c in policy] == ["enclaves"] and len(policy[0]) > 0
    _expect(path, listed, "policy", "one list of enclaves")
    use: Use = {}
    for enclave in policy[0]:
        name = enclave.get("path", "").removeprefix(f"{NAMESPACE}/")
        _expect(path, enclave.tag == "enclave" and "/" not in name, name, f"an enclave below {NAMESPACE}")
        _expect(path, name not in use, name, "one enclave of that path")
        profiles = [p for group in enclave for p in group]
        _expect(path, [p.tag for p in profiles] == ["profile"], name, "one profile")
        node = {"ns": NAMESPACE, "node": name}
        _expect(path, profiles[0].attrib == node, name, "the node of the enclave's name")
        use[name] = set().union(*(_grants(path, name, group) for group in profiles[0]))
    return use


def _grants(path: Path, enclave: str, group: ElementTree.Element) -> set[tuple[str, str]]:
    (kind, rule), *more = group.attrib.items() or [("", "")]
    known = kind in KINDS and KINDS[kind][0] == group.tag
    _expect(path, known and rule == "ALLOW" and not more, enclave, 'topics or services with one KIND="ALLOW"')
    for item in group:
        absolute = bool(item.text) and item.text.startswith("/")
        _expect(path, item.tag == KINDS[kind][1] and absolute, enclave, f"absolute names in '{kind}'")
    return {(kind, item.text) for item in group}


def _expect(path: Path, right: bool, where: str, what: str) -> None:
    if not right:
        raise ConfigError(f"{path}: '{where}': expected {what}; make the file anew with `{COMMAND}`")


# -- the command ----------------------------------------------------------------------------------


def observe(specs: tuple[NodeSpec, ...], folder: Path) -> Use:
    """Starts a graph and watches it."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("security_policy", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    try:
        with Supervisor(specs, folder / "config", folder / "logs") as supervisor:

            def spin(seconds: float) -> None:
                supervisor.check()
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    executor.spin_once(timeout_sec=0.05)

            return watch(node, spin, [s.name for s in specs])
    finally:
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def main(arguments: list[str]) -> int:
    """Writes the policy; returns the exit status."""
    path = Path(arguments[0]) if arguments else POLICY
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    seen: list[Use] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            config = load_config(ROOT / "config/bimanual_lift.yaml")
            for number, (name, specs) in enumerate(example_graphs(config, Path(folder)).items()):
                os.environ["ROS_DOMAIN_ID"] = str(1 + (os.getpid() + number) % 100)
                print(f"watching graph '{name}' ({len(specs)} nodes)", flush=True)
                seen.append(observe(specs, Path(folder) / name))
        use = granted_use(merged(*seen), optional_use())
    except ResfitError as error:
        print(f"security_policy: {error}", file=sys.stderr)
        return 1
    path.write_text(policy_text(use))
    print(f"{path}: {len(use)} enclaves, {sum(map(len, use.values()))} grants")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
