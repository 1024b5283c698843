"""What the console needs of the robot's graph, and that over ROS."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from resfit_ros.operating.controls import Control


class Picture(Protocol):
    """stamp_ns changes with each picture; pixels: uint8 (H, W, 3) RGB."""

    stamp_ns: int
    pixels: NDArray[np.uint8]


class Graph(Protocol):
    """`operating.ros_link.RosLink`, or a stand-in; called from any thread, and never waits."""

    def snapshot(self) -> dict[str, Any]:
        """The operator's view; see `operating.view_model`."""

    def press(self, control: Control) -> bool:
        """False: refused; the snapshot says why. What came of it is in the snapshot, too."""

    def picture(self, camera: str) -> Picture | None:
        """The newest one, None before the first."""


@contextmanager
def ros_graph(namespace: str) -> Iterator[Graph]:
    """The running graph, heard by a node of its own in a thread of its own."""
    from resfit_ros.bringup import CONSOLE_ENCLAVE
    from resfit_ros.operating.ros_spin import SpunLink

    spun = SpunLink("web console", namespace, arguments=["--ros-args", "--enclave", CONSOLE_ENCLAVE])
    try:
        yield spun.link
    finally:
        spun.close()
