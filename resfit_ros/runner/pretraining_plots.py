"""The pictures of a pretraining: TD errors over the updates, and Q against observed returns."""

from pathlib import Path

from resfit_ros.learning.held_out import Calibration
from resfit_ros.learning.pretraining import PretrainingRecord

BLUE, ORANGE, GREY = "#3367b0", "#c2571a", "#888888"


def _figure(**size):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(**size, constrained_layout=True)


def _save(figure, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_td_errors(record: PretrainingRecord, path: Path) -> None:
    """TD errors of training and held-out transitions, and the mean Q of what they are taken over."""
    figure, (above, below) = _figure(nrows=2, figsize=(7, 5.5), sharex=True, height_ratios=(2, 1))
    above.plot(record.updates, record.train_td, color=BLUE, marker=".", label="training")
    if record.held_out_td:
        above.plot(record.updates, record.held_out_td, color=ORANGE, marker=".", label="held out")
    above.set(ylabel="mean |Q - TD target|", ylim=(0, None), title="critic pretraining")
    colour = ORANGE if record.held_out_td else BLUE
    below.plot(record.updates, record.q_mean, color=colour, marker=".")
    below.set(xlabel="updates", ylabel="mean Q")
    for axes in (above, below):
        if record.diverged_by is not None:
            axes.axvline(record.diverged_by, color="red", linestyle="--", linewidth=1, label="diverged")
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    above.legend(frameon=False)
    _save(figure, path)


def plot_calibration(calibration: Calibration, of: str, path: Path) -> None:
    """Mean observed return against mean Q by bins of Q, with how many steps each bin rests on."""
    figure, (above, below) = _figure(nrows=2, figsize=(6.5, 6.5), sharex=True, height_ratios=(3, 1))
    rows = calibration.binned()
    q, returns = [r["q"] for r in rows], [r["return"] for r in rows]
    ends = [min([0.0, *q, *returns]), max([1.0, *q, *returns])]
    above.plot(ends, ends, color=GREY, linestyle="--", linewidth=1, label="Q = return")
    spread = [r["return_std"] for r in rows]
    above.errorbar(q, returns, yerr=spread, color=BLUE, marker="o", capsize=3, label="mean return ± std of the bin")
    above.set(ylabel="observed discounted return", title=f"Q against return, {of}")
    above.legend(frameon=False, loc="upper left")
    width = 0.7 * (max(q) - min(q)) / max(1, len(q) - 1) if len(q) > 1 else 0.05
    counts, cut = [r["count"] for r in rows], [r["truncated"] for r in rows]
    below.bar(q, counts, width=width, color=BLUE, alpha=0.5, label="steps")
    below.bar(q, cut, width=width, color=ORANGE, alpha=0.8, label="of these of timeouts: return is a lower bound")
    for x, count in zip(q, counts, strict=True):
        below.annotate(str(count), (x, count), ha="center", va="bottom", fontsize=7)
    below.set(xlabel="mean Q of the bin", ylabel="steps", ylim=(0, 1.35 * max([1, *counts])))
    below.legend(frameon=False, fontsize=8, loc="upper right")
    for axes in (above, below):
        axes.grid(alpha=0.2)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
