"""Where in a raw bag its episodes lie and how they ended, from topics, labels or gaps."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import Outcome
from resfit_ros.data.interfaces import type_name
from resfit_ros.data.raw_labels import LabelRow

BOOL, STRING = "std_msgs/msg/Bool", "std_msgs/msg/String"
NUMBERS = tuple(f"std_msgs/msg/{sign}{bits}" for sign in ("Int", "UInt") for bits in (8, 16, 32, 64))
EPISODE, LABEL = type_name("Episode"), type_name("Label")
SUCCESS_TYPES = (BOOL, *NUMBERS, LABEL)
EPISODE_TYPES = (BOOL, *NUMBERS, STRING, EPISODE, LABEL)
# Of a String: it ends the episode, NONE: with an outcome that something else says.
END_WORDS = {
    "": Outcome.NONE,
    "end": Outcome.NONE,
    "success": Outcome.SUCCESS,
    "failure": Outcome.FAILURE,
    "timeout": Outcome.TIMEOUT,
    "aborted": Outcome.ABORTED,
}
EVENT_STARTED = 0
ROUNDED_S = 1.0  # what people write of a bag's length may be longer by so much


@dataclass(frozen=True)
class Stretch:
    """Part of a bag that is one episode. Instants of receipt, [ns]; outcome NONE: not known.

    by_event: the outcome came true at end_ns and not before.
    """

    start_ns: int
    end_ns: int
    outcome: Outcome = Outcome.NONE
    labelled_by: str = ""
    by_event: bool = False


@dataclass(frozen=True)
class Event:
    """What a message of an episode or success topic says: an episode begins, one ends, or both."""

    time_ns: int
    begins: bool = False
    ends: bool = False
    outcome: Outcome = Outcome.NONE


def episode_events(messages: Iterable[tuple[int, Any]]) -> list[Event]:
    """Of an episode topic's (instant, message) in order."""
    events, before = [], None
    for time_ns, message in messages:
        kind = message.__msgtype__
        if kind == EPISODE:
            begins = message.event == EVENT_STARTED
            outcome = Outcome.NONE if begins else _outcome(time_ns, message)
            events.append(Event(time_ns, begins, not begins, outcome))
        elif kind == LABEL:
            events.append(Event(time_ns, True, True, _outcome(time_ns, message)))
        elif kind == STRING:
            word = message.data.strip()
            ends = word.lower() in END_WORDS
            if ends or word != before:
                events.append(Event(time_ns, not ends, True, END_WORDS.get(word.lower(), Outcome.NONE)))
            before = word
        elif message.data != before:
            events.append(Event(time_ns, bool(message.data), True))
            before = message.data
    return events


def _outcome(time_ns: int, message: Any) -> Outcome:
    try:
        return Outcome(message.outcome)
    except ValueError:
        raise DataError(
            f"{message.__msgtype__} at {time_ns * 1e-9:.3f} s: outcome {message.outcome} is not one of "
            f"{', '.join(str(int(o)) for o in Outcome)}; leave the topic out, or give --labels"
        ) from None


def success_events(messages: Iterable[tuple[int, Any]]) -> list[Event]:
    """Of a success topic's (instant, message) in order: each change to true, or each label."""
    events, before = [], False
    for time_ns, message in messages:
        if message.__msgtype__ == LABEL:
            events.append(Event(time_ns, False, True, _outcome(time_ns, message)))
            continue
        if message.data and not before:
            events.append(Event(time_ns, False, True, Outcome.SUCCESS))
        before = bool(message.data)
    return events


def by_events(
    events: Sequence[Event], kind: str, begin_ns: int, end_ns: int, labelled_by: str
) -> list[Stretch]:
    """Episodes of an episode topic of type `kind`, in a bag from begin_ns to end_ns.

    Labels only end episodes: the first begins with the bag, and after the last there is none. Of another
    topic an episode without an end lasts to the end of the bag.
    """
    stretches: list[Stretch] = []
    start_ns = begin_ns if kind == LABEL else None
    for event in events:
        if event.ends and start_ns is not None and event.time_ns > start_ns:
            said = event.outcome is not Outcome.NONE
            who = labelled_by if said else ""
            stretches.append(Stretch(start_ns, event.time_ns, event.outcome, who, said))
        if event.ends:
            start_ns = None
        if event.begins:
            start_ns = event.time_ns
    if start_ns is not None and start_ns < end_ns and kind != LABEL:
        stretches.append(Stretch(start_ns, end_ns))
    return stretches


def by_labels(rows: Sequence[LabelRow], begin_ns: int, end_ns: int, labelled_by: str) -> list[Stretch]:
    """Episodes of the rows about one bag; a row without end_s says it of the whole, not of its last instant.

    Raises DataError on a row beyond the end of the bag.
    """
    stretches, lasts_s = [], (end_ns - begin_ns) * 1e-9
    for row in rows:
        for name, value in (("start_s", row.start_s), ("end_s", row.end_s)):
            if value is not None and value > lasts_s + ROUNDED_S:
                lasts = f"lies beyond the bag, which lasts {lasts_s:.3f} s"
                raise DataError(f"{row.where}: {name} {value:g} {lasts}")
        start_ns = begin_ns + round((row.start_s or 0.0) * 1e9)
        last_ns = end_ns if row.end_s is None else min(end_ns, begin_ns + round(row.end_s * 1e9))
        stretches.append(Stretch(start_ns, last_ns, row.outcome, labelled_by, row.end_s is not None))
    return stretches


def by_gaps(times_ns: Iterable[int], gap_ns: int) -> list[Stretch]:
    """Stretches of ascending instants that no two follow one another later than gap_ns; 0: one of all."""
    stretches: list[Stretch] = []
    start_ns = last_ns = None
    for time_ns in times_ns:
        if start_ns is None:
            start_ns = time_ns
        elif gap_ns and time_ns - last_ns > gap_ns:
            stretches.append(Stretch(start_ns, last_ns))
            start_ns = time_ns
        last_ns = time_ns
    if start_ns is not None:
        stretches.append(Stretch(start_ns, last_ns))
    return stretches


def ended_by(stretches: Iterable[Stretch], events: Sequence[Event], labelled_by: str) -> list[Stretch]:
    """The same, each ended by the first event in it; what comes after that is left out."""
    ended = []
    for stretch in stretches:
        event = next((e for e in events if stretch.start_ns < e.time_ns <= stretch.end_ns), None)
        if event:
            changes = {"end_ns": event.time_ns, "outcome": event.outcome, "by_event": True}
            stretch = dataclasses.replace(stretch, labelled_by=labelled_by, **changes)
        ended.append(stretch)
    return ended


def with_outcome(stretches: Iterable[Stretch], outcome: Outcome, labelled_by: str) -> list[Stretch]:
    """The same, with this outcome where none is known."""
    changes = {"outcome": outcome, "labelled_by": labelled_by}
    return [dataclasses.replace(s, **changes) if s.outcome is Outcome.NONE else s for s in stretches]
