"""The web console's server over real sockets, on an operator's view that no ROS feeds."""

import asyncio

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed; run 'make setup'")

from console_pages import StillGraph, connected, heard, serving, status_of  # noqa: E402

from resfit_ros.console.access import Access  # noqa: E402
from resfit_ros.console import server as server_module  # noqa: E402
from resfit_ros.console import stream  # noqa: E402
from resfit_ros.console.server import ConsoleServer  # noqa: E402
from resfit_ros.core.errors import ConfigError  # noqa: E402
from resfit_ros.operating.controls import Control  # noqa: E402


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    """Nothing here waits for a person."""
    monkeypatch.setattr(server_module, "WRONG_TOKEN_DELAY_S", 0.0)
    monkeypatch.setattr(stream, "STATE_PERIOD_S", 0.01)
    monkeypatch.setattr(stream, "FRAME_PERIOD_S", 0.005)


def test_when_a_page_connects_expect_history_and_states():
    async def run():
        async with serving() as (_, address, session), connected(session, address) as socket:
            history = await heard(socket, "history")
            state = await heard(socket, "state")
            assert history["names"][0] == "success_rate"
            assert set(state["view"]["controls"]) == {c.value for c in Control}
            assert len(state["point"]) == 1 + len(history["names"])

    asyncio.run(run())


def test_when_buttons_are_pressed_expect_each_in_order_with_its_answer():
    async def run():
        graph = StillGraph()
        async with serving(graph=graph) as (_, address, session), connected(session, address) as socket:
            seen = (await heard(socket, "state"))["now_s"]
            for number, control in enumerate(("estop", "arm", "success")):
                await socket.send_json({"type": "press", "id": number, "control": control, "seen": seen})
            answers = [await heard(socket, "answer") for _ in range(3)]
            assert [(a["id"], a["control"], a["taken"]) for a in answers] == [
                (0, "estop", True),
                (1, "arm", False),
                (2, "success", True),
            ]
        assert graph.pressed == [Control.ESTOP, Control.ARM, Control.SUCCESS]

    asyncio.run(run())


def test_when_a_stalled_network_delivers_presses_late_expect_stops_alone_to_count():
    async def run():
        graph = StillGraph()
        async with serving(graph=graph) as (_, address, session), connected(session, address) as socket:
            seen = (await heard(socket, "state"))["now_s"] - 2.0
            for number, control in enumerate(("resume", "arm", "hold", "estop")):
                await socket.send_json({"type": "press", "id": number, "control": control, "seen": seen})
            answers = [await heard(socket, "answer") for _ in range(4)]
            assert [a["taken"] for a in answers] == [False, False, True, True]
            assert "s old (slow network)" in answers[1]["why"]
        assert graph.pressed == [Control.HOLD, Control.ESTOP]

    asyncio.run(run())


def test_when_a_state_cannot_be_made_expect_the_next_one_sent(caplog):
    async def run():
        graph = StillGraph()
        whole, fails = graph.snapshot, [KeyError("no such field")] * 3
        async with serving(graph=graph) as (_, address, session), connected(session, address) as socket:
            await heard(socket, "state")
            graph.snapshot = lambda: (_raise(fails.pop()) if fails else whole())
            while fails:
                await heard(socket, "state")
            await heard(socket, "state")

    asyncio.run(run())
    assert [r.getMessage() for r in caplog.records] == ["left out, and tried again"]


def _raise(error):
    raise error


def test_when_two_pages_are_open_expect_states_on_both():
    async def run():
        async with serving() as (server, address, session):
            async with connected(session, address) as one, connected(session, address) as two:
                await heard(one, "state")
                await heard(two, "state")
                assert len(server.clients) == 2

    asyncio.run(run())


def test_when_the_page_is_loaded_expect_every_file_it_names_and_no_way_to_frame_it():
    async def run():
        async with serving() as (_, address, session):
            async with session.get(f"{address}/") as response:
                policy, text = response.headers["Content-Security-Policy"], await response.text()
                assert "frame-ancestors 'none'" in policy
                assert "script-src 'self'" in policy
                assert response.headers["Cache-Control"] == "no-store"
            for name in (
                "app.js",
                "camera.js",
                "chart.js",
                "connection.js",
                "controls.js",
                "view.js",
                "style.css",
            ):
                assert await status_of(session, f"{address}/{name}") == 200
            assert 'src="app.js"' in text
            for name in ("server.py", "../server.py", "%2e%2e%2fserver.py", "nothing.js"):
                assert await status_of(session, f"{address}/{name}") == 404

    asyncio.run(run())


def test_when_a_camera_is_watched_expect_jpegs_only_as_fast_as_they_are_shown():
    async def run():
        async with serving() as (_, address, session), connected(session, address) as socket:
            await socket.send_json({"type": "watch", "camera": "noise"})
            frames = []
            for _ in range(12):
                message = await socket.receive(timeout=5)
                if message.type is aiohttp.WSMsgType.BINARY:
                    frames.append(message.data)
            assert [int.from_bytes(f[:4], "big") for f in frames] == [1, 2]
            assert {f[4:6] for f in frames} == {b"\xff\xd8"}
            await socket.send_json({"type": "shown", "frame": 2})
            while (message := await socket.receive(timeout=5)).type is not aiohttp.WSMsgType.BINARY:
                pass
            assert message.data[:4] == b"\0\0\0\3"

    asyncio.run(run())


def test_when_a_page_stops_reading_expect_others_to_be_served_and_its_estop_to_be_heard():
    async def run():
        graph = StillGraph()
        async with serving(graph=graph) as (server, address, session):
            async with connected(session, address) as slow, connected(session, address) as other:
                await slow.send_json({"type": "watch", "camera": "noise"})
                for _ in range(400):
                    for number in range(1, 150):  # claims to show frames that it never reads
                        await slow.send_json({"type": "shown", "frame": number})
                    await heard(other, "state")
                    if server.clients.frames_dropped:
                        break
                assert server.clients.frames_dropped > 0
                await slow.send_json({"type": "press", "id": 1, "control": "estop"})
                await heard(other, "state")
                await heard(other, "state")
                assert graph.pressed == [Control.ESTOP]

    asyncio.run(run())


def test_when_the_port_is_taken_expect_its_name_and_what_to_do():
    async def run():
        async with serving() as (server, _, _session):
            with pytest.raises(
                ConfigError, match=f"127.0.0.1:{server.port} cannot be served .*another --port"
            ):
                await ConsoleServer(StillGraph(), Access("127.0.0.1"), server.port).start()

    asyncio.run(run())
