"""Parts of a picture placed by the pixel, and the colours they share."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, DPI = 1600, 100
LEFT, RIGHT = 150, 24  # margins of everything drawn over steps [px]
HUMAN, TAINTED, MISSING, CHANGED = "#f0b429", "#e05a4e", "#9a9a9a", "#8e5bb5"


@dataclass(frozen=True)
class Page:
    """A full-width part of the picture, `top` pixels below its upper edge."""

    figure: Any
    total: int
    top: int
    height: int

    def axes(self, left: int, top: int, width: int, height: int) -> Any:
        """Axes at a place given in pixels from the part's upper left corner."""
        bottom = self.total - self.top - top - height
        box = (left / WIDTH, bottom / self.total, width / WIDTH, height / self.total)
        return self.figure.add_axes(box)

    def text(self, left: int, top: int, words: str, **style: Any) -> None:
        """Words at a place given in pixels."""
        at = (left / WIDTH, 1 - (self.top + top) / self.total)
        self.figure.text(*at, words, va="top", **style)

    def legend(self, handles: list[Any], top: int) -> None:
        """One line of keys."""
        self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=((LEFT - 4) / WIDTH, 1 - (self.top + top) / self.total),
            ncols=len(handles),
            frameon=False,
            fontsize=11,
            borderaxespad=0,
            borderpad=0,
            columnspacing=1.6,
            handlelength=1.8,
        )


def short(words: str, most: int) -> str:
    """The words, or their end where they are longer than `most` characters."""
    return words if len(words) <= most else "…" + words[1 - most :]


def spans(mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(begin, end) of each stretch of steps that is set, half a step around."""
    edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
    return [(a - 0.5, b - 0.5) for a, b in edges.tolist()]
