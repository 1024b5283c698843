"""Base policies that misbehave, for python:odd_policies:CLASS. A file tells them to, while they run."""

import os
import time
from pathlib import Path

import numpy as np

from resfit_ros.policies.protocol import PolicySpec, Robot

HORIZON = 30
SWITCH = "ODD_POLICY_SWITCH"  # environment variable: path of a file whose text says what to do


class Switch:
    """Tells the policy in the other process what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, words: str) -> None:
        partial = self._path.with_suffix(".partial")
        partial.write_text(words)
        partial.replace(self._path)


class StandStill:
    """Targets of wherever the robot was at the start; the file may ask for something else.

    "": chunks at once; "sleep SECONDS": that long an inference; "raise": an error; "nan": NaN in a chunk;
    "short": too few rows; "wide": one joint too many; "hang": no answer while the file says so; "swing":
    the first joint to and fro.
    """

    def __init__(self, robot: Robot) -> None:
        self.spec = PolicySpec("stand_still", robot.action_dim, HORIZON, identity="0123456789abcdef")
        self._positions = robot.layout.slice_of("joint_positions")
        self._home: np.ndarray | None = None

    def reset(self, episode_id: int) -> None:
        self._home = None

    def infer(self, observation) -> np.ndarray:
        if self._home is None:
            self._home = observation.state[self._positions].copy()
        chunk = np.repeat(self._home[None], HORIZON, axis=0)
        word, _, argument = _asked().partition(" ")
        if word == "sleep":
            time.sleep(float(argument))
        elif word == "raise":
            raise KeyError("the gripper is not in the dictionary")
        elif word == "nan":
            chunk[3, 1] = np.nan
        elif word == "swing":
            chunk[:, 0] += 0.2 * np.sin(0.3 * (observation.step + np.arange(HORIZON)))
        elif word == "short":
            return chunk[:1]
        elif word == "wide":
            return np.pad(chunk, ((0, 0), (0, 1)))
        while _asked() == "hang":
            time.sleep(0.02)
        return chunk


def _asked() -> str:
    try:
        return Path(os.environ[SWITCH]).read_text().strip()
    except FileNotFoundError:
        return ""
