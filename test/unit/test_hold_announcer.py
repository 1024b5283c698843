"""When a hold is asked for, repeated and taken back."""

from resfit_ros.core.hold_announcer import HoldAnnouncer, Trouble
from resfit_ros.core.source_health import MS
from resfit_ros.core.types import HoldRequest, Reason

HOLD, RELEASE = HoldRequest.HOLD, HoldRequest.RELEASE
SILENT = Trouble(Reason.STALE_SENSOR, "camera 'wrist' is silent")
FROZEN = Trouble(Reason.STALE_SENSOR, "camera 'wrist' repeats one picture")


def run(troubles, listeners=lambda ms: 1):
    """(ms, request) of all that is published; troubles: ms to trouble or None, asked every 10 ms."""
    announcer = HoldAnnouncer()
    said = []
    for ms in range(0, 2000, 10):
        news = announcer.update(troubles(ms), listeners(ms), ms * MS)
        said += [(ms, news[0])] if news else []
    return said


def test_when_the_node_starts_expect_what_its_predecessor_held_released():
    assert run(lambda ms: None) == [(0, RELEASE), (500, RELEASE)]


def test_when_the_safety_filter_is_found_later_expect_the_release_then():
    assert run(lambda ms: None, lambda ms: ms >= 300) == [(300, RELEASE), (800, RELEASE)]


def test_when_there_is_trouble_expect_hold_at_once_and_every_half_second():
    said = run(lambda ms: SILENT if 100 <= ms < 1200 else None)
    assert said[1:] == [(100, HOLD), (600, HOLD), (1100, HOLD), (1200, RELEASE), (1700, RELEASE)]


def test_when_the_trouble_changes_expect_it_said_at_once():
    said = run(lambda ms: SILENT if ms < 250 else FROZEN)
    assert said == [(0, HOLD), (250, HOLD), (750, HOLD), (1250, HOLD), (1750, HOLD)]


def test_when_the_safety_filter_is_started_anew_expect_it_told_of_the_hold():
    said = run(lambda ms: SILENT, lambda ms: 0 if 600 <= ms < 800 else 1)
    assert (800, HOLD) in said
