"""What goes to the browsers by itself: the operator's view, and camera frames."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from resfit_ros.console.clients import Clients
from resfit_ros.console.graph import Graph
from resfit_ros.console.history import History
from resfit_ros.console.jpeg import as_jpeg
from resfit_ros.console.protocol import as_text

# What is charted: name to where in the snapshot it stands.
SERIES = {
    "success_rate": ("success", "rate"),
    "success_low": ("success", "low"),
    "success_high": ("success", "high"),
    "critic_loss": ("learner", "figures", "critic_loss"),
    "q_mean": ("learner", "figures", "q_mean"),
    "return_observed": ("learner", "figures", "return_observed"),
    "residual_ratio": ("learner", "figures", "residual_ratio"),
    "updates_per_s": ("learner", "figures", "updates_per_s"),
}
STATE_PERIOD_S = 0.2
FRAME_PERIOD_S = 0.1
AFTER_PRESS_S = 0.05  # an answer is not left to wait for the next state
log = logging.getLogger(__name__)


class Stream:
    """Runs in the server's event loop; pictures are compressed in a thread beside it."""

    def __init__(self, graph: Graph, clients: Clients) -> None:
        self.history = History(tuple(SERIES))
        self.newest = ""
        self._graph, self._clients = graph, clients
        self._frames: dict[str, int] = {}  # camera to the stamp of the picture that was sent last
        self._update()

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(
            _every(STATE_PERIOD_S, self._states),
            _every(FRAME_PERIOD_S, self._pictures),
        )

    def soon(self) -> None:
        """Something was pressed: a state is sent as soon as there can be an answer in it."""
        asyncio.get_running_loop().call_later(AFTER_PRESS_S, self._tell)

    async def _states(self) -> None:
        self._tell()

    def _tell(self) -> None:
        self._update()
        self._clients.tell(self.newest)

    def _update(self) -> None:
        snapshot, now_s = self._graph.snapshot(), time.monotonic()
        self.history.add(now_s, figures_of(snapshot))
        console = {
            "clients": len(self._clients),
            "refused": self._clients.refused,
            "frames_dropped": self._clients.frames_dropped,
        }
        self.newest = as_text(
            {
                "type": "state",
                "now_s": now_s,
                "view": snapshot,
                "point": self.history.last,
                "console": console,
            }
        )

    async def _pictures(self) -> None:
        for camera in self._clients.cameras():
            jpeg = await asyncio.to_thread(self._newer_jpeg, camera)
            if jpeg is not None:
                self._clients.show(camera, jpeg)

    def _newer_jpeg(self, camera: str) -> bytes | None:
        picture = self._graph.picture(camera)
        if picture is None or self._frames.get(camera) == picture.stamp_ns:
            return None
        self._frames[camera] = picture.stamp_ns
        return as_jpeg(picture.pixels)


def figures_of(snapshot: Mapping[str, Any]) -> dict[str, float | None]:
    """The charted figures of a snapshot; None where there is no number, or nobody heard who says it now."""
    found = {}
    for name, path in SERIES.items():
        value: Any = snapshot
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        heard = path[0] != "learner" or snapshot.get("learner", {}).get("heard", False)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        found[name] = value if heard and is_number else None
    return found


async def _every(period_s: float, job: Callable[[], Awaitable[None]]) -> None:
    """Never faster; a job that is late is not made up for."""
    loop, failed = asyncio.get_running_loop(), ""
    while True:
        began_s = loop.time()
        try:
            await job()
        # Whatever it is: pages that freeze without a word are worse than one state or frame left out.
        except Exception as error:
            if repr(error) != failed:
                log.exception("left out, and tried again")
            failed = repr(error)
        await asyncio.sleep(max(0.0, began_s + period_s - loop.time()))
