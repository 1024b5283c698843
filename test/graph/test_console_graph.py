"""The web console on a real graph: what is pressed over the websocket reaches the robot's nodes."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is not installed; run 'make setup'")

from console_rig import console  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402

from resfit_ros import graphs  # noqa: E402
from resfit_ros.msg import Action, Episode, ExecutedAction  # noqa: E402

ANSWER_S = 30.0


class Page:
    """A browser's side of the websocket."""

    def __init__(self, socket) -> None:
        self.socket, self.view, self.seen = socket, {}, None
        self._pressed = 0

    async def until(self, condition) -> None:
        """Handles what comes until the condition holds of the view."""
        end = time.monotonic() + ANSWER_S
        while not (self.view and condition(self.view)):
            message = await self.socket.receive(timeout=ANSWER_S)
            assert message.type is aiohttp.WSMsgType.TEXT, message
            told = json.loads(message.data)
            self.view, self.seen = told.get("view", self.view), told.get("now_s", self.seen)
            assert time.monotonic() < end, f"not so within {ANSWER_S:g} s: {json.dumps(self.view)[:3000]}"

    async def press(self, control: str) -> str:
        """The service's own words to a press."""
        await self.until(lambda v: v["controls"][control]["enabled"])
        before = self.view["controls"][control]["answer"]
        self._pressed += 1
        await self.socket.send_json(
            {"type": "press", "id": self._pressed, "control": control, "seen": self.seen}
        )
        await self.until(lambda v: v["controls"][control]["answer"] not in (None, before))
        return self.view["controls"][control]["answer"]["text"]


def on_a_page(probe, script) -> None:
    """Runs the script, a coroutine of a Page, against a console; the probe goes on hearing meanwhile."""
    failure = []

    async def run(address):
        async with aiohttp.ClientSession(headers={"Origin": address}) as session:
            async with session.ws_connect(f"{address}/ws") as socket:
                await socket.send_json({"type": "hello"})
                await script(Page(socket))

    def guarded():
        try:
            with console() as server:
                asyncio.run(run(f"http://127.0.0.1:{server.port}"))
        except BaseException as error:  # raised again in the test's own thread
            failure.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    probe.wait(lambda: not thread.is_alive(), 120.0)
    thread.join()
    if failure:
        raise failure[0]


@pytest.fixture
def probe(start, config, policy_dir):
    """The control graph with a base policy, in lockstep."""
    sections = {**config.sections, "episode_manager": {"max_steps": 100_000}}
    patient = type(config)(config.path, sections)
    probe = start(graphs.deploy_graph(patient, policy_dir, None))
    probe.watch(DiagnosticArray, "/diagnostics", 50)
    probe.wait(lambda: len(probe.seen["executed_action"]) > 5)
    return probe


def test_when_success_is_pressed_expect_an_episode_of_that_outcome_and_the_services_words(probe):
    async def script(page):
        assert await page.press("success") == "labelled"
        await page.until(lambda v: v["success"]["episodes"] >= 1)

    on_a_page(probe, script)
    ends = [e for e in probe.seen["episode"] if e.event == Episode.EVENT_ENDED]
    assert (ends[0].outcome, ends[0].labelled_by) == (Episode.OUTCOME_SUCCESS, "web console")


def test_when_the_estop_is_pressed_expect_a_latched_fault_until_released_and_armed(probe):
    async def script(page):
        # The console finds the services of a graph one by one.
        await page.until(lambda v: v["controls"]["release_estop"]["why"] == "the e-stop is not pressed")
        assert await page.press("estop") == "stopped"
        await page.until(lambda v: v["safety"]["state"] == "fault" and "e-stop" in v["safety"]["reasons"])
        await page.until(lambda v: "release it first" in v["controls"]["arm"]["why"])
        assert await page.press("release_estop") == "released; call arm to go on"
        await page.until(lambda v: v["safety"]["state"] == "fault")
        assert await page.press("arm") == "armed"
        await page.until(lambda v: v["safety"]["state"] == "armed")

    on_a_page(probe, script)
    states = [m.state for m in probe.seen["safety_status"]]
    first = states.index(ExecutedAction.STATE_FAULT)
    assert ExecutedAction.STATE_ARMED in states[first:]


def test_when_the_residual_is_enabled_and_disabled_expect_the_nodes_word(probe):
    async def script(page):
        await page.until(lambda v: v["residual"]["enabled"] is False)
        await page.press("enable_residual")
        await page.until(lambda v: v["residual"]["enabled"] is True)
        await page.press("disable_residual")
        await page.until(lambda v: v["residual"]["enabled"] is False)

    on_a_page(probe, script)
    assert probe.seen["action"][-1].mode == Action.MODE_BASE


def test_when_the_graph_dies_expect_the_page_to_say_that_nothing_is_heard(probe):
    async def script(page):
        await page.until(lambda v: v["safety"]["state"] == "armed")
        await asyncio.to_thread(probe.supervisor.stop)
        await page.until(lambda v: v["safety"]["state"] == "not heard" and not v["episode"]["heard"])
        await page.until(lambda v: not v["controls"]["arm"]["enabled"])
        assert page.view["controls"]["estop"]["enabled"]

    on_a_page(probe, script)


def test_when_the_command_is_interrupted_expect_it_to_end_cleanly(domain):
    command = "import typer; from resfit_ros.cli.console_command import console_command as c; typer.run(c)"
    with subprocess.Popen(
        [sys.executable, "-c", command, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        address = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"<title>Resfit console</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        words = process.stdout.read()
    assert process.returncode == 0, words
    assert "stopped" in words
