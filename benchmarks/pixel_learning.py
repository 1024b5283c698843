"""Does the residual learn from pictures? A point robot must reach a disc that only its camera shows.

The base policy goes to the middle of the table, where the disc is now and then. Positions and base
actions say nothing about the disc: a residual without the camera cannot do better than guess. Each
seed is trained twice, with the camera and without.
"""

import argparse
import dataclasses
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.residual import CorrelatedNoise, bounded_residual
from resfit_ros.core.types import Float32, Observation, Segment
from resfit_ros.core.intervals import wilson_interval
from resfit_ros.learning.trainer import Trainer

SIDE = 64  # px
STEPS = 12  # of an episode
SPEED = 0.2  # largest move per step; the table spans -1 to 1
RADIUS = 0.2  # within which the disc counts as reached
SPREAD = 0.6  # discs lie within +- this
EVALUATIONS = 200
SETTINGS = dict(
    residual_scale=0.8,
    hidden_width=128,
    critic_ensemble=5,
    vit_width=32,
    vit_heads=2,
    image_features=32,
    batch_size=64,
    critic_lr=1e-3,
    actor_lr=3e-4,
    polyak=0.02,
    discount=0.9,
    utd=1.0,
    actor_delay=2,
    warmup_std=0.5,
    exploration_std=0.1,
    warmup_steps=1000,
    critic_only_updates=500,
    replay_capacity=20_000,
)
NORMALISER = Normaliser(("x", "y"), np.zeros(2), np.ones(2), np.zeros(2), np.full(2, 0.5))
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1) * 2.0 - 1.0


class Table:
    """A point robot under position control, a disc, and a camera above them."""

    def reset(self, seed: int) -> None:
        """Puts the robot in a corner region and the disc anywhere within reach."""
        rng = np.random.default_rng(seed)
        self.disc = rng.uniform(-SPREAD, SPREAD, 2)
        self.robot = rng.uniform(-0.9, -0.7, 2)

    def step(self, target: Float32) -> bool:
        """Moves towards `target` (2,); whether the disc is reached."""
        move = np.clip(target, -1.0, 1.0) - self.robot
        self.robot = self.robot + move * min(1.0, SPEED / max(float(np.linalg.norm(move)), 1e-9))
        return bool(np.linalg.norm(self.robot - self.disc) < RADIUS)

    def picture(self) -> np.ndarray:
        """uint8 (64, 64, 3): the disc red, the robot green."""
        image = np.full((SIDE, SIDE, 3), 60, np.uint8)
        for centre, size, colour in ((self.disc, 0.15, (220, 40, 40)), (self.robot, 0.08, (40, 220, 40))):
            image[(COLUMNS - centre[0]) ** 2 + (ROWS - centre[1]) ** 2 < size**2] = colour
        return image


def base_action(robot: np.ndarray) -> Float32:
    """The base policy: to the middle, whatever the camera shows."""
    return np.zeros(2, np.float32)


class Run:
    """One seed, with or without the camera."""

    def __init__(self, seed: int, camera: bool, steps: int) -> None:
        config = LearningConfig(**SETTINGS, use_images=camera, total_steps=steps, seed=seed)
        self.seed, self.table = seed, Table()
        self.trainer = Trainer(config, NORMALISER, cameras=((SIDE, SIDE),))
        self.noise = CorrelatedNoise(2, config.exploration_correlation)
        self.episodes = 0

    def episode(self, scene: int, explore: bool) -> Segment:
        """One episode with the actor as it stands."""
        schedule = self.trainer.acting_schedule()
        policy = self.trainer.acting_policy(averaged=not explore)
        self.table.reset(scene)
        self.noise.reset(self.seed, scene)
        states, bases, actions, pictures, success = [], [], [], [], False
        for k in range(STEPS + 1):
            states.append(self.table.robot.astype(np.float32))
            bases.append(base_action(self.table.robot))
            pictures.append(self.table.picture())
            if success or k == STEPS:
                break
            proposal = policy(Observation(0, 0, k, states[-1], (pictures[-1],)), bases[-1], 0.0)
            residual = bounded_residual(
                np.zeros_like(proposal) if schedule.warm_up else proposal,
                self.noise.sample() if explore else None,
                schedule.residual_scale,
                schedule.exploration_std,
            )
            actions.append(np.clip(bases[-1] + residual, -1.0, 1.0))
            success = self.table.step(actions[-1])
        rewards = np.zeros(len(actions), np.float32)
        rewards[-1] = success
        return Segment(
            episode_id=scene + 1,
            states=np.stack(states),
            bases=np.stack(bases),
            phases=np.zeros(len(states), np.float32),
            actions=np.stack(actions),
            rewards=rewards,
            terminal=success,
            images=(np.stack(pictures),),
        )

    def success_rate(self) -> float:
        """Of the averaged actor, on scenes that training does not see."""
        scenes = range(9_000_000, 9_000_000 + EVALUATIONS)
        return float(np.mean([self.episode(scene, explore=False).terminal for scene in scenes]))

    def train(self) -> None:
        """Episodes and the updates they owe, until the steps are used up."""
        while self.trainer.env_steps < self.trainer.config.total_steps:
            self.trainer.add(self.episode(self.seed * 100_000 + self.episodes, explore=True))
            self.episodes += 1
            while self.trainer.train_one():
                pass


def train(job: tuple[int, bool, int]) -> dict[str, float]:
    """One run from nothing; its success rates before and after."""
    torch.set_num_threads(1)
    seed, camera, steps = job
    run, started = Run(seed, camera, steps), time.monotonic()
    base = run.success_rate()
    run.train()
    return {
        "seed": seed,
        "camera": camera,
        "base": base,
        "success": run.success_rate(),
        "steps": run.trainer.env_steps,
        "updates": run.trainer.agent.critic_updates,
        "wall_s": round(time.monotonic() - started, 1),
    }


def main() -> None:
    """Prints success before and after, per seed and over all seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8000, help="environment steps")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    arguments = parser.parse_args()
    jobs = [(seed, camera, arguments.steps) for seed in range(arguments.seeds) for camera in (True, False)]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(train, jobs))
    for run in runs:
        seen = "camera" if run["camera"] else "blind "
        print(
            f"seed {run['seed']} {seen}: {run['base']:.0%} -> {run['success']:.0%} after {run['steps']} steps, "
            f"{run['updates']} updates, {run['wall_s']:.0f} s"
        )
    summary = {}
    for name, camera in (("camera", True), ("blind", False)):
        rates = [run["success"] for run in runs if run["camera"] == camera]
        low, high = wilson_interval(round(sum(rates) * EVALUATIONS), EVALUATIONS * len(rates))
        summary[name] = {"success": float(np.mean(rates)), "low": low, "high": high}
        print(f"{name}: {np.mean(rates):.0%} over {len(rates)} seeds, 95 % interval {low:.0%} to {high:.0%}")
    if arguments.json:
        settings = dataclasses.asdict(LearningConfig(**SETTINGS, use_images=True))
        print(json.dumps({"runs": runs, **summary, "settings": settings}))


if __name__ == "__main__":
    main()
