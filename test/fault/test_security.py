"""FAULTS row 30: service calls by a node that the security policy does not name.

The calls need sros2 and a Fast DDS with security: ROS 2 from apt has both, the wheels have neither.
"""

import os
import subprocess
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="rclpy is not installed; run 'make setup'")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from resfit_ros.bringup import NAMESPACE, describe  # noqa: E402
from resfit_ros.msg import ExecutedAction, SafetyStatus  # noqa: E402
from resfit_ros.supervise import command_line  # noqa: E402

RCLError = rclpy._rclpy_pybind11.RCLError  # rclpy.exceptions does not name it
POLICY = Path(__file__).parents[2] / "config/security/policy.xml"
CALLS = 100
QUEUE = WAVE = 10  # messages; calls at a time: more than the queue of a service holds would be lost
FOUND_S, ANSWERED_S = 5.0, 5.0  # how long a caller that must fail tries to be discovered, and waits
NO_SECURITY = "doesn't have the security libraries"  # says rmw_fastrtps
CONSOLE_NODE = f"_ros2cli_{os.getpid()}"  # as `ros2 service call` names its own


class Caller:
    """A node that calls the safety filter's services; secured as the environment says when it is made."""

    def __init__(
        self, domain: int, enclave: str = "", name: str = CONSOLE_NODE, namespace: str = "/"
    ) -> None:
        arguments = ["--ros-args", "--enclave", f"{NAMESPACE}/{enclave}"] if enclave else []
        self._context = rclpy.Context()
        rclpy.init(args=arguments, context=self._context, domain_id=domain)
        try:
            self._node = rclpy.create_node(name, namespace=namespace, context=self._context)
        except RCLError:
            self._context.try_shutdown()
            raise
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._seen: list[SafetyStatus] = []

    def watch(self) -> None:
        """Listens to the safety filter from now on."""
        topic = f"{NAMESPACE}/safety_status"
        self._node.create_subscription(SafetyStatus, topic, self._seen.append, QUEUE)

    def stopped(self) -> bool:
        """Whether the safety filter says its e-stop is pressed, once what was still on its way has come."""
        self._seen.clear()
        assert self._spin(lambda: len(self._seen) > 2 * QUEUE, 30.0), "no safety_status"
        return bool(self._seen[-1].reasons & ExecutedAction.REASON_ESTOP)

    def answered(self, calls: int) -> int:
        """How many of so many calls, half to arm and half to stop, get an answer."""
        clients = [self._node.create_client(SetBool, f"{NAMESPACE}/{name}") for name in ("arm", "estop")]
        self._spin(lambda: all(c.service_is_ready() for c in clients), FOUND_S)
        futures, patience = [], ANSWERED_S
        for _ in range(calls // WAVE):
            futures += (wave := [c.call_async(SetBool.Request(data=True)) for c in clients * (WAVE // 2)])
            if not self._spin(lambda w=wave: all(f.done() for f in w), patience):
                patience = 0.1  # none to be expected of the next ones, either
        self._spin(lambda: all(f.done() for f in futures), patience)
        return sum(f.done() for f in futures)

    def _spin(self, condition, seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self._executor.spin_once(timeout_sec=0.05)
        return bool(condition())

    def close(self) -> None:
        """Leaves the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def caller(domain):
    """Makes callers, who leave with the test."""
    made = []

    def make(*args, **kwargs) -> Caller:
        made.append(Caller(domain, *args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def filter_command(config, tmp_path) -> list[str]:
    """How to start the safety filter in its enclave."""
    (spec,) = describe(config, ["safety_filter"])
    (tmp_path / "safety_filter.yaml").write_text(spec.parameter_file_text())
    enclave = ["--enclave", f"{NAMESPACE}/safety_filter"]
    return command_line(spec, tmp_path / "safety_filter.yaml") + enclave


@pytest.fixture
def safety_filter(filter_command):
    """Starts the safety filter with the environment as it is; it ends with the test."""
    processes = []

    def start() -> None:
        processes.append(subprocess.Popen(filter_command, stderr=subprocess.DEVNULL))

    yield start
    for process in processes:
        process.terminate()
        process.wait(20.0)


def enforce(monkeypatch, keystore: Path) -> None:
    """What is made from now on is secured, or not made at all."""
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "true")
    monkeypatch.setenv("ROS_SECURITY_STRATEGY", "Enforce")
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(keystore))


@pytest.fixture
def empty_keystore(monkeypatch, tmp_path) -> Path:
    """A keystore that knows the safety filter's enclave, without keys."""
    (tmp_path / "keystore/enclaves/resfit/safety_filter").mkdir(parents=True)
    enforce(monkeypatch, tmp_path / "keystore")
    return tmp_path / "keystore"


def lacks_security(domain: int) -> bool:
    """Whether this build of the middleware has no security; asked under Enforce."""
    try:
        Caller(domain, "safety_filter").close()
    except RCLError as error:
        return NO_SECURITY in str(error)
    return False


@pytest.fixture
def keystore(monkeypatch, empty_keystore, domain, tmp_path) -> Path:
    """Keys and permissions of every enclave of the policy, in force."""
    if lacks_security(domain):
        pytest.skip("this Fast DDS was built without security, as in the wheels; use ROS 2 from apt")
    of_sros2 = pytest.importorskip("sros2.keystore", reason="sros2 is not installed; use ROS 2 from apt")
    from sros2.policy import load_policy

    directory = tmp_path / "whole_keystore"
    of_sros2.create_keystore(directory)  # for ROS_DOMAIN_ID, which the fixture `domain` has set
    for enclave in load_policy(POLICY).findall("enclaves/enclave"):
        of_sros2.create_enclave(directory, enclave.get("path"))
        of_sros2.create_permission(directory, enclave.get("path"), POLICY)
    enforce(monkeypatch, directory)
    return directory


def without_security(monkeypatch) -> None:
    """What is made from now on has no keys, as a stranger's node on the same network."""
    monkeypatch.setenv("ROS_SECURITY_ENABLE", "false")


def test_when_security_is_off_expect_anybody_to_be_answered(monkeypatch, caller, safety_filter, measured):
    without_security(monkeypatch)
    safety_filter()
    stranger = caller()
    stranger.watch()
    assert not stranger.stopped()
    answered = stranger.answered(CALLS)
    measured(30, f"security off, for comparison: {answered} of {CALLS} calls answered")
    assert answered == CALLS
    assert stranger.stopped()


def test_when_a_stranger_calls_expect_none_accepted(monkeypatch, keystore, caller, safety_filter, measured):
    safety_filter()
    people = caller("console")
    people.watch()
    assert not people.stopped()
    without_security(monkeypatch)
    answered = caller(name="stranger").answered(CALLS)
    measured(30, f"no enclave: {answered} of {CALLS} accepted")
    assert (answered, people.stopped()) == (0, False)


def test_when_a_node_calls_that_may_not_expect_none_accepted(keystore, caller, safety_filter, measured):
    safety_filter()
    people = caller("console")
    people.watch()
    assert not people.stopped()
    try:
        answered = caller("recorder", name="recorder", namespace=NAMESPACE).answered(CALLS)
    except RCLError:  # it does not even get a client
        answered = 0
    measured(30, f"enclave of the recorder: {answered} of {CALLS} accepted")
    assert (answered, people.stopped()) == (0, False)


def test_when_people_call_from_the_console_expect_all_accepted(keystore, caller, safety_filter, measured):
    safety_filter()
    people = caller("console")
    people.watch()
    assert not people.stopped()
    answered = people.answered(CALLS)
    measured(30, f"enclave of the console: {answered} of {CALLS} answered")
    assert answered == CALLS
    assert people.stopped()


def test_when_a_node_without_an_enclave_starts_under_enforce_expect_it_refused(
    empty_keystore, domain, measured
):
    refused = 0
    for number in range(CALLS):
        with pytest.raises(RCLError, match="enclaves/resfit/stranger_.*does not exist"):
            Caller(domain, f"stranger_{number}")
        refused += 1
    measured(30, f"started under Enforce without an enclave: {CALLS - refused} of {CALLS}")


def test_when_the_middleware_lacks_security_expect_no_node_to_run_unprotected(
    empty_keystore, domain, filter_command
):
    if not lacks_security(domain):
        pytest.skip("this build of the middleware has security")
    ended = subprocess.run(filter_command, capture_output=True, text=True, timeout=60.0)
    assert ended.returncode != 0
    assert NO_SECURITY in ended.stderr
