"""Plots of single joints: base, residual and executed action over the steps of an episode."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.types import Mode
from resfit_ros.data.episode_view import EpisodeView
from resfit_ros.data.picture_page import CHANGED, HUMAN, MISSING, RIGHT, TAINTED, WIDTH, Page, spans

Draw = Callable[[Page, EpisodeView], None]
LEGEND = 46
POSITION, RESIDUAL, JOINT_MARGIN = 150, 62, 64
COLUMNS, JOINT_LEFT = 2, 96
BASE, EXECUTED, CORRECTION, LIMIT = "#8a8a8a", "#1f5fa8", "#c26a00", "#c0392b"


def joint_blocks(view: EpisodeView, joints: Sequence[int]) -> list[tuple[int, Draw]]:
    """(height [px], what draws it) of the parts of the picture that show these joints."""
    height = POSITION + JOINT_MARGIN + (RESIDUAL if view.has_residual else 0)
    rows = [joints[i : i + COLUMNS] for i in range(0, len(joints), COLUMNS)]
    return [(LEGEND, _draw_legend), *((height, _joint_row(row)) for row in rows)]


def _joint_row(joints: Sequence[int]) -> Draw:
    def draw(page: Page, view: EpisodeView) -> None:
        width = (WIDTH - RIGHT - COLUMNS * JOINT_LEFT) // COLUMNS
        for column, joint in enumerate(joints):
            left = JOINT_LEFT + column * (width + JOINT_LEFT)
            _draw_joint(page, view, joint, left, width)

    return draw


def _draw_joint(page: Page, view: EpisodeView, joint: int, left: int, width: int) -> None:
    data, steps = view.data, np.arange(len(view.data))
    page.text(left, 4, view.joint(joint), fontsize=12, fontweight="bold")
    axes = page.axes(left, 26, width, POSITION)
    axes.plot(steps, data.bases[:-1, joint], color=BASE, linestyle="--", linewidth=1.5)
    axes.plot(steps, data.actions[:, joint], color=EXECUTED, linewidth=2)
    asked = data.bases[:-1, joint] + view.residuals[:, joint]
    differs = view.changed & ~np.isclose(asked, data.actions[:, joint], atol=1e-5)
    asked = np.where(differs, asked, np.nan)
    axes.plot(steps, asked, color=CHANGED, linewidth=1.2)
    shown = [(axes, "action")]
    known = view.known
    if known.lower is not None and known.upper is not None:
        _draw_limits(axes, known.lower[joint], known.upper[joint])
    if view.has_residual:
        axes.tick_params(labelbottom=False)
        below = page.axes(left, 26 + POSITION + 6, width, RESIDUAL)
        bound = None if known.bound is None else known.bound[joint]
        _draw_residual(below, steps, view.residuals[:, joint], bound)
        shown.append((below, "residual"))
    for each, label in shown:
        _shade(each, view)
        each.set_xlim(-0.5, len(data) - 0.5)
        each.set_ylabel(label, fontsize=10)
        each.yaxis.set_label_coords(-62 / width, 0.5)
        each.tick_params(labelsize=10)
        each.spines[["top", "right"]].set_visible(False)


def _draw_limits(axes: Any, lower: float, upper: float) -> None:
    """Limits where they come near what was done; the range is not stretched to far ones."""
    low, high = axes.get_ylim()
    margin = 0.5 * (high - low)
    for limit in (lower, upper):
        if low - margin <= limit <= high + margin:
            axes.axhline(limit, color=LIMIT, linestyle="-.", linewidth=1)


def _draw_residual(axes: Any, steps: NDArray, residual: NDArray, bound: float | None) -> None:
    axes.fill_between(steps, residual, color=CORRECTION, alpha=0.25, linewidth=0, step="mid")
    axes.plot(steps, residual, color=CORRECTION, linewidth=1.2, drawstyle="steps-mid")
    reach = float(np.abs(residual).max())
    if bound is not None:
        reach = max(reach, float(bound))
        for side in (-bound, bound):
            axes.axhline(side, color=CORRECTION, linestyle=":", linewidth=1.2)
    reach = reach or 1.0
    axes.set(ylim=(-1.15 * reach, 1.15 * reach), yticks=[-reach, 0, reach])
    axes.set_yticklabels([f"{-reach:.3g}", "0", f"{reach:.3g}"])


def _shade(axes: Any, view: EpisodeView) -> None:
    data = view.data
    human = view.modes == Mode.INTERVENTION
    for mask, colour in ((human, HUMAN), (data.tainted, TAINTED), (data.missing, MISSING)):
        for begin, end in spans(mask):
            axes.axvspan(begin, end, color=colour, alpha=0.25, linewidth=0, zorder=0)


def _draw_legend(page: Page, view: EpisodeView) -> None:
    """What the lines of the joints' plots are."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=BASE, linestyle="--", label="base action")]
    lines += [Line2D([], [], color=EXECUTED, linewidth=2, label="executed action")]
    if view.changed.any():
        lines += [Line2D([], [], color=CHANGED, linewidth=1.2, label="asked for, where the safety filter changed it")]
    if view.has_residual:
        lines += [Line2D([], [], color=CORRECTION, label="residual")]
        if view.known.bound is not None:
            lines += [Line2D([], [], color=CORRECTION, linestyle=":", label="its bound")]
    if view.known.lower is not None:
        lines += [Line2D([], [], color=LIMIT, linestyle="-.", label="position limit, where it is near")]
    page.legend(lines, 10)
