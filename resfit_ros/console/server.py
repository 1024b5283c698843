"""One page, and one websocket per browser, over aiohttp."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from importlib.resources import files

from resfit_ros.console import protocol
from resfit_ros.console.access import Access
from resfit_ros.console.clients import Client, Clients
from resfit_ros.console.graph import Graph
from resfit_ros.console.stream import Stream
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.operating.controls import Control

try:
    from aiohttp import WSCloseCode, WSMsgType, web
except ImportError:
    raise ConfigError(
        "the web console needs aiohttp; install it (sudo apt install python3-aiohttp, or pip install aiohttp)"
    ) from None

HELLO_TIMEOUT_S = 5.0
WRONG_TOKEN_DELAY_S = 1.0  # guessing is slow
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 4.0  # a browser that answers no ping for so long is gone
MOST_BAD_MESSAGES = 20  # of one browser
LARGEST_BODY = 1024  # bytes
WRONG_TOKEN = 4401  # websocket close code, for the page
CONTENT_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
# Nothing from elsewhere runs in the page, and no other page may put it into a frame and guide a finger.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' ws://{host} wss://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ConsoleServer:
    """Serves the console until it is stopped; several browsers at once."""

    def __init__(self, graph: Graph, access: Access, port: int) -> None:
        """port 0: any free one."""
        self._graph, self._access, self._port = graph, access, port
        self._clients = Clients()
        self._stream = Stream(graph, self._clients)
        self._pages = _pages()
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self._streaming: asyncio.Task | None = None

    @property
    def clients(self) -> Clients:
        """Who is connected, and what was refused."""
        return self._clients

    @property
    def port(self) -> int:
        """The port that is listened on, once started."""
        return self._runner.addresses[0][1]

    async def start(self) -> None:
        """Raises ConfigError where the address or port cannot be had."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_BODY)
        app.router.add_get("/ws", self._websocket)
        app.router.add_post("/estop", self._estop)
        app.router.add_get("/{name:[a-z_]*(?:[.][a-z]+)?}", self._page)
        # No access log: nothing that was sent is written anywhere.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._access.host, self._port).start()
        except OSError as error:
            await self._runner.cleanup()
            where = f"{self._access.host}:{self._port}"
            raise ConfigError(
                f"{where} cannot be served ({error.strerror or error}); choose another --port"
            ) from None
        self._streaming = asyncio.create_task(self._stream.run())

    async def stop(self) -> None:
        """Closes every connection."""
        if self._streaming is not None:
            self._streaming.cancel()
            await asyncio.gather(self._streaming, return_exceptions=True)
        closing = [
            s.close(code=WSCloseCode.GOING_AWAY, message=b"the console was stopped") for s in self._sockets
        ]
        await asyncio.gather(*closing, return_exceptions=True)
        await self._runner.cleanup()

    # -- requests ---------------------------------------------------------------------------

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Refuses what comes from elsewhere, before anything looks at it."""
        acts = request.method not in ("GET", "HEAD") or request.path == "/ws"
        why = self._access.refuses(request.headers, needs_origin=acts)
        if why:
            self._clients.refused += 1
            return web.json_response({"ok": False, "message": why}, status=403)
        return await handler(request)

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info["name"] or "index.html"
        if name not in self._pages:
            raise web.HTTPNotFound
        body, content_type = self._pages[name]
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": POLICY.format(host=request.host),
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    async def _estop(self, request: web.Request) -> web.Response:
        """The e-stop without a websocket, for when that hangs."""
        if not self._access.has_bearer(request.headers):
            self._clients.refused += 1
            return web.json_response({"ok": False, "message": "wrong or missing token"}, status=401)
        self._graph.press(Control.ESTOP)
        return web.json_response(
            {"ok": True, "message": "asked for; the safety filter's word comes with the next state"}
        )

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            timeout=CLOSE_TIMEOUT_S,
            heartbeat=HEARTBEAT_S,
            max_msg_size=protocol.LARGEST_MESSAGE,
            compress=False,
        )
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            code, why = await self._first_word(socket)
            if why:
                self._clients.refused += 1
                await socket.close(code=code, message=why.encode())
            else:
                await self._serve(socket)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _serve(self, socket: web.WebSocketResponse) -> None:
        client = Client()
        client.outbox.answer(protocol.as_text(self._stream.history.message()))
        client.outbox.state(self._stream.newest)
        self._clients.add(client)
        sending = asyncio.create_task(_send(socket, client))
        try:
            await self._listen(socket, client)
        finally:
            self._clients.remove(client)
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _first_word(self, socket: web.WebSocketResponse) -> tuple[int, str]:
        """(close code, why not); empty: the first message was a hello with the right token."""
        try:
            hello = protocol.read_message(await socket.receive_str(timeout=HELLO_TIMEOUT_S))
        except (DataError, TypeError, asyncio.TimeoutError):
            hello = None
        if not isinstance(hello, protocol.Hello):
            return WSCloseCode.POLICY_VIOLATION, "the first message is a hello"
        if not self._access.has_token(hello.token):
            await asyncio.sleep(WRONG_TOKEN_DELAY_S)
            return WRONG_TOKEN, "wrong or missing token"
        if self._clients.full:
            return WSCloseCode.TRY_AGAIN_LATER, "too many browsers are connected"
        return WSCloseCode.OK, ""

    async def _listen(self, socket: web.WebSocketResponse, client: Client) -> None:
        """Every message, as it comes; nothing here waits for a service, so an e-stop never does."""
        bad = 0
        async for message in socket:
            try:
                if message.type is not WSMsgType.TEXT:
                    raise DataError("messages are text")
                self._do(protocol.read_message(message.data), client)
            except DataError as error:
                bad += 1
                self._clients.refused += 1
                client.outbox.answer(protocol.as_text({"type": "refused", "message": str(error)}))
                if bad >= MOST_BAD_MESSAGES:
                    await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many bad messages")
        if socket.close_code == WSCloseCode.MESSAGE_TOO_BIG:
            self._clients.refused += 1

    def _do(self, message: protocol.Message, client: Client) -> None:
        match message:
            case protocol.Press():
                why = message.too_late(time.monotonic())
                taken = not why and self._graph.press(message.control)
                client.outbox.answer(protocol.answer(message, taken, why))
                self._stream.soon()
            case protocol.Watch(camera):
                client.camera = camera
                client.outbox.forget_frame()
            case protocol.Shown(frame):
                client.outbox.shown(frame)
            case _:
                raise DataError("hello was said already")


async def _send(socket: web.WebSocketResponse, client: Client) -> None:
    """All that the client is sent; waits as long as its network does, while newer things replace older."""
    try:
        while not socket.closed:
            item = await client.outbox.next()
            await (socket.send_str(item) if isinstance(item, str) else socket.send_bytes(item))
    except (ConnectionError, RuntimeError):
        pass  # gone: the reading side notices, too


def _pages() -> dict[str, tuple[bytes, str]]:
    """The shipped files: name to content and content type."""
    found = {}
    for path in (files("resfit_ros.console") / "assets").iterdir():
        kind = CONTENT_TYPES.get("." + path.name.rpartition(".")[2])
        if kind is not None:
            found[path.name] = path.read_bytes(), kind
    return found
