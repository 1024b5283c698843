"""Servers of the openpi protocol for the tests: our own, and ones that misbehave; real sockets."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from websockets.sync.server import ServerConnection, serve

from resfit_ros.core.observation import StateLayout
from resfit_ros.core.types import Observation
from resfit_ros.policies.protocol import Camera, PolicySpec, Robot
from resfit_ros.policies.serving import PolicyServer, ServedPolicy
from resfit_ros.policies.wire import pack

JOINTS = ("a", "b")
ROBOT = Robot(JOINTS, StateLayout(("joint_positions", "joint_velocities"), 2), (Camera("front", 4, 6),), 20.0)
STATE = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
PICTURE = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)


def seen(step: int = 0, episode_id: int = 1) -> Observation:
    return Observation(0, episode_id, step, STATE, (PICTURE,))


class Echo:
    """Chunks that show what was seen: the first two numbers of the state, plus the mean of the picture."""

    def __init__(self, name: str = "echo", horizon: int = 5) -> None:
        self.spec = PolicySpec(
            f"{name}:123", 2, horizon, identity=name * 8, joint_names=JOINTS, cameras=(Camera("front", 4, 6),)
        )
        self.resets: list[int] = []
        self.steps: list[int] = []
        self.error: Exception | None = None

    def reset(self, episode_id: int) -> None:
        self.resets.append(episode_id)

    def infer(self, observation: Observation) -> np.ndarray:
        if self.error is not None:
            raise self.error
        self.steps.append(observation.step)
        first = observation.state[:2] + observation.images[0].mean()
        return first + np.arange(self.spec.horizon, dtype=np.float32)[:, None]


@contextmanager
def serving(policy=None, port: int = 0, api_key: str = "", robot: Robot = ROBOT) -> Iterator[str]:
    """Our own server; gives its address."""
    server = PolicyServer(ServedPolicy(policy or Echo(), robot), port=port, api_key=api_key)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.port}"
    finally:
        server.stop()
        thread.join()


@contextmanager
def odd_server(handler: Callable[[ServerConnection], None], port: int = 0) -> Iterator[str]:
    """A server that does with a connection whatever `handler` does."""
    server = serve(handler, "127.0.0.1", port, compression=None)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
    finally:
        server.shutdown()
        thread.join()


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def answering(*answers, metadata=None) -> Callable[[ServerConnection], None]:
    """Greets, then gives these answers in turn, the last of them for ever."""

    def handle(connection: ServerConnection) -> None:
        connection.send(pack(metadata or {}))
        for i, _ in enumerate(connection):
            answer = answers[min(i, len(answers) - 1)]
            connection.send(answer if isinstance(answer, str | bytes) else pack(answer))

    return handle


def until_gone(handler: Callable[[ServerConnection], None], gone: threading.Event) -> Callable[[ServerConnection], None]:
    """`handler`, and `gone` set once the client has ended the connection."""

    def handle(connection: ServerConnection) -> None:
        try:
            handler(connection)
        finally:
            gone.set()

    return handle
