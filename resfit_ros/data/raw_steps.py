"""Observations and commands of a raw bag put together into the steps of one episode."""

from collections import Counter, deque

import numpy as np

from resfit_ros.core.errors import ResfitError
from resfit_ros.core.types import Float64, Outcome
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.raw_commands import CommandedJoints, command_of
from resfit_ros.data.raw_report import SourceReport
from resfit_ros.data.raw_sampling import RawSampler, Sample, decoded
from resfit_ros.data.raw_stretches import Stretch

NO_COMMAND = "no command has come yet"


class RawCommands:
    """What the robot was told, by the commands of a bag in the order of receipt."""

    def __init__(self, joint_names: tuple[str, ...], max_age_s: float, report: SourceReport) -> None:
        self._joint_names, self._max_age_s, self._report = joint_names, max_age_s, report
        self._joints = CommandedJoints(len(joint_names))
        # One that is received at a sampling instant belongs to the step that begins there.
        self._waiting: deque[tuple] = deque()

    def take(self, kind: str, time_ns: int, raw: bytes, measured: Float64) -> None:
        """Takes a message of a command type in. measured (A,): where the joints are, NaN where not known."""
        self._report.heard(time_ns)
        self._use_before(time_ns)
        try:
            joints, path = command_of(decoded(raw, kind), self._joint_names)
        except ResfitError as error:
            self._report.refused[str(error)] += 1
            return
        self._waiting.append((joints, path, time_ns, measured.copy()))

    def _use_before(self, time_ns: int) -> None:
        while self._waiting and self._waiting[0][2] < time_ns:
            self._joints.receive(*self._waiting.popleft())

    def before(self, time_ns: int, period_s: float) -> Float64 | str:
        """Where the commands received before time_ns want the joints (A,) then; or why that is not known."""
        self._use_before(time_ns)
        silent = self._joints.silent_s(time_ns) > self._max_age_s
        self._report.sampled(silent and self._joints.any_came, period_s)
        if not self._joints.any_came:
            return NO_COMMAND
        if silent:
            return f"the newest command ended more than {self._max_age_s:g} s ago"
        target = self._joints.at(time_ns)
        if target is None:
            return "no command and no joint state has named every joint yet"
        return target


class EpisodeSteps:
    """The steps of one stretch: an observation at every control period, and what was commanded between two.

    Steps that cannot be made are counted in `dropped` by reason. In the midst of an episode a run of them is
    kept as one step that is marked as missing.
    """

    def __init__(self, stretch: Stretch, period_ns: int) -> None:
        self.stretch = stretch
        self.dropped: Counter[str] = Counter()
        self._period_ns = period_ns
        span_ns = stretch.end_ns - stretch.start_ns
        # An outcome counts for the first observation at or after it.
        self._last = -(-span_ns // period_ns) if stretch.by_event else span_ns // period_ns
        self._next = 0
        self.sampled_ns = 0  # newest sampling instant
        self._before: Sample | None = None
        self._why = ""  # there is no sample before
        self._samples: list[Sample] = []
        self._actions: list[Float64] = []
        self._missing: list[bool] = []

    def advance(self, until_ns: int | None, sampler: RawSampler, commands: RawCommands) -> bool:
        """Samples at every instant before until_ns, None: to the end; True when the stretch is over.

        Everything received up to each instant must have been taken in.
        """
        while self._next <= self._last:
            next_ns = self.stretch.start_ns + self._next * self._period_ns
            if until_ns is not None and next_ns >= until_ns:
                return False
            self._sample(next_ns, sampler, commands)
        return True

    def _sample(self, now_ns: int, sampler: RawSampler, commands: RawCommands) -> None:
        """The observation at now_ns, and the step before it."""
        if not self._next:
            sampler.begin(self.stretch.start_ns)
        period_s = self._period_ns * 1e-9
        sample = sampler.sample(now_ns, period_s)
        target = commands.before(now_ns, period_s)
        found = sample if isinstance(sample, Sample) else None
        if self._next:
            why = self._why or ("" if found else sample) or (target if isinstance(target, str) else "")
            if why:
                self.dropped[why] += 1
            else:
                self._add(found, target)
        self._before, self._why = found, "" if found else sample
        self._next += 1
        self.sampled_ns = now_ns

    def _add(self, sample: Sample, action: Float64) -> None:
        if not self._samples:
            self._samples.append(self._before)
        elif self._samples[-1] is not self._before:
            self._samples.append(self._before)
            self._actions.append(self._actions[-1])
            self._missing.append(True)
        self._samples.append(sample)
        self._actions.append(action)
        self._missing.append(False)

    @property
    def whole(self) -> int:
        """Steps that nothing is missing of."""
        return len(self._missing) - sum(self._missing)

    @property
    def first_ns(self) -> int:
        return self._samples[0].stamp_ns if self._samples else 0

    @property
    def last_ns(self) -> int:
        return self._samples[-1].stamp_ns if self._samples else 0

    @property
    def outcome(self) -> Outcome:
        """TIMEOUT where the instant of the outcome was not observed: what was seen last is not it."""
        unseen = self.stretch.by_event and self.last_ns < self.stretch.end_ns
        return Outcome.TIMEOUT if unseen else self.stretch.outcome

    def episode(self) -> EpisodeData:
        """The episode; there must be a step. Base actions are the executed ones."""
        actions = np.array(self._actions, np.float32)
        cameras = range(len(self._samples[0].images))
        return EpisodeData(
            states=np.stack([s.state for s in self._samples]),
            bases=np.concatenate((actions, actions[-1:])),
            actions=actions,
            stamps_ns=np.array([s.stamp_ns for s in self._samples], np.int64),
            outcome=self.outcome,
            images=tuple(np.stack([s.images[c] for s in self._samples]) for c in cameras),
            missing=np.array(self._missing, bool),
            labelled_by=self.stretch.labelled_by,
        )
