"""What waits for a slow browser, and what the charts keep."""

import io

import numpy as np
import pytest
from PIL import Image

from resfit_ros.console.clients import Client, Clients
from resfit_ros.console.history import History
from resfit_ros.console.jpeg import LARGEST_SIDE, as_jpeg
from resfit_ros.console.outbox import ANSWERS_KEPT, FRAMES_UNDER_WAY, Outbox
from resfit_ros.console.stream import SERIES, figures_of


def sent_now(outbox: Outbox) -> list:
    """Everything that can be sent without waiting."""
    return list(iter(outbox.take, None))


def test_when_a_browser_is_slow_expect_the_newest_state_and_frame_alone():
    outbox = Outbox()
    for i in range(1000):
        outbox.state(f"state {i}")
        outbox.frame(b"frame %d" % i)
    assert sent_now(outbox) == ["state 999", b"\0\0\0\1frame 999"]
    assert outbox.dropped == 999


def test_when_frames_are_not_shown_expect_no_more_than_a_few_under_way():
    outbox = Outbox()
    sent = []
    for i in range(10):
        outbox.frame(b"%d" % i)
        sent += sent_now(outbox)
    assert [item[4:] for item in sent] == [b"0", b"1"]
    assert not outbox.wants_frame
    outbox.shown(1)
    assert outbox.wants_frame
    assert sent_now(outbox) == [b"\0\0\0\x039"]


@pytest.mark.parametrize("number", [0, 2, 10**9])
def test_when_a_frame_is_shown_that_was_not_sent_expect_it_to_be_passed_over(number):
    outbox = Outbox()
    outbox.frame(b"a")
    sent_now(outbox)
    outbox.shown(number)
    outbox.frame(b"b")
    sent_now(outbox)
    outbox.frame(b"c")
    assert sent_now(outbox) == []
    assert FRAMES_UNDER_WAY == 2


def test_when_answers_wait_expect_them_first_and_bounded():
    outbox = Outbox()
    outbox.state("state")
    for i in range(ANSWERS_KEPT + 5):
        outbox.answer(f"{i}")
    items = sent_now(outbox)
    assert len(items) == ANSWERS_KEPT + 1
    assert items[-2:] == [f"{ANSWERS_KEPT + 4}", "state"]


def test_when_a_frame_comes_expect_it_only_for_those_who_look_at_the_camera():
    clients, left, right = Clients(), Client(camera="left"), Client(camera="right")
    for client in (left, right, Client()):
        clients.add(client)
    clients.show("left", b"jpeg")
    assert clients.cameras() == {"left", "right"}
    assert sent_now(left.outbox) == [b"\0\0\0\1jpeg"]
    assert sent_now(right.outbox) == []


def test_when_a_run_is_long_expect_the_history_to_span_it_in_bounded_memory():
    history = History(("a",), period_s=1.0, longest=100)
    for second in range(10_000):
        history.add(float(second), {"a": float(second)})
    points = history.message()["points"]
    assert len(points) <= 100
    assert points[0] == (0.0, 0.0)
    assert points[-1][0] >= 10_000 - history.period_s
    assert history.period_s == 128.0


def test_when_points_come_fast_expect_them_thinned():
    history = History(("a",), period_s=1.0)
    taken = [history.add(0.2 * i, {"a": 0.0}) for i in range(50)]
    assert sum(taken) == 10


def test_when_the_learner_is_not_heard_expect_gaps_in_its_charts():
    snapshot = {"success": {"rate": 0.5}, "learner": {"heard": False, "figures": {"q_mean": 0.7}}}
    figures = figures_of(snapshot)
    assert set(figures) == set(SERIES)
    assert (figures["success_rate"], figures["q_mean"]) == (0.5, None)


def test_when_a_picture_is_large_expect_a_small_jpeg_of_the_same_shape():
    pixels = np.zeros((1080, 1921, 3), np.uint8)
    pixels[:, :, 0] = 200
    picture = Image.open(io.BytesIO(as_jpeg(pixels)))
    assert picture.size == (480, 270)
    assert max(picture.size) <= LARGEST_SIDE
    assert picture.getpixel((10, 10))[0] == pytest.approx(200, abs=6)
