"""FAULTS row 35: memory of the control path does not grow. An hour with RESFIT_SOAK=1, else a shortened run."""

import os
import time

import numpy as np
from soak import count

PAGE = os.sysconf("SC_PAGESIZE")
WARM_UP_S, SECONDS = count(600, 4), count(3600, 8)
NODES = ("aggregator", "base_policy", "residual", "safety_filter", "episode_manager")


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE / 1e6


def test_when_control_runs_on_expect_memory_to_stay(bring_up, switch, measured):
    probe = bring_up("python:odd_policies:StandStill")
    pids = {name: probe.supervisor.pid(name) for name in NODES}
    probe.spin(WARM_UP_S)
    begin, times, sizes = time.monotonic(), [], []
    while time.monotonic() - begin < SECONDS:
        probe.spin(SECONDS / 40)
        for messages in probe.seen.values():
            del messages[:-200]  # the probe's own memory
        times.append((time.monotonic() - begin) / 3600)
        sizes.append([resident_mb(pid) for pid in pids.values()])
    growth = np.polyfit(times, np.array(sizes), 1)[0]  # MB/h per node
    span = np.ptp(np.array(sizes), axis=0)
    figures = ", ".join(f"{n} {s:.2f}" for n, s in zip(NODES, span, strict=True))
    measured(35, f"in {SECONDS} s after {WARM_UP_S} s, MB from least to most: {figures}")
    assert probe.supervisor.check() == set()
    if SECONDS >= 3600:
        assert np.all(growth < 1.0), dict(zip(NODES, growth, strict=True))
    else:
        assert np.all(span < 20.0)  # a leak of a message per tick would show
