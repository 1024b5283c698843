"""Serves a base policy over the openpi websocket protocol; needs nothing of ROS."""

import hmac
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from uuid import UUID

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Observation
from resfit_ros.policies.protocol import BasePolicy, Robot, history_of
from resfit_ros.policies.wire import LARGEST_MESSAGE, pack, unpack

EXTENSION = "resfit"  # key of our own part of the metadata
# Keys by which our client tells the policy where it is, and what came before.
EPISODE, STEP, EARLIER = "resfit/episode", "resfit/step", "resfit/earlier"
STATE, ACTIONS, TIMING = "observation/state", "actions", "server_timing"
LOCAL = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServedPolicy:
    """A base policy as the protocol knows it: a map in, a map out.

    robot: what the policy was loaded for; its cameras, in order, are the keys that pictures come under.
    """

    policy: BasePolicy
    robot: Robot

    @property
    def metadata(self) -> dict[str, Any]:
        """What a client is told first."""
        spec = self.policy.spec
        cameras = {c.name: c for c in self.robot.cameras}
        needed = [cameras.get(c.name, c) for c in spec.cameras]
        return {
            EXTENSION: {
                "name": spec.name,
                "identity": spec.identity,
                "action_dim": spec.action_dim,
                "horizon": spec.horizon,
                "state_dim": self.robot.layout.size,
                "joint_names": list(spec.joint_names),
                "cameras": [{"name": c.name, "height": c.height, "width": c.width} for c in needed],
                "control_hz": spec.control_hz,
                "history": history_of(self.policy),
                "config": dict(spec.config),
            }
        }

    def infer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """One chunk. Raises DataError naming what of the message is missing or of another size."""
        observation = self._observation(message)
        if history_of(self.policy):
            self.policy.recall(tuple(self._observation(m) for m in message.get(EARLIER, ())))
        return {ACTIONS: np.asarray(self.policy.infer(observation), np.float32)}

    def _observation(self, message: Mapping[str, Any]) -> Observation:
        state = np.array(message.get(STATE, np.zeros(0)), np.float32)
        if state.shape != (self.robot.layout.size,):
            raise DataError(f"'{STATE}' has shape {state.shape}, expected ({self.robot.layout.size},)")
        return Observation(0, int(message.get(EPISODE, 0)), int(message.get(STEP, 0)), state, self._images(message))

    def _images(self, message: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        needed = {c.name for c in self.policy.spec.cameras}
        images = []
        for camera in self.robot.cameras:
            shape = (camera.height, camera.width, 3)
            picture = message.get(camera.name) if camera.name in needed else np.zeros(shape, np.uint8)
            if not isinstance(picture, np.ndarray) or picture.shape != shape or picture.dtype != np.uint8:
                found = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else "nothing"
                raise DataError(f"picture '{camera.name}' is {found}, expected uint8 {shape}")
            images.append(np.ascontiguousarray(picture))
        return tuple(images)


class PolicyServer:
    """Answers any number of clients, one inference at a time.

    An error is sent as text, as openpi's server does, and ends that connection; the server goes on.
    """

    def __init__(
        self,
        served: ServedPolicy,
        host: str = "127.0.0.1",
        port: int = 8000,
        api_key: str = "",
        on_event: Callable[[str], None] = lambda words: None,
    ) -> None:
        """port 0: any free one. Raises ConfigError where the port cannot be had."""
        self._served, self._api_key, self._on_event = served, api_key, on_event
        self._using = threading.Lock()
        self._episode: tuple[UUID, int] | None = None  # (connection, episode) the policy was last reset for
        try:
            self._server: Server = serve(
                self._handle,
                host,
                port,
                compression=None,
                max_size=LARGEST_MESSAGE,
                process_request=self._before,
                ping_interval=None,  # a client may think for long
            )
        except OSError as error:
            raise ConfigError(f"{host}:{port} cannot be served ({error.strerror}); choose another --port") from None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.socket.getsockname()[1]

    def run(self) -> None:
        """Serves until `stop`."""
        self._server.serve_forever()

    def stop(self) -> None:
        """Ends `run`; connections are closed."""
        self._server.shutdown()

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        given = request.headers.get("Authorization", "")
        if self._api_key and not hmac.compare_digest(given.encode(), f"Api-Key {self._api_key}".encode()):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "wrong or missing API key\n")
        return None

    def _handle(self, connection: ServerConnection) -> None:
        who = f"client {connection.remote_address[0]}"  # a closed socket has no address any more
        self._on_event(f"{who} connected")
        try:
            connection.send(pack(self._served.metadata))
            for message in connection:
                connection.send(pack(self._answer(connection.id, message)))
        except ConnectionClosed:
            pass
        except Exception as error:  # a policy from elsewhere may raise anything; the server must live
            self._on_event(f"request failed: {type(error).__name__}: {error}")
            self._report(connection)
        self._on_event(f"{who} gone")

    def _answer(self, client: UUID, data: str | bytes) -> dict[str, Any]:
        message = unpack(data if isinstance(data, bytes) else data.encode())
        with self._using:
            episode = (client, int(message.get(EPISODE, 0)))
            if episode != self._episode:
                self._served.policy.reset(episode[1])
                self._episode = episode
            begin = time.perf_counter()
            answer = self._served.infer(message)
        return answer | {TIMING: {"infer_ms": (time.perf_counter() - begin) * 1000}}

    @staticmethod
    def _report(connection: ServerConnection) -> None:
        try:
            connection.send(traceback.format_exc())
            connection.close(CloseCode.INTERNAL_ERROR, "the message before says why")
        except ConnectionClosed:
            pass


def require_safe(host: str, api_key: str, no_auth: bool) -> None:
    """Raises ConfigError where anybody on the network could drive the policy without having been asked."""
    if host not in LOCAL and not api_key and not no_auth:
        raise ConfigError(
            f"--host {host} is open to the network: give --api-key-env NAME, or say --no-auth if that is meant"
        )
