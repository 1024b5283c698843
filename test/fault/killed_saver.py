"""A process that is killed again and again while it learns and saves; prints what each restart found, as JSON.

python killed_saver.py DIRECTORY KILLS: each child goes on from the newest checkpoint and saves after every
update; it is sent SIGKILL at a random moment.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from builders import identity_normaliser, make_segment, small_config

from resfit_ros.learning.checkpoint import restore_newest, save_checkpoint
from resfit_ros.learning.trainer import Trainer

LONGEST_S, SAVE_S = 0.03, 0.006


def make_trainer() -> Trainer:
    trainer = Trainer(small_config(total_steps=100_000, utd=50.0), identity_normaliser(3, 2))
    trainer.add(make_segment(np.random.default_rng(0), 400, terminal=True))
    return trainer


def learn_and_save(directory: Path, told: int) -> None:
    """The child: says how many updates it has begun to save, and has saved."""
    trainer = make_trainer()
    restore_newest(directory, trainer)
    while trainer.train_one():
        updates = trainer.agent.critic_updates
        os.write(told, f"begun {updates}\n".encode())
        save_checkpoint(directory, trainer, {})
        os.write(told, f"saved {updates}\n".encode())


def kill_one(directory: Path, rng: np.random.Generator) -> dict:
    """Runs and kills one child, and looks at what it left."""
    hears, tells = os.pipe()
    child = os.fork()
    if child == 0:
        learn_and_save(directory, tells)
        os._exit(1)
    os.close(tells)
    text = os.read(hears, 1 << 16)  # it is running
    select.select([], [], [], rng.uniform(0.0, LONGEST_S))
    while not text.endswith(b"\n") or b"begun" not in text.splitlines()[-1]:
        text += os.read(hears, 1 << 16)  # most of the time goes by between two saves: wait for the next one
    select.select([], [], [], rng.uniform(0.0, SAVE_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(hears, "rb") as rest:
        said = [line.split() for line in (text + rest.read()).decode().splitlines()]
    numbers = {word: max((int(n) for w, n in said if w == word), default=0) for word in ("begun", "saved")}
    while_writing = any(directory.glob(".step-*"))
    resumed = make_trainer()
    path, problems = restore_newest(directory, resumed)
    return numbers | {
        "killed": os.WIFSIGNALED(status),
        "while_writing": while_writing,
        "restored": resumed.agent.critic_updates,
        "path": str(path),
        "problems": problems,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    for _ in range(int(sys.argv[2])):
        print(json.dumps(kill_one(Path(sys.argv[1]), generator)), flush=True)
