"""A process that is killed again and again while it records episodes; prints what each had said, as JSON.

python killed_recorder.py DIRECTORY KILLS: each child recovers what the one before left, as the recorder does
when it starts, and goes on with the next episode; it is sent SIGKILL at a random moment.
"""

import json
import os
import select
import signal
import sys
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from builders import episode_messages
from serialised import serialise

from resfit_ros.core.types import Action, EpisodeEnded, Outcome
from resfit_ros.data.bag_directory import next_episode_id
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.recorded_end import end_texts
from resfit_ros.data.recover_bags import recover

LONGEST_S, CLOSING_S = 0.06, 0.01
ABOUT = {"resfit.joint_names": '["a", "b"]'}
OUTCOMES = (Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.FAILURE)


@cache
def messages(episode_id: int) -> list:
    """Every message of an episode in the order heard: of every third the last action comes after the end."""
    rng, steps, outcome = np.random.default_rng(episode_id), 5 + episode_id % 30, OUTCOMES[episode_id % 3]
    given = episode_messages(rng, steps, outcome, episode_id, image_shape=(20, 30, 3))
    if episode_id % 3 == 0:
        last = max(i for i, value in enumerate(given) if isinstance(value, Action))
        given.append(given.pop(last))
    return given


@cache
def serialised(episode_id: int) -> list[tuple[str, bytes]]:
    """The same as (topic, bytes)."""
    return [serialise(value) for value in messages(episode_id)]


def record(directory: Path, episode_id: int, tell) -> None:
    """One episode, as the recorder writes it; tells how many messages are sure to be kept."""
    bag, end = EpisodeBag(directory, episode_id, "/resfit", ABOUT), None
    for number, value in enumerate(messages(episode_id), 1):
        topic, raw = serialised(episode_id)[number - 1]
        bag.write(topic, 10**18 + number, raw)
        if isinstance(value, EpisodeEnded):
            end = value
            bag.sync()
        if end:
            tell(f"kept {episode_id} {number}\n")
    bag.close(end_texts(episode_id, end))


def record_all(directory: Path, told: int) -> None:
    """The child."""

    def tell(text: str) -> None:
        os.write(told, text.encode())

    tell("up 0 0\n")
    recover(directory)
    for episode_id in count(next_episode_id(directory)):
        record(directory, episode_id, tell)


def kill_one(directory: Path, rng: np.random.Generator) -> dict:
    """Runs and kills one child, and looks at what it said and left."""
    for episode_id in range(first := next_episode_id(directory), first + 4):
        serialised(episode_id)  # the child is to write, and not to prepare
    hears, tells = os.pipe()
    child = os.fork()
    if child == 0:
        record_all(directory, tells)
        os._exit(1)
    os.close(tells)
    text = os.read(hears, 1 << 16)
    if rng.random() < 0.5:  # any moment; else shortly after the end of an episode
        select.select([], [], [], rng.uniform(0.0, LONGEST_S))
    else:
        while b"kept" not in text:
            text += os.read(hears, 1 << 16)
        select.select([], [], [], rng.uniform(0.0, CLOSING_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(hears, "rb") as rest:
        said = [line.split() for line in (text + rest.read()).decode().splitlines()]
    kept = {int(i): int(n) for word, i, n in said if word == "kept"}
    unfinished = len(list(directory.glob(".partial/episode_*")))
    return {"killed": os.WIFSIGNALED(status), "kept": kept, "unfinished": unfinished}


if __name__ == "__main__":
    with TemporaryDirectory() as warm_up:
        record(Path(warm_up), 1, str)
    generator = np.random.default_rng(0)
    for _ in range(int(sys.argv[2])):
        print(json.dumps(kill_one(Path(sys.argv[1]), generator)), flush=True)
