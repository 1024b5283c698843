"""`resfit serve-policy`: a base policy for robots elsewhere; runs without ROS."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from resfit_ros.cli.console import console, reporting_errors
from resfit_ros.core.errors import ConfigError


def serve_policy(
    lerobot: Annotated[
        Path | None, typer.Option(help="Directory saved by LeRobot; run this in LeRobot's environment.")
    ] = None,
    policy: Annotated[
        str | None, typer.Option(help="Any other base policy, as --policy takes it elsewhere; needs --config.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", "-c", help="Robot configuration for --policy.")
    ] = "bimanual_lift",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for the whole network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8000,
    device: Annotated[str, typer.Option(help="For --lerobot: cpu or cuda.")] = "cpu",
    task: Annotated[str, typer.Option(help="For --lerobot: what the robot is to do, in words.")] = "",
    api_key_env: Annotated[
        str, typer.Option(help="Environment variable that holds the key clients must send.")
    ] = "",
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Listen on the network without a key.")] = False,
) -> None:
    """Serve a base policy over the openpi websocket protocol; the robot uses policy: ws://HOST:PORT."""
    with reporting_errors():
        from resfit_ros.policies.serving import PolicyServer, ServedPolicy, require_safe

        if (lerobot is None) == (policy is None):
            raise ConfigError("give either --lerobot DIR or --policy POLICY")
        key = _api_key(api_key_env)
        require_safe(host, key, no_auth)
        console.print("loading the policy")
        served = ServedPolicy(*(_lerobot(lerobot, device, task) if lerobot else _any(policy, config)))
        server = PolicyServer(served, host, port, key, on_event=lambda words: console.print(words))
        spec = served.policy.spec
        console.print(
            f"serving {spec.name}: chunks of {spec.horizon} x {spec.action_dim} at ws://{host}:{server.port}; "
            "Ctrl-C stops it"
        )
        _serve(server)


def _serve(server: Any) -> None:
    """Until SIGINT or SIGTERM."""
    thread = threading.Thread(target=server.run, name="server", daemon=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    thread.start()
    stop.wait()
    server.stop()
    console.print("stopped")


def _api_key(variable: str) -> str:
    if not variable:
        return ""
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(f"--api-key-env {variable}: the environment variable is empty; set it")
    return key


def _lerobot(directory: Path, device: str, task: str) -> tuple[Any, Any]:
    """(policy, the robot it describes): LeRobot's own configuration says what it takes."""
    from resfit_ros.core.chunks import Chunking
    from resfit_ros.policies.lerobot import described_robot
    from resfit_ros.policies.loading import load_policy
    from resfit_ros.policies.reference import LEROBOT, PolicyReference

    options = {"device": device} | ({"task": task} if task else {})
    reference = PolicyReference(LEROBOT, str(directory), options)
    robot = described_robot(reference)
    return load_policy(reference, robot, Chunking(1)), robot


def _any(policy: str, config: str) -> tuple[Any, Any]:
    from resfit_ros.bringup import load_config, node_parameters
    from resfit_ros.graphs import base_policy_of, camera_settings
    from resfit_ros.paths import find_config
    from resfit_ros.policies.loading import load_base_policy
    from resfit_ros.policies.protocol import Robot

    loaded = load_config(find_config(config))
    values = camera_settings(loaded) | {"policy": base_policy_of(loaded, policy)}
    parameters = node_parameters(loaded, "base_policy", values)
    return load_base_policy(parameters), Robot.of(parameters)
