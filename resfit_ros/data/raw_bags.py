"""Bags recorded on a robot before this package was there, made into episodes: the aggregator run offline."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from resfit_ros.bringup import RunConfig
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.parameters import AggregatorParameters
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.expected import robot_about
from resfit_ros.data.raw_labels import LabelRow, read_labels, rows_of
from resfit_ros.data.raw_options import RawOptions
from resfit_ros.data.raw_reader import RawBag, raw_bags
from resfit_ros.data.raw_report import EpisodeReport, RawReport, SourceReport
from resfit_ros.data.raw_sampling import RawSampler, decoded
from resfit_ros.data.raw_steps import EpisodeSteps, RawCommands
from resfit_ros.data.raw_stretches import (
    EPISODE,
    LABEL,
    STRING,
    Stretch,
    by_events,
    by_gaps,
    by_labels,
    ended_by,
    episode_events,
    success_events,
    with_outcome,
)
from resfit_ros.data.raw_topics import COMMANDS, TopicMap, observing_parameters, topic_map

DAY_NS = 86_400 * 10**9
LONGEST_NS = 2 * DAY_NS
STAMP_WORDS = "stamp"  # in what is said of a stamp


def raw_episodes(
    source: Path,
    config: RunConfig,
    options: RawOptions,
    on_note: Callable[[str], None],
    on_report: Callable[[RawReport], None] | None = None,
) -> Iterator[tuple[EpisodeData, BagAbout]]:
    """Every episode of a raw bag, or of all raw bags in a directory, in order.

    source: a rosbag2 directory, an .mcap, .db3 or .bag file, or a directory of those. on_note takes a
    sentence on each thing that was dropped, on_report the figures of each bag once it has been read. Raises
    DataError when nothing of it can be used, ConfigError on options that do not fit.
    """
    bags = raw_bags(source)
    labels = read_labels(Path(options.labels)) if options.labels else ()
    p = observing_parameters(config)
    made, failure = 0, None
    for path in bags:
        reading = _Reading(path, config, p, options, labels, on_note)
        try:
            for data in reading.episodes():
                made += 1
                yield data, robot_about(p, source=f"raw bag {path.name}")
        except DataError as error:
            failure = failure or error
            reading.report.notes.append(str(error))
            if len(bags) > 1:
                on_note(str(error))
        if on_report:
            on_report(reading.report)
    if not made:
        raise failure or DataError(f"{source}: not one episode could be made of it")


class _Reading:
    """One bag, read twice: where its episodes lie, then what is in them."""

    def __init__(
        self,
        path: Path,
        config: RunConfig,
        p: AggregatorParameters,
        options: RawOptions,
        labels: tuple[LabelRow, ...],
        on_note: Callable[[str], None],
    ) -> None:
        self.report = RawReport(str(path))
        self._path, self._config, self._p, self._options = path, config, p, options
        self._labels, self._on_note = labels, on_note

    def _note(self, sentence: str) -> None:
        self.report.notes.append(sentence)
        self._on_note(sentence)

    def episodes(self) -> Iterator[EpisodeData]:
        """Raises DataError where there is not one."""
        bag = RawBag(self._path, self._note)
        topics = topic_map(str(self._path), bag.topics, bag.counts, self._config, self._p, self._options)
        self._require_outcome(bag)
        stretches = self._stretches(bag, topics)
        reports = {s: SourceReport(s, names) for s, names in topics.sources.items()}
        reports[COMMANDS] = SourceReport(COMMANDS, topics.commands)
        self.report.sources = list(reports.values())
        sampler = RawSampler(self._p, topics, self._options, reports)
        commands = RawCommands(self._p.joint_names, self._options.max_command_age_s, reports[COMMANDS])
        made = 0
        for steps in self._runs(bag, topics, stretches, sampler, commands):
            why = self._unusable(steps)
            self._count(steps, why)
            if not why:
                made += 1
                yield steps.episode()
        self._conclude(made, sampler)

    def _require_outcome(self, bag: RawBag) -> None:
        o = self._options
        told = o.episode_topic and bag.topics[o.episode_topic] in (EPISODE, LABEL, STRING)
        if not (o.outcome or o.success_topic or o.labels or told):
            raise ConfigError(
                "nothing says how the episodes ended; give --outcome success, failure or timeout, "
                "--success-topic TOPIC or --labels FILE"
            )

    def _stretches(self, bag: RawBag, topics: TopicMap) -> list[Stretch]:
        o = self._options
        times: list[int] = []
        events: dict[str, list[tuple[int, Any]]] = {t: [] for t in (o.episode_topic, o.success_topic) if t}
        steady = frozenset(topics.light)
        for topic, time_ns, raw in bag.messages((*topics.light, *events)):
            if topic in events:
                events[topic].append((time_ns, decoded(raw, bag.topics[topic])))
            if topic in steady:
                times.append(time_ns)
        if not times:
            raise DataError(f"{self._path}: not one joint state or command can be read; record it again")
        begin_ns, end_ns = times[0], times[-1]
        if end_ns - begin_ns > LONGEST_NS:
            days = (end_ns - begin_ns) / DAY_NS
            raise DataError(
                f"{self._path}: spans {days:.0f} days; the clock was set while it was recorded: cut it there"
            )
        if o.labels:
            rows = rows_of(self._labels, self._path, Path(o.labels))
            stretches = by_labels(rows, begin_ns, end_ns, o.labels)
        elif o.episode_topic:
            kind = bag.topics[o.episode_topic]
            found = episode_events(events[o.episode_topic])
            stretches = by_events(found, kind, begin_ns, end_ns, o.episode_topic)
        else:
            stretches = by_gaps(times, round(o.split_gap_s * 1e9))
        if o.success_topic:
            stretches = ended_by(stretches, success_events(events[o.success_topic]), o.success_topic)
        if o.outcome:
            stretches = with_outcome(stretches, Outcome[o.outcome.upper()], "outcome option")
        elif o.success_topic:
            stretches = with_outcome(stretches, Outcome.TIMEOUT, f"no success on {o.success_topic}")
        return stretches

    def _runs(
        self,
        bag: RawBag,
        topics: TopicMap,
        stretches: list[Stretch],
        sampler: RawSampler,
        commands: RawCommands,
    ) -> Iterator[EpisodeSteps]:
        """Every stretch with its steps, once it is over."""
        waiting = deque(stretches)
        steps = self._begun(waiting, 0)
        for topic, time_ns, raw in bag.messages(topics.every):
            # What is received at a sampling instant is part of the observation.
            while steps and steps.advance(time_ns, sampler, commands):
                yield steps
                steps = self._begun(waiting, steps.sampled_ns)
            sampler.take(topic, time_ns, raw)
            if topic in topics.commands:
                commands.take(bag.topics[topic], time_ns, raw, sampler.measured)
        while steps:
            steps.advance(None, sampler, commands)
            yield steps
            steps = self._begun(waiting, steps.sampled_ns)

    def _begun(self, waiting: deque[Stretch], not_before_ns: int) -> EpisodeSteps | None:
        """The next stretch; the last observation of the one before may lie a little in it."""
        if not waiting:
            return None
        stretch = waiting.popleft()
        stretch = dataclasses.replace(stretch, start_ns=max(stretch.start_ns, not_before_ns))
        return EpisodeSteps(stretch, self._p.control_period_ns)

    # -- what came of it --------------------------------------------------------------------

    def _unusable(self, steps: EpisodeSteps) -> str:
        if steps.stretch.outcome is Outcome.ABORTED:
            return "it was aborted"
        if steps.stretch.outcome is Outcome.NONE:
            return "nothing says how it ended; give --outcome"
        if steps.whole < self._options.min_steps:
            return f"only {steps.whole} steps of it are left, fewer than {self._options.min_steps}"
        return ""

    def _count(self, steps: EpisodeSteps, why: str) -> None:
        report = self.report
        report.dropped.update(steps.dropped)
        if why and steps.whole:
            report.dropped[why] += steps.whole
        kept, lost = (0 if why else steps.whole), steps.dropped.total() + (steps.whole if why else 0)
        outcome = steps.outcome.name.lower()
        report.episodes.append(EpisodeReport(outcome, steps.first_ns, steps.last_ns, kept, lost, why))
        number = len(report.episodes)
        if why:
            self._note(f"{self._path}: episode {number} is left out: {why}")
        elif steps.outcome is not steps.stretch.outcome:
            lost = steps.stretch.outcome.name.lower()
            self._note(
                f"{self._path}: episode {number}: the steps to its {lost} were dropped, so it ends as a "
                "timeout before them"
            )

    def _conclude(self, made: int, sampler: RawSampler) -> None:
        report = self.report
        periods = report.steps + report.dropped.total()
        whys = "; ".join(f"{n}: {why}" for why, n in report.dropped.most_common())
        names = sorted(sampler.joint_names_seen)
        if names and not made:
            whys += f" (joint states name {', '.join(names)})"
        refused = [(s, why, n) for s in report.sources for why, n in s.refused.items()]
        if not made:
            first = "; ".join(f"{s.name}: {n} messages refused: {why}" for s, why, n in refused[:3])
            said = "; ".join(filter(None, (whys or "no episode lies in it", first)))
            raise DataError(f"{self._path}: not one episode can be made of it: {said}{self._advice(refused)}")
        for s, why, n in refused:
            self._note(f"{self._path}: {s.name}: {n} of {s.messages} messages refused: {why}")
        if report.dropped:
            lost, advice = report.dropped.total(), self._advice(refused)
            self._note(f"{self._path}: {lost} of {periods} steps dropped: {whys}{advice}")

    def _advice(self, refused: list[tuple[SourceReport, str, int]]) -> str:
        if any(STAMP_WORDS in why and n > s.messages // 2 for s, why, n in refused):
            return "; where the stamps are of another clock than the recorder's, use --ignore-stamps"
        return ""
