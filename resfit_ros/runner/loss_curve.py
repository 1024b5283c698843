"""The picture of a policy's training."""

from pathlib import Path

from resfit_ros.learning.bc_training import TrainingRecord

LOSS_CURVE = "loss_curve.png"
LOSS_NAMES = {
    "mlp": "mean squared error (normalised actions)",
    "act": "L1 error (normalised actions)",
    "flow": "mean squared error of the velocity",
}


def plot_losses(record: TrainingRecord, kind: str, path: Path) -> None:
    """Training and validation loss against updates, the update whose weights are kept marked."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), constrained_layout=True)
    losses = record.training_losses
    axes.plot(record.updates, losses, color="#3367b0", marker=".", label="training")
    if record.validation_episodes:
        losses = record.validation_losses
        label = f"validation ({len(record.validation_episodes)} episodes held out)"
        axes.plot(record.updates, losses, color="#c2571a", marker=".", label=label)
    best = losses[record.updates.index(record.best_update)]
    axes.axvline(record.best_update, color="#888888", linestyle="--", linewidth=1)
    kept = f"kept: update {record.best_update}, loss {best:.4f}"
    axes.plot(record.best_update, best, "o", color="#2c8a4b", markersize=8, label=kept)
    axes.set(xlabel="updates", ylabel=LOSS_NAMES[kind], yscale="log", title=f"behaviour cloning: {kind}")
    axes.set_xlim(left=0)
    axes.legend(frameon=False)
    axes.grid(which="both", alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
