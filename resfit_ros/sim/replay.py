"""Recorded commands played again in the simulation, in pictures."""

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import NDArray

from resfit_ros.sim.humanoid import HumanoidSim


def replayed(
    sim: HumanoidSim,
    scene: int,
    commands: NDArray[np.float32],
    size: tuple[int, int],
    steps: Collection[int] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Pictures (H, W, 3) of the scene under the commands (K, A) [rad].

    size: (width, height) [pixels]. steps: which of the K + 1 instants; None: all.
    """
    sim.reset(scene)
    for step in range(len(commands) + 1):
        if steps is None or step in steps:
            yield sim.render(*size)
        if step < len(commands):
            sim.step(commands[step].astype(np.float64))
