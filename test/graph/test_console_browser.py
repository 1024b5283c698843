"""The operator's page in a real Chromium, on a real graph."""

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed; run 'make setup'")

from console_rig import console  # noqa: E402
from headless_browser import Browser, find_chromium  # noqa: E402

from resfit_ros import graphs  # noqa: E402
from resfit_ros.msg import Episode, ExecutedAction  # noqa: E402

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; apt-get install chromium")
TOKEN = "a-token-of-some-length"
ALIVE, LOST = "!document.body.classList.contains('lost')", "document.body.classList.contains('lost')"
DESK, PHONE = (1280, 860), (390, 844)


@pytest.fixture
def browse(tmp_path):
    """Opens a browser of a size; it is closed with the test, and must not have had an error of its own."""
    browsers = []

    def run(size=DESK, dark=False) -> Browser:
        directory = tmp_path / f"browser{len(browsers)}"
        directory.mkdir()
        browsers.append(Browser(CHROMIUM, directory, *size, dark=dark))
        return browsers[-1]

    yield run
    for browser in browsers:
        browser.close()


@pytest.fixture
def probe(start, config, policy_dir):
    """The control graph in lockstep, with a small camera and episodes that only end by hand."""
    small = {"camera_names": ["camera"], "image_width": 64, "image_height": 48}
    sections = {
        **config.sections,
        "robot": {**config.robot, **small},
        "sim_robot": {"camera_hz": 20.0},
        "episode_manager": {"max_steps": 100_000},
    }
    probe = start(graphs.deploy_graph(type(config)(config.path, sections), policy_dir, None))
    probe.wait(lambda: len(probe.seen["executed_action"]) > 5)
    return probe


def address(server) -> str:
    return f"http://127.0.0.1:{server.port}/"


def answered(words: str) -> str:
    return f"document.getElementById('answer').textContent.includes({words!r})"


def enabled(button: str) -> str:
    return f"document.getElementById({button!r}).getAttribute('aria-disabled') === 'false'"


def says(button: str, words: str) -> str:
    return f"document.querySelector('#{button} b').textContent === {words!r}"


def outcomes(probe) -> list[int]:
    return [e.outcome for e in probe.seen["episode"] if e.event == Episode.EVENT_ENDED]


def test_when_buttons_and_keys_are_pressed_expect_the_graph_to_follow(probe, browse):
    browser = browse()
    with console() as server:
        browser.open(address(server))
        browser.wait(enabled("success"))
        browser.key("s")
        browser.wait(answered("labelled"))
        browser.wait(enabled("failure"))
        browser.press("#failure")
        probe.wait(lambda: outcomes(probe)[:2] == [Episode.OUTCOME_SUCCESS, Episode.OUTCOME_FAILURE])
        browser.wait("document.getElementById('headline').textContent.includes('episode 3 is running')")
        browser.press("#reset", hold_s=0.2)  # too short: a long press is asked for
        assert len(outcomes(probe)) == 2
        browser.press("#reset", hold_s=1.5)
        browser.wait(answered("episode 3 aborted"))
        probe.wait(lambda: len(outcomes(probe)) == 3)
        assert outcomes(probe)[2] == Episode.OUTCOME_ABORTED
        assert browser.errors == []


def test_when_the_space_bar_is_pressed_expect_a_stop_that_takes_two_long_presses_to_end(probe, browse):
    browser = browse(dark=True)
    with console() as server:
        browser.open(address(server))
        browser.wait("document.getElementById('safety-title').textContent === 'ARMED'")
        browser.wait("document.getElementById('release_estop').title.includes('the e-stop is not pressed')")
        browser.ask("document.getElementById('success').focus()")
        browser.key(" ")
        browser.wait("document.getElementById('safety-title').textContent === 'E-STOP'")
        probe.wait(lambda: probe.state() == ExecutedAction.STATE_FAULT)
        assert outcomes(probe) == []  # the button in focus was not pressed by it
        browser.wait("document.querySelector('#arm small').textContent.includes('release it first')")
        browser.key("a", hold_s=1.2)
        browser.wait(answered("release it first"))
        browser.press("#release_estop", hold_s=2.5)
        browser.wait(answered("released"))
        browser.wait(enabled("arm"))
        browser.key("a", hold_s=0.2)  # too short
        assert probe.state() == ExecutedAction.STATE_FAULT
        browser.key("a", hold_s=1.5)
        browser.wait(says("arm", "Disarm"))
        probe.wait(lambda: probe.state() == ExecutedAction.STATE_ARMED)
        assert browser.errors == []


def test_when_a_phone_comes_with_the_token_expect_camera_and_buttons_under_the_thumb(probe, browse):
    browser = browse(PHONE)
    with console(TOKEN) as server:
        browser.open(f"{address(server)}#token={TOKEN}")
        browser.wait(ALIVE)
        assert TOKEN not in browser.ask("location.href")
        browser.wait("document.getElementById('camera-picture').width === 64")
        browser.wait("document.querySelectorAll('#residual-joints li').length === 29")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
        low = browser.ask("document.getElementById('success').getBoundingClientRect().top / innerHeight")
        assert 0.6 < low < 0.85  # in reach of a thumb
        browser.wait(enabled("success"))
        browser.press("#success")
        browser.wait(answered("labelled"))
        browser.press("#estop")
        probe.wait(lambda: probe.state() == ExecutedAction.STATE_FAULT)
        assert browser.errors == []


def test_when_the_token_is_missing_expect_to_be_asked_for_it(domain, browse):
    browser = browse()
    with console(TOKEN) as server:
        browser.open(address(server))
        browser.wait("document.getElementById('token-dialog').open")
        assert browser.ask(LOST)
        browser.ask(f"document.getElementById('token').value = {TOKEN!r}")
        browser.press("#token-dialog button")
        browser.wait(ALIVE)


def test_when_the_console_dies_expect_the_page_to_say_so_and_to_come_back(domain, browse):
    browser = browse()
    with console() as server:
        port = server.port
        browser.open(address(server))
        browser.wait(ALIVE)
    browser.wait(LOST)
    assert browser.text("#lost-title") == "CONNECTION LOST"
    assert browser.ask("getComputedStyle(document.getElementById('lost')).display") == "block"
    assert "grayscale" in browser.ask("getComputedStyle(document.querySelector('main')).filter")
    browser.key("s")
    browser.wait(answered("not connected"))
    browser.key(" ")
    browser.wait(answered("NOT SENT"))
    with console(port=port):
        browser.wait(ALIVE)
        browser.wait("document.getElementById('safety-title').textContent === 'E-STOP ASKED FOR'")


def test_when_no_graph_runs_expect_words_for_it_and_no_button_but_the_estop(domain, browse):
    browser = browse()
    with console() as server:
        browser.open(address(server))
        browser.wait(ALIVE)
        browser.wait("document.getElementById('headline').textContent.includes('not heard')")
        names = ("success", "failure", "discard", "reset", "arm", "hold", "enable_residual")
        assert [n for n in names if browser.ask(enabled(n))] == []
        assert browser.ask("document.getElementById('estop').disabled") is False
        assert browser.errors == []


@pytest.fixture
def other_site(tmp_path):
    """The address of a page that is not ours, and has no policy that would keep it from anything."""
    (tmp_path / "site").mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=tmp_path / "site")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_when_another_site_has_a_script_expect_it_to_reach_nothing(domain, browse, other_site):
    browser = browse()
    with console() as server:
        browser.open(other_site)
        socket = f"new WebSocket('ws://127.0.0.1:{server.port}/ws')"
        ends = "s.onopen = () => r('open'); s.onerror = () => r('refused');"
        opened = f"new Promise(r => {{ const s = {socket}; {ends} }})"
        assert browser.ask(opened) == "refused"
        post = f"fetch('{address(server)}estop', {{method: 'POST', mode: 'no-cors'}})"
        assert browser.ask(f"{post}.then((r) => r.type)") == "opaque"  # it went out, and was refused
        assert server.clients.refused == 2
        framed = (
            "new Promise(r => { const f = document.createElement('iframe'); "
            "f.onload = () => r(f.contentDocument); "
            f"f.src = '{address(server)}'; document.body.append(f); }})"
        )
        browser.ask(f"{framed}.then(() => 0)")
        assert "frame-ancestors" in " ".join(browser.errors)
        browser.open(address(server))
        browser.wait(ALIVE)
        assert browser.text("#safety-title") != "E-STOP ASKED FOR"
