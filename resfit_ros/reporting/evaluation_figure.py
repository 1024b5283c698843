"""Success rates with their intervals, and the difference as it became known."""

from pathlib import Path
from typing import Any

from resfit_ros.reporting.evaluation_words import name_of, percent

GREY, BLUE, GREEN = "#6b7280", "#1f5fa8", "#2c8a4b"
SIZE, ALONE, DPI = (10.5, 4.0), (4.5, 4.0), 110  # of both parts, of the rates alone [inch]
WIDTHS = (1.0, 1.9)
MARGIN = 5  # percentage points above the upper end


def draw_evaluation(result: dict[str, Any], path: Path) -> None:
    """Writes the figure as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    compared = len(result["arms"]) == 2 and bool(result["sequential"]["history"])
    shape: dict[str, Any] = {"figsize": SIZE, "width_ratios": WIDTHS} if compared else {"figsize": ALONE}
    figure, axes = plt.subplots(1, 2 if compared else 1, squeeze=False, constrained_layout=True, **shape)
    _rates(axes[0][0], result)
    if compared:
        _difference(axes[0][1], result)
    for each in axes[0]:
        each.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _rates(axes: Any, result: dict[str, Any]) -> None:
    arms = list(result["arms"])
    for place, (arm, colour) in enumerate(zip(arms, (GREY, GREEN), strict=False)):
        figures = result["arms"][arm]
        if figures["success_rate"] is None:
            continue
        rate, (low, high) = 100 * figures["success_rate"], figures["wilson_95"]
        reach = [[rate - 100 * low], [100 * high - rate]]
        axes.bar(place, rate, width=0.55, color=colour, alpha=0.35)
        axes.errorbar(place, rate, yerr=reach, color=colour, capsize=7, linewidth=2, marker="o", markersize=6)
    axes.set_xticks(range(len(arms)), [_label(result, arm) for arm in arms])
    axes.set(ylim=(0, 100 + MARGIN), xlim=(-0.6, len(arms) - 0.4), ylabel="success rate [%]")
    axes.set_title("Success, with 95 % intervals", fontsize=11, loc="left")


def _label(result: dict[str, Any], arm: str) -> str:
    figures = result["arms"][arm]
    rate = percent(figures["success_rate"])
    return f"{name_of(result, arm)}\n{figures['successes']} of {figures['episodes']}: {rate}"


def _difference(axes: Any, result: dict[str, Any]) -> None:
    sequential = result["sequential"]
    rows = sequential["history"]
    pairs = [row["pairs"] for row in rows]
    low, high = ([100 * row[side] for row in rows] for side in ("low", "high"))
    level = f"{100 * (1 - sequential['alpha']):g} %"
    axes.fill_between(
        pairs,
        low,
        high,
        color=BLUE,
        alpha=0.18,
        linewidth=0,
        step="mid",
        label=f"{level} confidence sequence",
    )
    axes.step(
        pairs,
        [100 * row["difference"] for row in rows],
        where="mid",
        color=BLUE,
        linewidth=2,
        label="difference so far",
    )
    axes.axhline(0, color="black", linewidth=1)
    least = 100 * sequential["min_difference"]
    for side in (-least, least) if least else ():
        axes.axhline(side, color=GREY, linestyle=":", linewidth=1.2)
    shown = [row["pairs"] for row in rows if row["p_value"] <= sequential["alpha"]]
    if shown:
        axes.axvline(
            shown[0], color=GREEN, linestyle="--", linewidth=1.2, label=f"shown after {shown[0]} pairs"
        )
    end = max(pairs[-1], 10)
    axes.set(
        xlim=(0.5, end + 0.5),
        ylim=(-105, 105),
        xlabel="pairs of episodes",
        ylabel="difference [percentage points]",
    )
    axes.legend(frameon=True, framealpha=1.0, edgecolor="white", loc="lower right", fontsize=9)
    axes.set_title("Difference of success rates, as it became known", fontsize=11, loc="left")
