"""What a killed recorder left under `.partial/`: an episode whose end was recorded becomes a whole bag."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from resfit_ros.core.errors import DataError
from resfit_ros.core.types import EpisodeEnded
from resfit_ros.data.bag_about import PREFIX, custom_data
from resfit_ros.data.bag_directory import BAG_NAME
from resfit_ros.data.bag_lock import held_if_free, one_at_a_time
from resfit_ros.data.episode_bag import ABOUT, UNFINISHED, EpisodeBag, bag_name, peek_stamp_ns
from resfit_ros.data.interfaces import type_name, types_of
from resfit_ros.data.mcap_scan import RawMessages
from resfit_ros.data.read_bags import DAMAGE, DECODERS
from resfit_ros.data.recorded_end import end_texts

CHUNK, EPISODE, OBSERVATION = (type_name(name) for name in ("ActionChunk", "Episode", "Observation"))
RECOVERED = PREFIX + "recovered"  # in the metadata: why not the recorder closed the bag
# A bag is gone on with when the next message of its episode came so soon after its last one.
LONGEST_GAP_NS = 60_000_000_000


@dataclass(frozen=True)
class Recovered:
    """One unfinished bag. path: where it lies now. is_whole: it is a bag of the run from now on.

    messages: how many can be read. note: what was found, in one sentence.
    """

    episode_id: int
    path: Path
    messages: int
    is_whole: bool
    note: str


@dataclass(frozen=True)
class _Remains:
    """What can be read of an unfinished bag. newest_ns: newest stamp in it; policy: of its first chunk."""

    episode_id: int
    path: Path
    file: Path
    namespace: str
    definitions: tuple[tuple[str, str], ...]
    messages: int
    newest_ns: int
    end: EpisodeEnded | None
    policy: str


def recover(directory: Path, on_note: Callable[[str], None] = lambda _: None) -> list[Recovered]:
    """Makes whole bags of what killed recorders left in a directory of bags; says what became of each.

    on_note: takes the sentence on each of them. Every message before the damage is kept, byte for byte. A bag
    whose episode has no recorded end, or whose name a finished bag has already, stays where it is, and so
    does one that is being written; nothing is overwritten. Once all of it is in the finished bag it is
    removed. What cannot be done (a full disk) is said in the note and done the next time.
    """
    unfinished = directory / UNFINISHED
    if not unfinished.is_dir():
        return []
    with one_at_a_time(unfinished):
        # Of several of one episode the one that holds most.
        found = sorted(_remains(unfinished), key=lambda r: (r.episode_id, -r.messages))
        results = [result for remains in found if (result := _recovered(remains, directory))]
    for result in results:
        on_note(result.note)
    return results


def policy_of_chunk(data: bytes, types: Any) -> str:
    """Identity of the base policy that computed a serialised ActionChunk; empty where it has none."""
    return getattr(types.deserialize_cdr(data, CHUNK), "policy_sha256", "")


def _remains(unfinished: Path, only: int | None = None) -> Iterable[_Remains]:
    """only: of this episode; None: of all."""
    for path in sorted(unfinished.glob("episode_*")):
        name, files = BAG_NAME.fullmatch(path.name), list(path.glob("*.mcap"))
        if name and len(files) == 1 and only in (None, int(name[1])):
            with held_if_free(files[0]) as free:
                if free:
                    yield _look(int(name[1]), path, files[0])


def _look(episode_id: int, path: Path, file: Path) -> _Remains:
    raw = RawMessages(file)
    namespace, policy, end, newest_ns, count = "", "", None, 0, 0
    for message in raw:
        namespace = message.topic.rpartition("/")[0]
        newest_ns, count = max(newest_ns, peek_stamp_ns(message.data)), count + 1
        try:
            if message.kind == CHUNK and not policy:
                policy = policy_of_chunk(message.data, types_of(raw.definitions))
            elif message.kind == EPISODE:
                event = types_of(raw.definitions).deserialize_cdr(message.data, EPISODE)
                end = end or DECODERS[EPISODE](event)
        except (*DAMAGE, AttributeError):
            continue  # a message of another release: without it the bag has no end, and stays
    return _Remains(episode_id, path, file, namespace, raw.definitions, count, newest_ns, end, policy)


def _recovered(remains: _Remains, directory: Path) -> Recovered | None:
    final, path, count = directory / bag_name(remains.episode_id), remains.path, remains.messages
    with held_if_free(remains.file) as free:
        if not free:  # since it was looked at
            return None
        if final.exists():
            if _is_in(remains.file, final):
                shutil.rmtree(path, ignore_errors=True)
                return None
            note = f"{path}: kept beside {final}, which lacks some of these {count} messages"
            return Recovered(remains.episode_id, path, count, False, note)
        if remains.end is None:
            what = f"{count} messages are kept there, none is used"
            note = f"{path}: its recorder was killed before the episode ended; {what}"
            return Recovered(remains.episode_id, path, count, False, note)
        try:
            whole = _rewritten(remains, directory)
        except DataError as error:
            note = f"{path}: not recovered yet: {error}"
            return Recovered(remains.episode_id, path, count, False, note)
        shutil.rmtree(path, ignore_errors=True)
    note = f"{whole}: recovered, with all of its {count} messages"
    return Recovered(remains.episode_id, whole, count, True, note)


def _rewritten(remains: _Remains, directory: Path) -> Path:
    types = types_of(remains.definitions)
    bag = EpisodeBag(directory, remains.episode_id, remains.namespace, types=types)
    try:
        _copy(remains, bag)
        about = _about(remains) | {RECOVERED: json.dumps("its recorder was killed")}
        return bag.close(about | end_texts(remains.episode_id, remains.end))
    except DataError:
        bag.discard(keep=False)  # it would keep the disk full
        raise


def _copy(remains: _Remains, bag: EpisodeBag) -> None:
    for message in RawMessages(remains.file):
        bag.write(message.topic.rpartition("/")[2], message.received_ns, message.data)


def _about(remains: _Remains) -> dict[str, str]:
    """The custom data that the bag would have got."""
    try:
        about = custom_data(remains.path)
    except DataError:  # never closed
        try:
            about = {str(k): str(v) for k, v in json.loads((remains.path / ABOUT).read_text()).items()}
        except (OSError, ValueError, AttributeError):
            about = {}
    if remains.policy:
        about.setdefault(PREFIX + "base_policy_sha256", json.dumps(remains.policy))
    return about


def _is_in(file: Path, bag: Path) -> bool:
    """Whether a finished bag holds all that can be read of an unfinished one."""
    finished = {_digest(message.data) for whole in bag.glob("*.mcap") for message in RawMessages(whole)}
    return all(_digest(message.data) in finished for message in RawMessages(file))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class Beginning(NamedTuple):
    """What a killed recorder had of an episode. policy: identity of its base policy; empty: not known."""

    messages: int
    policy: str


def go_on_from(bag: EpisodeBag, directory: Path, episode_id: int, stamp_ns: int) -> Beginning:
    """Copies into a bag that is begun in mid-episode what a killed recorder had of it.

    stamp_ns: of the first message that is heard now. Only a bag of this release that was still being
    written a short while before is gone on with, not one of another run.
    """
    same = [
        r
        for r in _remains(directory / UNFINISHED, episode_id)
        if r.end is None and 0 <= stamp_ns - r.newest_ns <= LONGEST_GAP_NS
    ]
    for remains in sorted(same, key=lambda r: -r.messages)[:1]:
        if bag.has_types(remains.definitions):
            _copy(remains, bag)
            return Beginning(bag.messages, remains.policy)
    return Beginning(0, "")
