"""Launch files run by the real `ros2 launch`, each in a ROS domain of its own."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from resfit_ros.bringup import load_config
from resfit_ros.core.types import Segment
from resfit_ros.learning.bc import BCConfig, train_bc
from resfit_ros.paths import find_config
from resfit_ros.policies.chunk_policy import save_chunk_policy

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
ROS2 = "import sys; from ros2cli.cli import main; sys.exit(main())"
# Enough to pass through every phase of learning in a few hundred steps.
SMALL = {
    "hidden_width": 16,
    "critic_ensemble": 2,
    "batch_size": 16,
    "utd": 0.5,
    "warmup_steps": 60,
    "critic_only_updates": 10,
}

_domains = itertools.count(1)


class Launched:
    """A running `ros2 launch` with its nodes, all in one process group."""

    def __init__(self, verb: str, arguments: tuple[str, ...], directory: Path) -> None:
        self._output = directory / f"{verb}.txt"
        path = ROOT / "launch" / f"{verb}.launch.py"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", ROS2, "launch", str(path), *arguments],
                cwd=directory,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Everything printed so far."""
        return self._output.read_text(errors="replace")

    def interrupt(self) -> None:
        """As Ctrl-C would, but to `ros2 launch` alone."""
        self._process.send_signal(signal.SIGINT)

    def wait(self, seconds: float = 120.0) -> int:
        """Exit status of `ros2 launch`; fails the test when it does not end."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {seconds} s:\n{self.output}")

    def processes(self) -> list[str]:
        """Command lines of what runs in the group."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
                command = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has ended meanwhile
            if fields[0] != "Z" and int(fields[2]) == self._process.pid:
                found.append(command)
        return found

    def kill(self) -> None:
        """Ends everything that is left."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """A ROS domain of the test's own; DDS allows 0 to 101 on Linux defaults."""
    number = 1 + (os.getpid() * 17 + next(_domains)) % 100
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    return number


@pytest.fixture
def launched(
    tmp_path: Path, domain: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Launched]]:
    """Starts `ros2 launch VERB.launch.py ARGUMENTS` in an empty directory; all ends with the test."""
    monkeypatch.setenv("ROS_LOG_DIR", str(tmp_path / "log"))
    running = []

    def start(verb: str, *arguments: str) -> Launched:
        running.append(Launched(verb, arguments, tmp_path))
        return running[-1]

    yield start
    for one in running:
        one.kill()


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """The shipped configuration with a learner that is done at once."""
    sections = yaml.safe_load(find_config("bimanual_lift").read_text())
    sections["learner"] = sections.get("learner", {}) | SMALL
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base policy for the simulated humanoid that has learned next to nothing."""
    names = load_config(find_config("bimanual_lift")).joint_names
    rng, steps = np.random.default_rng(0), 20
    states = rng.normal(0.0, 0.1, (steps + 1, 2 * len(names) + 7)).astype(np.float32)
    actions = states[:-1, : len(names)]
    rewards, base = np.zeros(steps, np.float32), np.zeros((steps + 1, len(names)), np.float32)
    phases = np.zeros(steps + 1, np.float32)
    segment = Segment(1, states, base, phases, actions, rewards, terminal=True)
    bc = BCConfig(horizon=10, updates=5, hidden_width=16)
    network, normaliser = train_bc([segment], names, bc)
    directory = tmp_path_factory.mktemp("policy") / "base_policy"
    save_chunk_policy(directory, network, normaliser, bc)
    return directory


def until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits for the condition; fails the test when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what}: not within {seconds} s")
        time.sleep(0.1)
