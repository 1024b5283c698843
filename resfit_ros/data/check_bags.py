"""One bag looked at from front to back: what a learner would get of it, and what is wrong with the rest."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from resfit_ros.core.errors import DataError
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import Action, EpisodeEnded, Executed, Observation, Outcome
from resfit_ros.data.bag_about import BagAbout, custom_data
from resfit_ros.data.read_bags import NAMED, StepMessage, assembled, left_out_words, read_messages
from resfit_ros.data.segment_digest import digest_of, episode_digest

NAMES = {Observation: "observation", Action: "action", Executed: "executed_action"}


@dataclass(frozen=True, kw_only=True)
class BagReport:
    """What a bag is good for.

    steps: recorded, of all its episodes; usable_steps: those that a learner would get. problems: sentences
    on what is wrong; notes: on what is left out by design (aborted episodes, tainted steps). digest: SHA-256
    over the usable learning data, equal for bags that give the same bits; empty where there are none.
    """

    path: Path
    steps: int
    episodes: int
    usable_steps: int
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digest: str = ""

    @property
    def usable(self) -> bool:
        """Whether anything can be learned from it."""
        return self.usable_steps > 0


def check_bag(path: Path, expected: BagAbout | None = None) -> BagReport:
    """Reads a bag as a learner does and reports; raises nothing for what is wrong with the bag.

    expected: the robot whose data it should be; a bag of another one is not usable.
    """
    tally, problems = _Tally(), []
    about, custom = BagAbout(), {}
    try:
        custom = custom_data(path)
        about = BagAbout.from_custom_data(custom)
    except DataError as error:
        problems.append(str(error))
    except (ValueError, TypeError) as error:
        problems.append(f"{path / 'metadata.yaml'}: custom data cannot be read ({error}); restore the file")
    difference = about.difference(expected) if expected else ""
    if difference:
        problems.append(f"{path}: is of another robot: {difference}; leave it out")
    episodes: list[AssembledEpisode] = []
    try:
        joints = _joint_count(path, expected)
        if joints is not None:
            messages = tally.counted(read_messages(path))
            episodes = list(assembled(path, messages, joints, on_damage=problems.append))
    except DataError as error:
        problems.append(str(error))
        episodes = []
    if tally.episodes or not problems:
        problems += [f"{path}: {words}" for words in tally.problems(episodes, about, custom)]
    usable = 0 if difference else sum(len(s) for e in episodes for s in e.segments)
    return BagReport(
        path=path,
        steps=tally.steps(episodes),
        episodes=len(tally.episodes),
        usable_steps=usable,
        problems=tuple(problems),
        notes=tuple(f"{path}: {words}" for words in tally.notes()),
        digest=digest_of(map(episode_digest, episodes)) if usable else "",
    )


def _joint_count(path: Path, expected: BagAbout | None) -> int | None:
    """Of the expected robot, else of the bag's first action; None where it has none."""
    if expected is not None and expected.joint_names:
        return len(expected.joint_names)
    for message in read_messages(path):
        if isinstance(message, Action | Executed):
            return len(message.base if isinstance(message, Action) else message.action)
    return None


@dataclass
class _Episode:
    """What was seen of one episode, whether or not it can be used."""

    steps: dict[type, set[int]] = field(default_factory=lambda: {kind: set() for kind in NAMES})
    executed: dict[int, bytes] = field(default_factory=dict)
    twice: list[int] = field(default_factory=list)  # steps with two different executed actions
    tainted: set[int] = field(default_factory=set)
    end: EpisodeEnded | None = None

    def add(self, message: StepMessage) -> None:
        if isinstance(message, EpisodeEnded):
            self.end = self.end or message
            return
        self.steps[type(message)].add(message.step)
        if isinstance(message, Executed):
            action = message.action.tobytes()
            if self.executed.setdefault(message.step, action) != action:
                self.twice.append(message.step)
            if message.tainted:
                self.tainted.add(message.step)

    def missing(self, steps: int) -> list[str]:
        """Messages that are not there, in words, of steps up to the last that was recorded at all."""
        silent = [f"every {name}" for kind, name in NAMES.items() if not self.steps[kind]]
        if silent:
            return silent
        known = min(steps, max((k for of_kind in self.steps.values() for k in of_kind), default=-1))
        return [
            f"{name} {k}"
            for k in range(known + 1)
            for kind, name in NAMES.items()
            if k not in self.steps[kind] and (k < steps or kind is not Executed)
        ]


class _Tally:
    """Counts the messages of a bag on their way to the assembler."""

    def __init__(self) -> None:
        self.episodes: dict[int, _Episode] = {}
        self._cameras: set[int] = set()
        self._mixed = False
        self._current = 0

    def counted(self, messages: Iterable[StepMessage]) -> Iterator[StepMessage]:
        """The messages, each looked at."""
        for message in messages:
            if message.episode_id != self._current:
                self._mixed |= message.episode_id in self.episodes
                self._current = message.episode_id
            self.episodes.setdefault(message.episode_id, _Episode()).add(message)
            if isinstance(message, Observation):
                self._cameras.add(len(message.images))
            yield message

    def steps(self, given: Iterable[AssembledEpisode]) -> int:
        """Steps that were recorded, as far as the ends of the episodes or their messages tell."""
        ends = {e.end.episode_id: e.end.steps for e in given}
        return sum(
            ends.get(i, e.end.steps if e.end else len(e.steps[Executed])) for i, e in self.episodes.items()
        )

    def notes(self) -> Iterator[str]:
        """What is left out by design."""
        for number, episode in self.episodes.items():
            if episode.end and episode.end.outcome is Outcome.ABORTED:
                yield f"episode {number} was aborted: nothing is learned from it"
            elif episode.tainted:
                count = len(episode.tainted)
                yield f"episode {number}: {count} steps are marked as tainted: a fault touched them"

    def problems(
        self, given: Iterable[AssembledEpisode], about: BagAbout, custom: dict[str, str]
    ) -> Iterator[str]:
        """What is wrong with the contents, a sentence each."""
        if not any(e.steps[Executed] for e in self.episodes.values()):
            yield "has no executed action; nothing of it can be used"
            return
        yield from self._of_several(custom)
        wanted = len(about.camera_names)
        if wanted and self._cameras - {wanted}:
            found = min(self._cameras - {wanted})
            yield f"observations have {found} pictures, the bag speaks of {wanted} cameras"
        ended = {e.end.episode_id: e for e in given}
        for number, episode in self.episodes.items():
            aborted = episode.end is not None and episode.end.outcome is Outcome.ABORTED
            if number in ended:
                yield from self._of_episode(episode, ended[number])
            elif not aborted:
                yield f"episode {number} has no end: its {len(episode.steps[Executed])} steps are not used"

    def _of_several(self, custom: dict[str, str]) -> Iterator[str]:
        numbers = ", ".join(map(str, sorted(self.episodes)))
        recorded = custom.get("episode_id", "")
        if recorded and set(map(str, self.episodes)) != {recorded}:
            yield (
                f"its metadata speak of episode {recorded}, its messages are of {numbers}; "
                "each is taken by itself"
            )
        elif self._mixed:
            yield f"the messages of episodes {numbers} are mixed; each is taken by itself"

    @staticmethod
    def _of_episode(episode: _Episode, given: AssembledEpisode) -> Iterator[str]:
        number, steps = given.end.episode_id, given.end.steps
        if episode.twice:
            first = episode.twice[0]
            yield (
                f"episode {number}: step {first} was executed twice, differently "
                f"({len(episode.twice)} such steps): two recordings are mixed; the first of each is used"
            )
        if given.steps_lost:
            missing = episode.missing(steps)
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            what = f"; missing: {', '.join(missing[:NAMED])}{more}" if missing else " after the damage"
            yield f"episode {number}: {given.steps_lost} of its {steps} steps are lost{what}"
        if given.left_out:
            yield left_out_words(given)
