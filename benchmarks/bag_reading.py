"""Bags with two cameras read into transitions: steps per second, and how many times real time that is.

Beside it, in the same run, rosbags alone: AnyReader and deserialize, with no transitions made of it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rosbags.highlevel import AnyReader

from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.check_bags import check_bag
from resfit_ros.data.episode_data import EpisodeData, write_episode
from resfit_ros.data.read_bags import bag_paths, read_episodes

STATES, ACTIONS, STEPS, CONTROL_HZ = 65, 29, 60, 20
CAMERAS, WIDTH, HEIGHT = 2, 84, 84
REPEATS = 5


def record(directory: Path, episodes: int) -> list[Path]:
    """Bags of random episodes, as the recorder writes them."""
    rng, rows = np.random.default_rng(0), STEPS + 1
    about = BagAbout(joint_names=tuple(f"joint_{i}" for i in range(ACTIONS)), control_hz=CONTROL_HZ)
    for episode_id in range(1, episodes + 1):
        data = EpisodeData(
            states=rng.standard_normal((rows, STATES), np.float32),
            bases=rng.standard_normal((rows, ACTIONS), np.float32),
            actions=rng.standard_normal((STEPS, ACTIONS), np.float32),
            stamps_ns=10**18 + np.arange(rows) * (10**9 // CONTROL_HZ),
            images=tuple(rng.integers(0, 256, (rows, HEIGHT, WIDTH, 3), np.uint8) for _ in range(CAMERAS)),
            outcome=Outcome.SUCCESS,
        )
        write_episode(directory, episode_id, data, about)
    return bag_paths(directory)


def transitions(bags: list[Path]) -> int:
    """Reads the bags as a learner does; returns the transitions they gave."""
    return sum(len(s) for e in read_episodes(bags, ACTIONS, STATES) for s in e.segments)


def deserialised(bags: list[Path]) -> int:
    """Reads the same bags with rosbags; returns the executed actions in them."""
    count = 0
    for bag in bags:
        with AnyReader([bag]) as reader:
            for connection, _, raw in reader.messages():
                reader.deserialize(raw, connection.msgtype)
                count += connection.msgtype.endswith("ExecutedAction")
    return count


def checked(bags: list[Path]) -> int:
    """Reads the bags as `resfit data check` does; returns the usable steps."""
    return sum(check_bag(bag).usable_steps for bag in bags)


def steps_per_second(read: Callable[[list[Path]], int], bags: list[Path]) -> float:
    """Median over repeats; the files are in the system's cache."""
    rates = []
    for _ in range(REPEATS + 1):
        begin = time.perf_counter()
        steps = read(bags)
        rates.append(steps / (time.perf_counter() - begin))
        assert steps == len(bags) * STEPS
    return float(np.median(rates[1:]))


def main() -> None:
    """Prints the figures; with --json, one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=20, help="bags to read, of 60 steps each")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        bags = record(Path(directory), arguments.episodes)
        size = sum(f.stat().st_size for bag in bags for f in bag.iterdir())
        ours, reference = steps_per_second(transitions, bags), steps_per_second(deserialised, bags)
        checking = steps_per_second(checked, bags)
    figures = {
        "steps_per_s": ours,
        "times_real_time": ours / CONTROL_HZ,
        "rosbags_steps_per_s": reference,
        "ratio_to_rosbags": ours / reference,
        "check_steps_per_s": checking,
        "mb_per_s": ours * size / (arguments.episodes * STEPS) / 1e6,
    }
    print(
        f"{arguments.episodes} bags of {STEPS} steps, {CAMERAS} cameras of {WIDTH} x {HEIGHT} px, "
        f"{size / len(bags) / 1e6:.1f} MB each\n"
        f"read into transitions: {ours:.0f} steps/s ({figures['mb_per_s']:.0f} MB/s), "
        f"{ours / CONTROL_HZ:.0f} times real time at {CONTROL_HZ} Hz\n"
        f"rosbags alone, nothing assembled: {reference:.0f} steps/s; "
        f"ours is {ours / reference:.1f} times as fast\n"
        f"checked, with digests: {checking:.0f} steps/s"
    )
    if arguments.json:
        print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
