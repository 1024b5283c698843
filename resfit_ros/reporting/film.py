"""Film strips of an evaluation: from the cameras in the bags, replayed in the simulation, or as plots."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import ResfitError
from resfit_ros.data.bag_directory import bag_paths_by_id
from resfit_ros.data.episode_data import EpisodeData, read_episode
from resfit_ros.data.film_strip import even_steps, film_strip

FRAMES, WIDTH, QUALITY = 7, 1190, 82
REPLAY_SIZE = 320, 240
JOINTS_SHOWN = 6
KINDS = (True, False)  # a success, then a failure


@dataclass(frozen=True)
class Strip:
    """One episode in pictures. jpeg: the row of frames. source: where they come from, in words."""

    arm: str
    episode: dict[str, Any]
    jpeg: bytes
    source: str


def film_strips(result: dict[str, Any], bags: Path) -> Iterator[Strip]:
    """A success and a failure of each arm, where there are any and their bags can be read."""
    paths = bag_paths_by_id(bags)
    for episode in telling_episodes(result):
        path = paths.get(episode["episode_id"])
        if path is None:
            continue
        try:
            data = read_episode(path, lambda _: None)
            picture, source = _picture(data, episode, result)
        except ResfitError:
            continue  # a bag or a renderer that fails costs its strip, not the report
        yield Strip(episode["arm"], episode, _jpeg(picture), source)


def telling_episodes(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Up to one success and one failure per arm; first those of blocks in which the arms differ."""
    episodes = [e for e in result["episodes"] if e["counts"]]
    won: dict[int, set[bool]] = {}
    for e in episodes:
        won.setdefault(e["block"], set()).add(e["success"])
    episodes.sort(key=lambda e: len(won[e["block"]]) < 2)  # stable: else in the order they were run
    chosen = []
    for arm in result["arms"]:
        for kind in KINDS:
            chosen += [e for e in episodes if e["arm"] == arm and e["success"] is kind][:1]
    return chosen


def _picture(
    data: EpisodeData, episode: dict[str, Any], result: dict[str, Any]
) -> tuple[NDArray[np.uint8], str]:
    if data.images:
        images = data.images[0]
        return film_strip(images, even_steps(len(images), FRAMES), WIDTH, FRAMES), "camera"
    if result["setup"].get("simulated") and episode["scene_seed"] >= 0:
        images = _replay(data.actions[: episode["steps"]], episode["scene_seed"])
        if images is not None:
            return film_strip(images, list(range(len(images))), WIDTH, FRAMES), "replayed in the simulation"
    return _plot(data, result["setup"].get("joint_names", [])), "no camera: the joints that moved most"


def _replay(actions: NDArray[np.float32], scene: int) -> NDArray[np.uint8] | None:
    """Frames (N, H, W, 3) at even steps; None where the simulation is of another robot or draws nothing."""
    try:
        from resfit_ros.sim import HumanoidSim
        from resfit_ros.sim.replay import replayed
    except ImportError:
        return None
    wanted = set(even_steps(len(actions) + 1, FRAMES))
    with HumanoidSim() as sim:
        if len(sim.joint_positions) != actions.shape[1]:
            return None
        return np.array(list(replayed(sim, scene, actions, REPLAY_SIZE, wanted)))


def _plot(data: EpisodeData, joint_names: list[str]) -> NDArray[np.uint8]:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    moved = np.argsort(-np.ptp(data.actions, axis=0))[:JOINTS_SHOWN]
    figure, rows = plt.subplots(
        1, len(moved), figsize=(WIDTH / 100, 1.7), dpi=100, squeeze=False, constrained_layout=True
    )
    for axes, joint in zip(rows[0], moved, strict=True):
        axes.plot(data.bases[:-1, joint], color="#8a8a8a", linestyle="--", linewidth=1)
        axes.plot(data.actions[:, joint], color="#1f5fa8", linewidth=1.5)
        axes.set_title(joint_names[joint] if len(joint_names) > joint else f"joint {joint}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.canvas.draw()
    picture = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    plt.close(figure)
    return picture


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=QUALITY)
    return data.getvalue()
