"""A web console in a thread of the test's own process, on the ROS domain of the test."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from resfit_ros.console.access import Access
from resfit_ros.console.graph import ros_graph
from resfit_ros.console.server import ConsoleServer

START_S = 30.0


@contextmanager
def console(token: str = "", port: int = 0) -> Iterator[ConsoleServer]:
    """Serves on this computer; port 0: any free one."""
    started, failure = threading.Event(), []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    servers: list[ConsoleServer] = []

    async def run() -> None:
        with ros_graph("/resfit") as graph:
            server = ConsoleServer(graph, Access("127.0.0.1", token), port)
            await server.start()
            servers.append(server)
            stop.append((asyncio.get_running_loop(), asyncio.Event()))
            started.set()
            await stop[0][1].wait()
            await server.stop()

    def guarded() -> None:
        try:
            asyncio.run(run())
        except Exception as error:  # raised again in the test's own thread
            failure.append(error)
            started.set()

    thread = threading.Thread(target=guarded, name="console")
    thread.start()
    assert started.wait(START_S), "the console does not start"
    try:
        if failure:
            raise failure[0]
        yield servers[0]
    finally:
        if stop:
            stop[0][0].call_soon_threadsafe(stop[0][1].set)
        thread.join(START_S)
    if failure:
        raise failure[0]
