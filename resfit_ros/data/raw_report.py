"""What was made of a raw bag, and what was dropped and why."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass
class SourceReport:
    """One source of observations, or the commands. rate_hz: mean from the first message to the last."""

    name: str
    topics: tuple[str, ...]
    messages: int = 0
    first_ns: int = 0
    last_ns: int = 0
    longest_gap_s: float = 0.0
    stale_stretches: int = 0  # runs of sampling instants without a fresh value
    stale_s: float = 0.0
    refused: Counter[str] = field(default_factory=Counter)  # why: messages
    _was_stale: bool = False

    def heard(self, time_ns: int) -> None:
        """A message was received."""
        if self.messages:
            self.longest_gap_s = max(self.longest_gap_s, (time_ns - self.last_ns) * 1e-9)
        else:
            self.first_ns = time_ns
        self.messages += 1
        self.last_ns = time_ns

    def sampled(self, stale: bool, period_s: float) -> None:
        """Call at every sampling instant."""
        self.stale_stretches += stale and not self._was_stale
        self.stale_s += period_s * stale
        self._was_stale = stale

    @property
    def rate_hz(self) -> float:
        spans_s = (self.last_ns - self.first_ns) * 1e-9
        return (self.messages - 1) / spans_s if spans_s > 0 else 0.0


@dataclass(frozen=True)
class EpisodeReport:
    """One stretch of a bag. Instants are of its first and last observation, ns of receipt; 0: none was made.

    steps: in the episode; dropped_steps: of the stretch, all reasons together. why: empty, or why there is no
    episode of it.
    """

    outcome: str
    first_ns: int
    last_ns: int
    steps: int
    dropped_steps: int
    why: str = ""


@dataclass
class RawReport:
    """Of one bag. dropped: why to control periods that did not become steps. notes: sentences, in order."""

    bag: str
    sources: list[SourceReport] = field(default_factory=list)
    episodes: list[EpisodeReport] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Steps of all episodes made."""
        return sum(e.steps for e in self.episodes)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, texts and lists."""
        values = dataclasses.asdict(self)
        for source, given in zip(values["sources"], self.sources, strict=True):
            del source["_was_stale"]
            source |= {"topics": list(given.topics), "rate_hz": given.rate_hz, "refused": dict(given.refused)}
        return values | {"dropped": dict(self.dropped), "steps": self.steps}

    def source_rows(self) -> list[tuple[str, ...]]:
        """A table's rows; its columns: SOURCE_COLUMNS."""
        return [
            (
                s.name,
                ", ".join(s.topics),
                str(s.messages),
                f"{s.rate_hz:.1f}",
                f"{s.longest_gap_s:.3f}",
                f"{s.stale_stretches} ({s.stale_s:.1f} s)" if s.stale_stretches else "0",
                "; ".join(f"{n}: {why}" for why, n in s.refused.most_common()) or "0",
            )
            for s in self.sources
        ]

    def episode_rows(self, begin_ns: int = 0) -> list[tuple[str, ...]]:
        """A table's rows; its columns: EPISODE_COLUMNS. begin_ns: what counts as 0 s; 0: the first heard."""
        begin_ns = begin_ns or min((s.first_ns for s in self.sources if s.messages), default=0)
        return [
            (
                str(i),
                e.outcome or "-",
                f"{(e.first_ns - begin_ns) * 1e-9:.3f}" if e.first_ns else "-",
                f"{(e.last_ns - begin_ns) * 1e-9:.3f}" if e.last_ns else "-",
                str(e.steps),
                str(e.dropped_steps),
                e.why or "kept",
            )
            for i, e in enumerate(self.episodes, 1)
        ]

    def dropped_rows(self) -> list[tuple[str, ...]]:
        """A table's rows; its columns: DROPPED_COLUMNS."""
        return [(str(n), why) for why, n in self.dropped.most_common()]


SOURCE_COLUMNS = ("source", "topic", "messages", "rate [Hz]", "longest gap [s]", "stale", "refused")
EPISODE_COLUMNS = ("episode", "outcome", "first [s]", "last [s]", "steps", "dropped", "result")
DROPPED_COLUMNS = ("steps dropped", "why")
