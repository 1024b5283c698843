"""`resfit console`: the operator's page, for a phone by the robot or a laptop without rqt."""

import asyncio
import signal
from typing import Annotated, Any

import typer

from resfit_ros.bringup import NAMESPACE
from resfit_ros.cli.console import console, reporting_errors
from resfit_ros.core.errors import ConfigError

TOKEN_VARIABLE = "RESFIT_CONSOLE_TOKEN"
EVERYWHERE = ("0.0.0.0", "::")


def console_command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for the whole network, with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")] = 8700,
    token: Annotated[
        str,
        typer.Option(
            envvar=TOKEN_VARIABLE,
            help="What a page must know to connect; the environment keeps it out of the list of processes. "
            "Without one, one is made where the network can connect.",
        ),
    ] = "",
    namespace: Annotated[str, typer.Option(help="Namespace of the graph.")] = NAMESPACE,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further name that people reach this computer by.")
    ] = None,
) -> None:
    """Serve the operator's web page: buttons, charts and camera, until Ctrl-C."""
    with reporting_errors():
        from resfit_ros.console.access import Access, choose_token, own_names

        names = (*own_names(), *(n.lower() for n in allow_host or ()))
        access = Access(host, choose_token(host, token), names)
        _require_ros()
        from resfit_ros.console.graph import ros_graph
        from resfit_ros.console.server import ConsoleServer

        with ros_graph(namespace) as graph:
            asyncio.run(_serve(ConsoleServer(graph, access, port), access, bool(token)))
        console.print("stopped")


def _require_ros() -> None:
    try:
        import rclpy  # noqa: F401  (only whether it is there)
    except ImportError:
        raise ConfigError(
            "the web console needs ROS 2; source /opt/ros/jazzy/setup.bash, or run 'make setup'"
        ) from None


async def _serve(server: Any, access: Any, is_given: bool) -> None:
    """Until SIGINT or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    try:
        console.print(announcement(access, server.port, is_given), soft_wrap=True, markup=False)
        console.print("Ctrl-C stops it; the graph goes on")
        await stop.wait()
    finally:
        await server.stop()


def announcement(access: Any, port: int, is_given: bool) -> str:
    """The address to open. The operator's own token is not repeated; one that was made is shown this once."""
    host = _address_on_network() if access.host in EVERYWHERE else access.host
    secret = "" if is_given or not access.token else f"#token={access.token}"
    return f"operator console: http://{f'[{host}]' if ':' in host else host}:{port}/{secret}"


def _address_on_network() -> str:
    """This computer's address as others see it, as far as it can be told."""
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; the system only chooses its own address
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()
