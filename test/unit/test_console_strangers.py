"""What the web console's server does with those it does not know, and with what it does not understand."""

import asyncio

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed; run 'make setup'")

from console_pages import TOKEN, StillGraph, close_code, connected, heard, serving, status_of  # noqa: E402

from resfit_ros.console import server as server_module  # noqa: E402
from resfit_ros.console import stream  # noqa: E402
from resfit_ros.console.clients import MOST_CLIENTS  # noqa: E402
from resfit_ros.console.server import MOST_BAD_MESSAGES, WRONG_TOKEN  # noqa: E402
from resfit_ros.operating.controls import Control  # noqa: E402


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Nothing here waits for a person."""
    monkeypatch.setattr(server_module, "WRONG_TOKEN_DELAY_S", 0.0)
    monkeypatch.setattr(stream, "STATE_PERIOD_S", 0.01)
    monkeypatch.setattr(stream, "FRAME_PERIOD_S", 0.005)


def test_when_too_many_pages_connect_expect_one_more_to_be_sent_away():
    async def run():
        async with serving() as (server, address, session):
            sockets = [await session.ws_connect(f"{address}/ws") for _ in range(MOST_CLIENTS + 1)]
            for socket in sockets:
                await socket.send_json({"type": "hello"})
            for socket in sockets[:-1]:
                await heard(socket, "state")
            assert await close_code(sockets[-1]) == aiohttp.WSCloseCode.TRY_AGAIN_LATER
            assert len(server.clients) == MOST_CLIENTS

    asyncio.run(run())


@pytest.mark.parametrize("token", ["", "another-token-of-it", 3])
def test_when_the_token_is_wrong_expect_nothing_but_the_end(token):
    async def run():
        graph = StillGraph()
        async with (
            serving(TOKEN, graph) as (server, address, session),
            connected(session, address, token) as socket,
        ):
            await socket.send_json({"type": "press", "id": 1, "control": "arm"})
            message = await socket.receive(timeout=5)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code in (WRONG_TOKEN, aiohttp.WSCloseCode.POLICY_VIOLATION)
            assert (graph.pressed, server.clients.refused) == ([], 1)

    asyncio.run(run())


def test_when_the_token_is_right_expect_states():
    async def run():
        async with serving(TOKEN) as (_, address, session), connected(session, address, TOKEN) as socket:
            await heard(socket, "state")

    asyncio.run(run())


def test_when_the_first_message_is_a_press_expect_it_not_to_count():
    async def run():
        graph = StillGraph()
        async with (
            serving(graph=graph) as (_, address, session),
            session.ws_connect(f"{address}/ws") as socket,
        ):
            await socket.send_json({"type": "press", "id": 1, "control": "estop"})
            await close_code(socket)
        assert graph.pressed == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example", "Origin": "http://evil.example"},
    ],
)
def test_when_another_site_opens_a_websocket_expect_status_403(wrong):
    async def run():
        async with serving() as (server, address, session):
            with pytest.raises(aiohttp.WSServerHandshakeError) as error:
                await session.ws_connect(f"{address}/ws", headers=wrong)
            assert (error.value.status, server.clients.refused) == (403, 1)

    asyncio.run(run())


def test_when_a_name_was_rebound_expect_not_even_the_page():
    async def run():
        async with serving() as (_, address, session):
            assert await status_of(session, f"{address}/", headers={"Host": "evil.example"}) == 403

    asyncio.run(run())


@pytest.mark.parametrize(
    "text", ["", "[", "7", '{"type": "press", "id": 1, "control": "open_door"}', '{"type": "hello"}']
)
def test_when_a_message_is_wrong_expect_a_refusal_and_the_connection_to_live(text):
    async def run():
        async with serving() as (server, address, session), connected(session, address) as socket:
            await socket.send_str(text)
            assert (await heard(socket, "refused"))["message"]
            await heard(socket, "state")
            assert server.clients.refused == 1

    asyncio.run(run())


def test_when_wrong_messages_do_not_end_expect_the_connection_to():
    async def run():
        async with serving() as (server, address, session), connected(session, address) as socket:
            for _ in range(MOST_BAD_MESSAGES):
                await socket.send_str("{")
            assert await close_code(socket) == aiohttp.WSCloseCode.POLICY_VIOLATION
            assert server.clients.refused == MOST_BAD_MESSAGES

    asyncio.run(run())


@pytest.mark.parametrize("size", [3000, 5_000_000])
def test_when_a_message_is_huge_expect_the_end_of_that_connection_alone(size):
    async def run():
        async with serving() as (server, address, session):
            async with connected(session, address) as other, connected(session, address) as socket:
                await heard(socket, "state")
                try:
                    await socket.send_str("a" * size)
                    assert await close_code(socket) == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
                except ConnectionError:
                    pass  # closed before all of it was sent
                await heard(other, "state")
                await heard(other, "state")
                assert server.clients.refused == 1

    asyncio.run(run())


@pytest.mark.parametrize(
    ("token", "bearer", "status"), [("", "", 200), (TOKEN, TOKEN, 200), (TOKEN, "x" * 20, 401)]
)
def test_when_the_estop_comes_without_a_websocket_expect_it_to_need_the_token_too(token, bearer, status):
    async def run():
        graph = StillGraph()
        async with serving(token, graph) as (_, address, session):
            async with session.post(
                f"{address}/estop", headers={"Authorization": f"Bearer {bearer}"}
            ) as response:
                assert (response.status, (await response.json())["ok"]) == (status, status == 200)
        assert graph.pressed == [Control.ESTOP] * (status == 200)

    asyncio.run(run())


def test_when_another_site_posts_the_estop_expect_status_403():
    async def run():
        graph = StillGraph()
        async with serving(graph=graph) as (_, address, session):
            async with session.post(
                f"{address}/estop", headers={"Origin": "http://evil.example"}
            ) as response:
                assert response.status == 403
        assert graph.pressed == []

    asyncio.run(run())
