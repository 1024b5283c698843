"""Base policies on another computer, over the openpi websocket protocol: ws://HOST:PORT."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.schema import param
from resfit_ros.core.types import Float32, Observation
from resfit_ros.policies.connection import Connection
from resfit_ros.policies.identity import identity_of, shown_name
from resfit_ros.policies.inputs import InputOptions, PolicyInputs
from resfit_ros.policies.protocol import Camera, PolicySpec, Robot
from resfit_ros.policies.reference import PolicyReference
from resfit_ros.policies.serving import EARLIER, EPISODE, EXTENSION, STEP
from resfit_ros.policies.wire import plain

HWC, CHW = "hwc", "chw"


@dataclass(frozen=True, kw_only=True)
class OpenpiOptions(InputOptions):
    """Options of a policy behind ws://HOST:PORT."""

    prompt: str = param("", doc="what the robot is to do, in words; empty: not sent")
    prompt_key: str = param("prompt", doc="key of the prompt")
    state_key: str = param(
        "observation/state", doc="key of the state; a '.' goes into a nested map; empty: no state is sent"
    )
    actions_key: str = param("actions", doc="key of the chunk in the answer")
    image_layout: str = param(HWC, choices=(HWC, CHW), doc="order of a picture's axes")
    connect_timeout_s: float = param(5.0, gt=0.0, doc="longest wait for a connection", unit="s")
    request_timeout_s: float = param(1.0, gt=0.0, doc="longest wait for a chunk", unit="s")
    first_timeout_s: float = param(
        60.0, gt=0.0, doc="longest wait for the first chunk, asked for at load; servers compile then", unit="s"
    )
    api_key_env: str = param("", doc="environment variable that holds the server's API key; empty: none")
    version: str = param(
        "", doc="name and version of what a foreign server serves, its identity; empty: its address stands for it"
    )


@dataclass(frozen=True)
class ServerSays:
    """What our own server says of its policy; openpi's says nothing of the kind (`ours` False)."""

    ours: bool = False
    name: str = "openpi"
    identity: str = ""
    state_dim: int = 0  # 0: the policy looks at no state
    joint_names: tuple[str, ...] = ()
    cameras: tuple[Camera, ...] = ()
    control_hz: float = 0.0
    history: int = 0

    @classmethod
    def of(cls, metadata: Mapping[str, Any], where: str) -> "ServerSays":
        """Raises DataError on what is no such description."""
        said = metadata.get(EXTENSION)
        if not said:
            return cls()
        try:
            return cls(
                ours=True,
                name=str(said["name"]).split(":")[0],
                identity=str(said["identity"]),
                state_dim=int(said["state_dim"]),
                joint_names=tuple(map(str, said["joint_names"])),
                cameras=tuple(Camera(str(c["name"]), int(c["height"]), int(c["width"])) for c in said["cameras"]),
                control_hz=float(said["control_hz"]),
                history=int(said["history"]),
            )
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise DataError(
                f"{where}: what the server says of its policy cannot be used ({type(error).__name__}: {error}); "
                "serve it with the same release of resfit_ros"
            ) from None


class OpenpiPolicy:
    """A server's policy. A request that failed is never waited for again; the next one reconnects."""

    def __init__(self, location: str, options: OpenpiOptions, robot: Robot) -> None:
        """Connects and asks for one chunk. Raises ConfigError or DataError naming the server."""
        self._options, self._where = options, f"base policy '{location}'"
        self._connection = Connection(location, options.connect_timeout_s, _api_key(options, self._where))
        self._episode_id = 0
        self._earlier: Sequence[Observation] = ()
        try:
            metadata = self._connection.metadata()
            self._understand(metadata, robot)
            chunk = self._ask(_zeros(robot), options.first_timeout_s)
            self.spec = self._spec(location, chunk, robot, metadata)
        except BaseException:  # whoever loads it tries again and again
            self._connection.close()
            raise

    def _understand(self, metadata: Mapping[str, Any], robot: Robot) -> None:
        self._server = ServerSays.of(metadata, self._where)
        self.history = self._server.history
        if self._server.ours and not self._server.state_dim:
            self._options = replace(self._options, state_key="")
        self._inputs = PolicyInputs(self._wanted(), robot, self._where)
        self._check_state()

    def _spec(self, location: str, chunk: Float32, robot: Robot, metadata: Mapping[str, Any]) -> PolicySpec:
        options, server = self._options, self._server
        identity = self._identity(location, robot, metadata)
        return PolicySpec(
            name=shown_name(server.name, identity),
            action_dim=chunk.shape[1],
            horizon=len(chunk),
            identity=identity,
            state_dim=self._inputs.state_dim if options.state_key else 0,
            joint_names=server.joint_names,
            cameras=self._cameras(robot),
            control_hz=options.control_hz or server.control_hz,
            config={"kind": "openpi", "location": location, "options": plain(asdict(options)), "server": plain(metadata)},
        )

    def _identity(self, location: str, robot: Robot, metadata: Mapping[str, Any]) -> str:
        options, server = self._options, self._server
        # How long the server is waited for changes no action.
        waits = {"connect_timeout_s": 1.0, "request_timeout_s": 1.0, "first_timeout_s": 1.0}
        about = asdict(options) | waits | {"api_key_env": ""}
        about |= {
            "blocks": list(options.state or robot.layout.blocks),
            "cameras": list(self._inputs.camera_names),
            "server": server.identity or plain(metadata),
        }
        if not about["version"]:
            del about["version"]
            if not server.identity:
                about["location"] = location.rstrip("/")  # nothing else tells two checkpoints apart
        return identity_of(about=about)

    def reset(self, episode_id: int) -> None:
        """The protocol has no reset; our own server is told the episode with each observation."""
        self._episode_id = episode_id

    def recall(self, earlier: Sequence[Observation]) -> None:
        """The observations right before the one that is asked about next; our own server gets them too."""
        self._earlier = earlier

    def infer(self, observation: Observation) -> Float32:
        """Chunk float32 (H, A). Raises DataError naming the server when no good answer comes in time."""
        return self._ask(observation, self._options.request_timeout_s)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()

    def _ask(self, observation: Observation, timeout_s: float) -> Float32:
        message, earlier = self._message(observation), self._earlier
        self._earlier = ()
        if self.history:
            message[EARLIER] = [self._message(past) for past in earlier]
        answer = self._connection.request(message, timeout_s)
        key = self._options.actions_key
        if key not in answer:
            raise DataError(f"{self._where}: its answer has no '{key}', only {sorted(map(str, answer))}; set actions_key")
        try:
            chunk = np.array(answer[key], np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self._where}: '{key}' of its answer holds no numbers ({error})") from None
        if chunk.ndim != 2 or not chunk.size:
            raise DataError(f"{self._where}: '{key}' of its answer has shape {chunk.shape}, expected (horizon, joints)")
        return chunk

    def _message(self, observation: Observation) -> dict[str, Any]:
        options, message = self._options, {}
        if options.state_key:
            _put(message, options.state_key, self._inputs.state(observation))
        for name, picture in self._inputs.images(observation).items():
            _put(message, name, picture.transpose(2, 0, 1) if options.image_layout == CHW else picture)
        if options.prompt:
            _put(message, options.prompt_key, options.prompt)
        if self._server.ours:
            message |= {EPISODE: self._episode_id, STEP: observation.step}
        return message

    def _wanted(self) -> OpenpiOptions:
        """The options, with the cameras that our own server says it needs where none are chosen."""
        needed = tuple(camera.name for camera in self._server.cameras)
        if not self._server.ours or self._options.cameras or self._options.without_cameras:
            return self._options
        return replace(self._options, cameras=needed, without_cameras=not needed)

    def _check_state(self) -> None:
        """Our own server says what its policy takes; others complain about the first request."""
        size = self._server.state_dim
        if size and self._options.state_key and size != self._inputs.state_dim:
            raise ConfigError(
                f"{self._where} expects a state of {size} numbers, but is sent {self._inputs.state_dim}; "
                "choose the blocks with 'state' in a description"
            )

    def _cameras(self, robot: Robot) -> tuple[Camera, ...]:
        sizes = {camera.name: (camera.height, camera.width) for camera in self._server.cameras}
        named = zip(self._inputs.camera_names, self._inputs.cameras(robot), strict=True)
        return tuple(Camera(ours.name, *sizes.get(theirs, (0, 0))) for theirs, ours in named)


def _zeros(robot: Robot) -> Observation:
    images = tuple(np.zeros((c.height, c.width, 3), np.uint8) for c in robot.cameras)
    return Observation(0, 0, 0, np.zeros(robot.layout.size, np.float32), images)


def _put(message: dict[str, Any], key: str, value: Any) -> None:
    """Under `key`; a '.' in it goes into a nested map."""
    *path, last = key.split(".")
    for name in path:
        message = message.setdefault(name, {})
    message[last] = value


def _api_key(options: OpenpiOptions, where: str) -> str:
    if not options.api_key_env:
        return ""
    key = os.environ.get(options.api_key_env, "")
    if not key:
        raise ConfigError(f"{where}: the environment variable {options.api_key_env} (api_key_env) is empty; set it")
    return key


def load(reference: PolicyReference, robot: Robot) -> OpenpiPolicy:
    """The policy of a server. Raises ConfigError on wrong options, DataError when it cannot be reached."""
    if not reference.location.startswith(("ws://", "wss://")):
        raise ConfigError(f"policy '{reference}': write the server's address as ws://HOST:PORT")
    return OpenpiPolicy(reference.location, reference.options_as(OpenpiOptions), robot)
