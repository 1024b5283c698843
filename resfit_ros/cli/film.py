"""Before and after in pictures: recorded commands are played again in the simulation and rendered."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from resfit_ros.core.types import Executed
from resfit_ros.data.episode_bag import bag_name
from resfit_ros.data.film_strip import even_steps
from resfit_ros.data.read_bags import read_messages
from resfit_ros.sim import HumanoidSim
from resfit_ros.sim.replay import replayed

WIDTH, HEIGHT = 320, 240
STRIP_FRAMES = 6
FRAME_MS = 50  # one control step
LABEL_HEIGHT = 22
NAMES = {"base": "base policy", "finetuned": "base + residual"}


def telling_scene(evaluation: dict[str, Any]) -> int:
    """A scene that only the fine-tuned policy mastered, else the first one."""
    won: dict[tuple[str, int], bool] = {
        (e["arm"], e["scene_seed"]): e["outcome"] == "success" for e in evaluation["episodes"]
    }
    scenes = [e["scene_seed"] for e in evaluation["episodes"]]
    better = (s for s in scenes if won.get(("finetuned", s)) and not won.get(("base", s)))
    return next(better, scenes[0])


def _commands(bags: Path, episode_id: int) -> np.ndarray:
    """Executed actions (K, A) of the episode with that number."""
    path = bags / bag_name(episode_id)
    steps = {m.step: m.action for m in read_messages(path) if isinstance(m, Executed)}
    return np.array([steps[k] for k in sorted(steps)])


def _labelled(frame: np.ndarray, text: str) -> Image.Image:
    picture = Image.new("RGB", (WIDTH, HEIGHT + LABEL_HEIGHT), "white")
    picture.paste(Image.fromarray(frame), (0, LABEL_HEIGHT))
    ImageDraw.Draw(picture).text((6, 5), text, fill="black")
    return picture


def make_film(bags: Path, evaluation: dict[str, Any], out: Path) -> None:
    """Writes film.png (one row of frames per arm) and before_after.gif (both side by side)."""
    scene = telling_scene(evaluation)
    reels = {}
    with HumanoidSim() as sim:
        # Aborted episodes are run again under a new number, so the bags are matched by the record.
        for episode in evaluation["episodes"]:
            if episode["scene_seed"] == scene:
                commands = _commands(bags, episode["episode_id"])[: episode["steps"]]
                label = f"{NAMES[episode['arm']]}: {episode['outcome']}"
                reels[episode["arm"]] = [
                    _labelled(frame, label) for frame in replayed(sim, scene, commands, (WIDTH, HEIGHT))
                ]
    rows = [reels[arm] for arm in NAMES if arm in reels]
    _strip(rows).save(out / "film.png")
    _animation(rows, out / "before_after.gif")


def _strip(rows: list[list[Image.Image]]) -> Image.Image:
    width, height = rows[0][0].size
    strip = Image.new("RGB", (width * STRIP_FRAMES, height * len(rows)), "white")
    for y, reel in enumerate(rows):
        for x, at in enumerate(even_steps(len(reel), STRIP_FRAMES)):
            strip.paste(reel[at], (x * width, y * height))
    return strip


def _animation(rows: list[list[Image.Image]], path: Path) -> None:
    width, height = rows[0][0].size
    frames = []
    for i in range(0, max(map(len, rows)), 2):
        frame = Image.new("RGB", (width * len(rows), height))
        for x, reel in enumerate(rows):
            frame.paste(reel[min(i, len(reel) - 1)], (x * width, 0))
        frames.append(frame)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=2 * FRAME_MS, loop=0)
