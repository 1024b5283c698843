"""Runs a described graph as processes where no `launch` is installed, and stops it cleanly."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from resfit_ros.bringup import NodeSpec
from resfit_ros.core.errors import ResfitError
from resfit_ros.log_follower import LogFollower

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)
STOP_TIMEOUT_S = 10.0
LOG_LINES = 8
RESPAWN_DELAY_S = 0.5
REFUSED = 2  # exit status of a node that was given a wrong configuration


class NodeFailed(ResfitError):
    """A node process ended although nobody stopped it."""


def added_environment() -> dict[str, str]:
    """Variables a node process gets on top of those of its parent."""
    # One thread per node unless a node asks for more: eight processes share few cores.
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {name: "1" for name in threads if name not in os.environ} | {"PYTHONUNBUFFERED": "1"}


def _die_with_parent() -> None:
    """In the child: a node must not outlive a supervisor that was killed."""
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def command_line(spec: NodeSpec, parameter_file: Path) -> list[str]:
    """How to start one node."""
    arguments = ["--ros-args", "-r", f"__ns:={spec.namespace}", "-r", f"__node:={spec.name}"]
    for source, target in spec.remappings:
        arguments += ["-r", f"{source}:={target}"]
    arguments += ["--params-file", str(parameter_file), "--enclave", spec.enclave]
    return [sys.executable, "-m", f"resfit_ros.nodes.{spec.name}", *arguments]


class Supervisor:
    """Context manager: nodes run between enter and exit; their output goes to log files."""

    def __init__(self, specs: Sequence[NodeSpec], config_dir: Path, log_dir: Path) -> None:
        """config_dir takes NODE.yaml (the parameters), log_dir takes NODE.log."""
        self._specs = specs
        self._config_dir, self._log_dir = config_dir, log_dir
        self._processes: dict[str, subprocess.Popen] = {}
        self._respawn_at: dict[str, float] = {}
        self._follower = LogFollower(log_dir, [spec.name for spec in specs])

    def __enter__(self) -> "Supervisor":
        self._config_dir.mkdir(parents=True, exist_ok=True)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        self._follower.start()
        try:
            for spec in self._specs:
                self._start(spec)
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self, spec: NodeSpec) -> None:
        parameter_file = self._config_dir / f"{spec.name}.yaml"
        parameter_file.write_text(spec.parameter_file_text())
        with (self._log_dir / f"{spec.name}.log").open("ab") as log:
            self._processes[spec.name] = subprocess.Popen(
                command_line(spec, parameter_file),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | added_environment(),
                # Ctrl-C reaches the supervisor alone, which then stops the nodes in its own order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def check(self) -> set[str]:
        """Names of nodes that have finished with status 0; starts dead ones anew that are to respawn.

        Raises NodeFailed naming the node, its exit status and the end of its log.
        """
        finished = set()
        respawned = {spec.name: spec for spec in self._specs if spec.respawns}
        for name, process in list(self._processes.items()):
            status = process.poll()
            if status == 0:
                finished.add(name)
            elif status is not None and name in respawned and status != REFUSED:
                self._respawn(respawned[name])
            elif status is not None:
                raise NodeFailed(f"node '{name}' ended with status {status}:\n{self._log_end(name)}")
        return finished

    def _respawn(self, spec: NodeSpec) -> None:
        due = self._respawn_at.setdefault(spec.name, time.monotonic() + RESPAWN_DELAY_S)
        if time.monotonic() >= due:
            del self._respawn_at[spec.name]
            self._start(spec)

    def _log_end(self, name: str) -> str:
        path = self._log_dir / f"{name}.log"
        lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([*(f"  {line}" for line in lines), f"  (whole log: {path})"])

    def send_signal(self, name: str, number: int) -> None:
        """Sends a signal to one node."""
        self._processes[name].send_signal(number)

    def pid(self, name: str) -> int:
        """Process id of one node."""
        return self._processes[name].pid

    def stop(self) -> None:
        """SIGINT to every node, the last started first; SIGKILL to one that does not obey."""
        for name in reversed(self._processes):
            if self._processes[name].poll() is None:
                self._processes[name].send_signal(signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._follower.stop()

    def __exit__(self, *_: object) -> None:
        self.stop()
