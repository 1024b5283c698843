"""A web console without ROS, and pages that talk to it, for tests."""

import json
from contextlib import asynccontextmanager

import aiohttp
import numpy as np

from resfit_ros.console.access import Access
from resfit_ros.console.server import ConsoleServer
from resfit_ros.operating.controls import Control
from resfit_ros.operating.view_model import OperatorView

TOKEN = "a-token-of-some-length"


class StillGraph:
    """Notes what is pressed; its camera has a picture of noise, another one each time."""

    def __init__(self):
        self.pressed = []
        self.view = OperatorView()
        self.view.cameras = ("noise",)
        self.stamp_ns = 0
        self.pixels = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)

    def snapshot(self):
        return self.view.snapshot(1) | {"namespace": "/resfit"}

    def press(self, control):
        self.pressed.append(control)
        return control is not Control.ARM

    def picture(self, camera):
        self.stamp_ns += 1
        return self if camera == "noise" else None


@asynccontextmanager
async def serving(token="", graph=None):
    """(server, its address, a client session of the same site)."""
    server = ConsoleServer(graph or StillGraph(), Access("127.0.0.1", token), 0)
    await server.start()
    address = f"http://127.0.0.1:{server.port}"
    try:
        async with aiohttp.ClientSession(headers={"Origin": address}) as session:
            yield server, address, session
    finally:
        await server.stop()


@asynccontextmanager
async def connected(session, address, token=""):
    """A websocket that has said hello."""
    async with session.ws_connect(f"{address}/ws") as socket:
        await socket.send_json({"type": "hello", "token": token})
        yield socket


async def heard(socket, kind):
    """The next message of a type."""
    while True:
        message = await socket.receive(timeout=5)
        assert message.type is aiohttp.WSMsgType.TEXT, (message, socket.close_code)
        values = json.loads(message.data)
        if values["type"] == kind:
            return values


async def status_of(session, address, **options):
    async with session.get(address, **options) as response:
        return response.status


async def close_code(socket):
    async for _ in socket:
        pass
    return socket.close_code
