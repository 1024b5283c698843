"""Draw the pictures of docs/concepts.md: two schemes, and figures from the bags of a finished demo run.

Usage: concept_pictures.py RUN_DIRECTORY [FOLDER]
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from resfit_ros.core import run_layout  # noqa: E402
from resfit_ros.core.types import Outcome  # noqa: E402
from resfit_ros.data.bag_directory import bag_paths_by_id  # noqa: E402
from resfit_ros.data.episode_data import EpisodeData, read_episode  # noqa: E402

BLUE, ORANGE, GREEN, RED, GREY = "#3367b0", "#c2571a", "#3a7d34", "#b03030", "#777777"
WINDOW, FEWEST = 50, 10  # episodes a success rate is taken over
BOX = -7  # the pose of the box ends the state: x, y, z, then a quaternion


def _axes(**size):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    return plt.subplots(**size, constrained_layout=True)


def _save(figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(path)


def evaluated_pair(run: Path) -> tuple[EpisodeData, EpisodeData]:
    """Base alone and base + residual, from the first scene where only the latter succeeded."""
    bags = bag_paths_by_id(run / "bags/evaluation")
    scenes: dict[int, dict[str, dict]] = {}
    for episode in json.loads((run / run_layout.EVALUATION).read_text())["episodes"]:
        arms = scenes.setdefault(episode["scene_seed"], {})
        arms[episode["arm"]] = episode
        outcomes = [arms[arm]["outcome"] for arm in ("base", "finetuned") if arm in arms]
        if outcomes == ["timeout", "success"]:
            base, tuned = (read_episode(bags[arms[arm]["episode_id"]]) for arm in ("base", "finetuned"))
            return base, tuned
    raise SystemExit(f"{run}: no scene in which only base + residual succeeded")


def draw_episode(run: Path, tuned: EpisodeData, path: Path) -> None:
    """One joint: the base policy's chunks, the residual, and what was executed."""
    normaliser = json.loads((run / "normaliser.json").read_text())
    scale = json.loads((run / run_layout.LEARNING_LOG).read_text().splitlines()[-1])["residual_scale"]
    base, steps = tuned.bases[:-1], np.arange(len(tuned))
    residual = tuned.actions - base
    joint = int(np.abs(residual).mean(axis=0).argmax())
    bound = scale * normaliser["action_half_range"][joint]

    figure, (above, below) = _axes(nrows=2, figsize=(8, 4.8), sharex=True, height_ratios=(2, 1))
    starts = [0, *(1 + np.flatnonzero(np.diff(tuned.phases[:-1]) < 0)), len(tuned)]
    for i, (first, end) in enumerate(zip(starts, starts[1:], strict=False)):
        shade, label = (1.0 if i % 2 else 0.55), ("base policy, chunk by chunk" if i == 1 else None)
        chunk = base[first:end, joint]
        above.plot(steps[first:end], chunk, color=BLUE, alpha=shade, marker="o", markersize=3, label=label)
        for axes in (above, below):
            axes.axvline(first - 0.5, color=GREY, linewidth=0.6, linestyle=":")
    above.plot(steps, tuned.actions[:, joint], color=ORANGE, label="executed: base + residual")
    name = normaliser["joint_names"][joint].replace("_", " ")
    above.set(ylabel=f"{name} [rad]", title="one joint of one episode; dotted lines: a new chunk begins")
    above.legend(frameon=False)
    below.fill_between(steps, -bound, bound, color=ORANGE, alpha=0.12, label="bound of the residual")
    below.step(steps, residual[:, joint], color=ORANGE, where="mid", label="residual, anew at every step")
    below.set(xlabel=f"control step ({_rate(tuned):.0f} a second)", ylabel="residual [rad]")
    below.set_ylim(-1.9 * bound, 1.9 * bound)
    below.legend(frameon=False, ncols=2, loc="lower right", fontsize=9)
    _save(figure, path)


def _rate(data: EpisodeData) -> float:
    return 1e9 / float(np.median(np.diff(data.stamps_ns)))


def draw_scene(base: EpisodeData, tuned: EpisodeData, path: Path) -> None:
    """The same initial scene, twice: how far the box was lifted."""
    figure, axes = _axes(figsize=(8, 2.7))
    for data, colour, name in ((base, BLUE, "base policy alone"), (tuned, ORANGE, "base + residual")):
        seconds = (data.stamps_ns - data.stamps_ns[0]) / 1e9
        height = 100.0 * (data.states[:, BOX + 2] - data.states[0, BOX + 2])
        axes.plot(seconds, height, color=colour, label=f"{name}: {data.outcome.name.lower()}")
        axes.plot(seconds[-1], height[-1], color=colour, marker="o")
    axes.set(xlabel="time [s]", ylabel="box lifted by [cm]")
    axes.set_title("the same initial scene, with and without the residual")
    axes.legend(frameon=False, loc="upper left")
    _save(figure, path)


def draw_learning(run: Path, path: Path) -> None:
    """Success of the robot's own episodes while it learns, and the size of the residual."""
    log = [json.loads(line) for line in (run / run_layout.LEARNING_LOG).read_text().splitlines()]
    first_update = next(row["env_steps"] for row in log if row["critic_updates"])
    first_actor = next(row["env_steps"] for row in log if row["actor_updates"])
    steps, success, size = [], [], []
    for _, bag in sorted(bag_paths_by_id(run / run_layout.FINETUNE_BAGS).items()):
        data = read_episode(bag)
        steps.append(len(data))
        success.append(data.outcome is Outcome.SUCCESS)
        size.append(float(np.degrees(np.abs(data.actions - data.bases[:-1]).mean())))
    total = np.cumsum(steps)

    figure, (above, below) = _axes(nrows=2, figsize=(8, 4.4), sharex=True, height_ratios=(2, 1))
    above.plot(total[FEWEST - 1 :], 100 * _running_mean(success), color=ORANGE)
    above.set(ylabel="success [%]", ylim=(0, 105))
    above.set_title(f"while the robot learns: means of the last {WINDOW} episodes")
    below.plot(total[FEWEST - 1 :], _running_mean(size), color=GREEN)
    below.set(xlabel="environment steps", ylabel="residual [°]", ylim=(0, None), xlim=(0, total[-1]))
    for axes in (above, below):
        axes.axvspan(0, first_update, color=GREY, alpha=0.2, linewidth=0)
        axes.axvline(first_actor, color=GREY, linestyle=":")
    above.text(first_update / 2, 102, "warm-up", rotation=90, fontsize=9, ha="center", va="top")
    after = first_actor + 0.01 * total[-1]
    above.text(after, 3, "from here on the actor learns, too", fontsize=9, va="bottom")
    _save(figure, path)


def _running_mean(values) -> np.ndarray:
    """Over the last WINDOW values, or as many as there are; from the FEWEST-th on."""
    ends = range(FEWEST, len(values) + 1)
    return np.array([np.mean(values[max(0, end - WINDOW) : end]) for end in ends])


def _scheme(width: float, height: float, size: tuple[float, float]):
    figure, axes = _axes(figsize=size)
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    return figure, axes


def _box(axes, x: float, y: float, width: float, text: str, colour: str = GREY, height: float = 1.1) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = {"boxstyle": "round,pad=0.05", "facecolor": f"{colour}22", "edgecolor": colour}
    axes.add_patch(FancyBboxPatch((x, y), width, height, **style))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9)


def _arrow(axes, start, end, text="", at=(0.0, 0.12), colour: str = "#333333", bend: float = 0.0) -> None:
    """at: offset of the text from the middle."""
    style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 2, "shrinkB": 2}
    style["connectionstyle"] = f"arc3,rad={bend}"
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
    middle = ((start[0] + end[0]) / 2 + at[0], (start[1] + end[1]) / 2 + at[1])
    axes.text(*middle, text, ha="center", va="bottom", fontsize=8, color=colour)


def draw_graph(path: Path) -> None:
    """What acts, what learns, and what passes between them."""
    figure, axes = _scheme(12.6, 6.3, (8.4, 4.2))
    _box(axes, 0.1, 4.4, 2.1, "cameras,\njoint states", GREY)
    _box(axes, 3.0, 4.4, 2.3, "base policy\nfrozen, a black box", BLUE)
    _box(axes, 6.4, 4.4, 2.1, "base + residual", ORANGE)
    _box(axes, 9.5, 4.4, 1.6, "safety\nfilter", RED)
    _box(axes, 11.7, 4.4, 0.8, "robot", GREY)
    _box(axes, 10.9, 2.3, 1.6, "operator\nlabels", GREEN)
    _box(axes, 7.0, 2.3, 2.2, "demonstrations\nrecorded before", GREY)
    _box(axes, 9.2, 0.2, 2.6, "replay: half new,\nhalf demonstrations", GREY)
    _box(axes, 6.8, 0.2, 1.6, "critics", ORANGE)
    _box(axes, 3.9, 0.2, 2.1, "residual actor", ORANGE)
    _arrow(axes, (2.25, 4.95), (2.95, 4.95))
    _arrow(axes, (5.35, 4.95), (6.35, 4.95), "chunk")
    _arrow(axes, (8.55, 4.95), (9.45, 4.95), "action")
    _arrow(axes, (11.15, 4.95), (11.65, 4.95))
    seen = "the same observation, at every control step"
    _arrow(axes, (1.2, 5.55), (7.4, 5.55), seen, bend=-0.12, at=(0, 0.4))
    _arrow(axes, (10.2, 4.35), (10.2, 1.35), "what was\nexecuted", at=(-0.55, 0.55))
    _arrow(axes, (11.6, 2.25), (11.4, 1.35), "reward\n1 or 0", at=(0.6, -0.35))
    _arrow(axes, (8.4, 2.25), (9.6, 1.35))
    _arrow(axes, (9.15, 0.75), (8.45, 0.75))
    _arrow(axes, (6.75, 0.75), (6.05, 0.75))
    _arrow(axes, (5.0, 1.35), (7.2, 4.35), "new weights", colour=ORANGE, at=(-0.95, 0.1))
    _save(figure, path)


def draw_life_cycle(path: Path) -> None:
    """An episode from reset to reset, and what each end means for learning."""
    figure, axes = _scheme(12.6, 5.0, (8.4, 3.4))
    _box(axes, 0.1, 1.9, 2.0, "reset\nchunks emptied", GREY)
    _box(axes, 2.9, 1.9, 2.2, "ready\nall nodes well, armed", GREY)
    _box(axes, 5.9, 1.9, 2.0, "running\nstep by step", BLUE)
    ends = (
        (3.75, "success: reward 1, the end", GREEN),
        (2.5, "failure: reward 0, the end", RED),
        (1.25, "timeout: cut, value goes on", GREY),
        (0.0, "aborted: nothing is learnt", GREY),
    )
    for y, text, colour in ends:
        _box(axes, 9.1, y + 0.1, 3.4, text, colour, 0.8)
        _arrow(axes, (7.95, 2.45), (9.05, y + 0.5))
    _arrow(axes, (2.15, 2.45), (2.85, 2.45))
    _arrow(axes, (5.15, 2.45), (5.85, 2.45))
    after = "the bag is closed and synced;\nthe next episode waits for late updates"
    _arrow(axes, (9.05, 0.3), (1.1, 1.85), after, bend=-0.18, at=(1.35, -0.55))
    _save(figure, path)


def main(arguments: list[str]) -> int:
    """Writes the pictures; returns the exit status."""
    if not arguments:
        raise SystemExit(__doc__)
    run = Path(arguments[0])
    folder = Path(arguments[1]) if len(arguments) > 1 else ROOT / "docs/images"
    base, tuned = evaluated_pair(run)
    draw_graph(folder / "concepts-graph.png")
    draw_life_cycle(folder / "concepts-life-cycle.png")
    draw_episode(run, tuned, folder / "concepts-episode.png")
    draw_scene(base, tuned, folder / "concepts-scene.png")
    draw_learning(run, folder / "concepts-learning.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
