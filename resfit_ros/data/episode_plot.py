"""The picture of an episode: frames on top, who drove and what went wrong below, then joint by joint."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.types import Mode, Outcome
from resfit_ros.data.episode_view import EpisodeView
from resfit_ros.data.film_strip import FRAMES, GAP, even_steps, film_strip
from resfit_ros.data.joint_plots import LIMIT, Draw, joint_blocks
from resfit_ros.data.picture_page import (
    CHANGED,
    DPI,
    HUMAN,
    LEFT,
    MISSING,
    RIGHT,
    TAINTED,
    WIDTH,
    Page,
    short,
    spans,
)

TITLE, STEPS_OF_FRAMES, CAMERA_NAME, NO_CAMERA = 86, 24, 22, 44
MARKS, LANES, MAP_ROW, MAP_MARGIN = 34, 104, 11, 74
MOST_MAP_ROWS = 40
REWARD = "#2c8a4b"
DRIVERS = {
    Mode.BASE: ("base", "#c9ced6"),
    Mode.RESIDUAL: ("base + residual", "#7fb2e5"),
    Mode.EXPLORE: ("base + residual + noise", "#a9d18e"),
    Mode.INTERVENTION: ("human", HUMAN),
}
OUTCOME_COLOURS = {Outcome.SUCCESS: REWARD, Outcome.FAILURE: "#c0392b", Outcome.ABORTED: "#777777"}


def draw_episode(view: EpisodeView, path: Path, joints: Sequence[int]) -> None:
    """Writes the picture as a PNG, 1600 px wide; joints: which ones get a plot of their own, in order."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    blocks: list[tuple[int, Draw]] = [(_title_height(view), _draw_title), *_film_blocks(view)]
    blocks += [(MARKS, _draw_marks), (LANES, _draw_lanes)]
    if view.has_residual:
        blocks.append((MAP_MARGIN + MAP_ROW * min(view.residuals.shape[1], MOST_MAP_ROWS), _draw_map))
    blocks += joint_blocks(view, joints)
    height = sum(block[0] for block in blocks) + 14
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = 0
    for block_height, draw in blocks:
        draw(Page(figure, height, top, block_height), view)
        top += block_height
    figure.savefig(path, dpi=DPI, format="png")


# -- title and film -------------------------------------------------------------------------------


def _title_height(view: EpisodeView) -> int:
    return TITLE + (22 if view.damage else 0)


def _draw_title(page: Page, view: EpisodeView) -> None:
    data = view.data
    colour = OUTCOME_COLOURS.get(data.outcome, "#b07400")
    page.text(LEFT, 16, view.name, fontsize=17, fontweight="bold")
    facts = [f"{len(data)} steps", f"{view.seconds:.1f} s"]
    facts += [f"scene {data.scene_seed}"] if data.scene_seed >= 0 else []
    facts += [f"outcome given by {data.labelled_by}"] if data.labelled_by else []
    page.text(LEFT + 250, 19, data.outcome.name.lower(), fontsize=15, fontweight="bold", color=colour)
    page.text(LEFT + 370, 21, " · ".join(facts), fontsize=13, color="#333333")
    about = view.about
    cameras = f"{len(data.images)} cameras" if len(data.images) != 1 else "1 camera"
    words = [f"{data.actions.shape[1]} joints, {data.states.shape[1]} states, {cameras}"]
    words += [f"base policy {about.base_policy_sha256[:12]}"] if about.base_policy_sha256 else []
    words += [f"source: {about.source}"] if about.source and about.joint_names else []
    page.text(LEFT, 52, " · ".join(words), fontsize=11, color="#555555")
    if view.damage:
        page.text(LEFT, 76, f"damaged: {view.damage}"[:190], fontsize=11, color=LIMIT)


def _film_blocks(view: EpisodeView) -> list[tuple[int, Draw]]:
    if not view.data.images:
        return [(NO_CAMERA, _draw_no_camera)]
    names = view.about.camera_names or tuple(f"camera {i}" for i in range(len(view.data.images)))
    steps = even_steps(len(view.data) + 1)
    strips = [film_strip(images, steps, WIDTH - LEFT - RIGHT) for images in view.data.images]
    blocks: list[tuple[int, Draw]] = [(STEPS_OF_FRAMES, _frame_titles(steps))]
    for name, strip in zip(names, strips, strict=False):
        blocks.append((len(strip) + 10, _camera_row(name, strip)))
    return blocks


def _draw_no_camera(page: Page, view: EpisodeView) -> None:
    axes = page.axes(LEFT, 0, WIDTH - LEFT - RIGHT, NO_CAMERA - 12)
    axes.set(xticks=[], yticks=[], facecolor="#f4f4f4")
    axes.spines[:].set_color("#dddddd")
    axes.text(0.5, 0.5, "recorded without cameras", ha="center", va="center", fontsize=12, color="#777777")


def _frame_titles(steps: Sequence[int]) -> Draw:
    size = (WIDTH - LEFT - RIGHT - (FRAMES - 1) * GAP) // FRAMES

    def draw(page: Page, view: EpisodeView) -> None:
        for place, step in enumerate(steps):
            page.text(LEFT + place * (size + GAP), 2, f"step {step}", fontsize=11, color="#333333")

    return draw


def _camera_row(name: str, strip: NDArray[np.uint8]) -> Draw:
    def draw(page: Page, view: EpisodeView) -> None:
        axes = page.axes(LEFT, 0, strip.shape[1], strip.shape[0])
        axes.imshow(strip, aspect="auto", interpolation="none")
        axes.axis("off")
        page.text(12, strip.shape[0] // 2 - 8, short(name, 17), fontsize=11, color="#333333")

    return draw


# -- over the steps -------------------------------------------------------------------------------


def _draw_lanes(page: Page, view: EpisodeView) -> None:
    """Who drove, faults, and the reward, one lane each."""
    data, steps = view.data, len(view.data)
    axes = page.axes(LEFT, 0, WIDTH - LEFT - RIGHT, LANES - 32)
    for mode, (_, colour) in DRIVERS.items():
        _lane(axes, 2, view.modes == mode, colour)
    _lane(axes, 1, view.changed, CHANGED)
    _lane(axes, 1, data.tainted, TAINTED)
    _lane(axes, 1, data.missing, MISSING)
    axes.plot(range(steps), [0.0] * steps, color=REWARD, linewidth=1)
    if data.outcome is Outcome.SUCCESS:
        axes.bar(steps - 1, 0.7, width=1, color=REWARD)
        axes.text(steps - 1.6, 0.35, "1", ha="right", va="center", fontsize=10, color=REWARD)
    if not (view.changed | data.tainted | data.missing).any():
        axes.text(-0.4, 1.4, "none", va="center", fontsize=10, color="#777777")
    axes.set(xlim=(-0.5, steps - 0.5), ylim=(-0.15, 2.9), yticks=[0.35, 1.4, 2.4])
    axes.set_yticklabels(["reward", "faults", "driven by"], fontsize=10)
    axes.tick_params(axis="x", labelsize=10)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    page.text(LEFT - 8, LANES - 28, "step", fontsize=10, color="#333333", ha="right")


def _lane(axes: Any, lane: int, mask: NDArray[np.bool_], colour: str) -> None:
    axes.broken_barh([(a, b - a) for a, b in spans(mask)], (lane, 0.8), facecolors=colour, linewidth=0)


def _draw_map(page: Page, view: EpisodeView) -> None:
    """Residuals of all joints, or of the most active ones where there are too many."""
    rows = sorted(view.joints_to_show(MOST_MAP_ROWS))
    bound = view.known.bound
    largest = np.abs(view.residuals).max()
    shares = view.residuals[:, rows] / (largest if bound is None else bound[rows])
    axes = page.axes(LEFT, 30, WIDTH - LEFT - RIGHT, page.height - MAP_MARGIN)
    picture = axes.imshow(
        shares.T,
        aspect="auto",
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
        interpolation="none",
        extent=(-0.5, len(view.data) - 0.5, len(rows) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([short(view.joint(j), 20) for j in rows], fontsize=7.5)
    axes.tick_params(axis="x", labelsize=10)
    axes.tick_params(axis="y", length=0)
    unit = f"of the largest one, {largest:.3g}" if bound is None else "of its bound"
    page.text(LEFT, 8, f"residual of every joint, as a share {unit}", fontsize=12)
    scale = page.axes(WIDTH - RIGHT - 240, 10, 200, 12)
    page.figure.colorbar(picture, cax=scale, orientation="horizontal", ticks=[])
    page.text(WIDTH - RIGHT - 248, 8, "-1", fontsize=10, ha="right")
    page.text(WIDTH - RIGHT - 32, 8, "+1", fontsize=10)


def _draw_marks(page: Page, view: EpisodeView) -> None:
    """What the colours over the steps mean."""
    from matplotlib.patches import Patch

    modes = set(view.modes.tolist())
    patches = [Patch(color=c, label=f"driven by {words}") for m, (words, c) in DRIVERS.items() if m in modes]
    marks = {
        "tainted by a fault": (view.data.tainted, TAINTED),
        "message lost": (view.data.missing, MISSING),
        f"changed by the safety filter ({view.reasons.words})": (view.changed, CHANGED),
    }
    patches += [Patch(color=colour, label=words) for words, (mask, colour) in marks.items() if mask.any()]
    page.legend(patches, 8)
