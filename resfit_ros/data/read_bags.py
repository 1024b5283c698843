"""Bag files to the same values the live topics give, and on to learning data."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError

from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.transitions import AssembledEpisode, TransitionAssembler
from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    Executed,
    Mode,
    Observation,
    Outcome,
    Reason,
    SafetyState,
)
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.interfaces import type_name, types_of, typestore
from resfit_ros.data.mcap_scan import DamagedBag, Scan, is_plain
from resfit_ros.data.recorded_end import recorded_end
from resfit_ros.pictures.pixels import pixels

StepMessage = Observation | Action | Executed | EpisodeEnded
EVENT_ENDED = 1
NAMED = 3  # so many of the reasons to leave steps out are told one by one


def _stamp_ns(message) -> int:
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def _observation(m) -> Observation:
    return Observation(
        stamp_ns=_stamp_ns(m),
        episode_id=m.episode_id,
        step=m.step,
        state=m.state,
        images=tuple(pixels(i) for i in m.images),
        source_ages_s=tuple(m.source_ages_s.tolist()),
        source_id=m.source_id,
    )


def _action(m) -> Action:
    return Action(
        stamp_ns=_stamp_ns(m),
        episode_id=m.episode_id,
        step=m.step,
        base=m.base,
        residual=m.residual,
        command=m.command,
        chunk_phase=m.chunk_phase,
        actor_version=m.actor_version,
        mode=Mode(m.mode),
        source_id=m.source_id,
        tainted=getattr(m, "tainted", False),  # older releases wrote none
    )


def _executed(m) -> Executed:
    return Executed(
        stamp_ns=_stamp_ns(m),
        episode_id=m.episode_id,
        step=m.step,
        action=m.action,
        safety_state=SafetyState(m.safety_state),
        reasons=Reason(m.reasons),
        tainted=m.tainted,
        source_id=m.source_id,
    )


def _episode(m) -> EpisodeEnded | None:
    if m.event != EVENT_ENDED:
        return None
    outcome = Outcome(m.outcome)
    return EpisodeEnded(_stamp_ns(m), m.episode_id, outcome, m.steps, m.scene_seed, m.labelled_by)


# What rosbags raises for damaged files, by the part of a file that is hit.
DAMAGE = (
    AnyReaderError,
    ReaderError,
    SerdeError,
    TypesysError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AssertionError,
    RuntimeError,
    ArithmeticError,
    struct.error,
)
DECODERS = {
    type_name("Observation"): _observation,
    type_name("Action"): _action,
    type_name("ExecutedAction"): _executed,
    type_name("Episode"): _episode,
}


def bag_paths(directory: Path) -> list[Path]:
    """Finished episode bags below `directory`, in order; `directory` may be a bag itself."""
    if (directory / "metadata.yaml").is_file():
        return [directory]
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory; give a bag or a folder of bags")
    bags = [p.parent for p in directory.glob("*/metadata.yaml") if not p.parent.name.startswith(".")]
    if not bags:
        raise DataError(f"{directory}: holds no bags; record some with 'resfit record'")
    return sorted(bags)


def read_messages(path: Path) -> Iterator[StepMessage]:
    """The step messages of one bag, in recorded order.

    Raises DamagedBag where it is damaged, after all messages before that; DataError when it holds none
    of our topics.
    """
    files = list(path.glob("*.mcap"))
    plain = len(files) == 1 and is_plain(files[0])
    try:
        for kind, message in _recorded(files[0]) if plain else _foreign(path):
            value = DECODERS[kind](message)
            if value is not None:
                yield value
    except DAMAGE as error:
        raise DamagedBag(f"{path}: cannot be read as a bag ({type(error).__name__}: {error})") from error


def _recorded(file: Path) -> Iterator[tuple[str, Any]]:
    """(type name, message) of a bag that our recorder wrote."""
    scan = Scan(file)
    for _, _, kind, raw in scan:
        if kind in DECODERS:
            yield kind, types_of(scan.definitions).deserialize_cdr(raw, kind)
    _require_types(file.parent, {name for name, _ in scan.definitions})


def _foreign(path: Path) -> Iterator[tuple[str, Any]]:
    """(type name, message) of a bag that `ros2 bag record` or another program wrote."""
    with AnyReader([path], default_typestore=typestore()) as reader:
        ours: list[Connection] = [c for c in reader.connections if c.msgtype in DECODERS]
        _require_types(path, {c.msgtype for c in ours})
        for connection, _, raw in reader.messages(connections=ours):
            yield connection.msgtype, reader.deserialize(raw, connection.msgtype)


def _require_types(path: Path, found: set[str]) -> None:
    missing = set(DECODERS) - found
    if missing:
        raise DataError(
            f"{path}: has no topic of type {', '.join(sorted(missing))}; record it with the recorder node"
        )


def read_episodes(
    paths: Sequence[Path],
    joint_count: int,
    state_dim: int | None = None,
    on_damage: Callable[[str], None] | None = None,
    expected: BagAbout | None = None,
) -> Iterator[AssembledEpisode]:
    """Every episode of the bags, through the assembler that the learner uses live.

    on_damage: takes what is wrong with a damaged bag, whose steps before the damage are then used, and which
    steps of an episode are left out by their values; without it, DamagedBag is raised. expected: the robot;
    what a bag says of itself is compared with it. Raises DataError when a bag is of another robot.
    """
    for path in paths:
        if expected is not None:
            _require_same_robot(path, expected)
        for episode in assembled(path, read_messages(path), joint_count, state_dim, on_damage):
            if episode.left_out and on_damage is not None:
                on_damage(f"{path}: {left_out_words(episode)}")
            yield episode


def assembled(
    path: Path,
    messages: Iterable[StepMessage],
    joint_count: int,
    state_dim: int | None = None,
    on_damage: Callable[[str], None] | None = None,
) -> Iterator[AssembledEpisode]:
    """The episodes of one bag's messages; parameters and errors as of `read_episodes`."""
    # Unlike live, where an end means that an earlier episode is over: episodes may be mixed in a file.
    assemblers: dict[int, TransitionAssembler] = {}
    newest: Observation | None = None
    acted = False
    try:
        for message in messages:
            wrong = _wrong_size(message, joint_count, state_dim)
            if wrong:  # after sound ones, two robots were recorded into one bag: the first is used
                raise (DamagedBag if acted else DataError)(f"{path}: {wrong}")
            acted = acted or isinstance(message, Action)
            newest = message if isinstance(message, Observation) else newest
            if message.episode_id not in assemblers:
                assemblers[message.episode_id] = TransitionAssembler(joint_count)
            yield from assemblers[message.episode_id].add(message)
    except DamagedBag as error:
        if on_damage is None:
            raise
        on_damage(str(error))
        if newest is not None:
            yield from assemblers[newest.episode_id].add(recorded_end(path, newest))
    for assembler in assemblers.values():
        yield from assembler.flush()


def left_out_words(episode: AssembledEpisode) -> str:
    """Which steps of an episode are left out by their values, and why; the first of them by number."""
    reasons: dict[str, list[int]] = {}
    for step, why in episode.left_out.items():
        reasons.setdefault(why, []).append(step)
    named = [f"{_steps(steps)}: {why}" for why, steps in reasons.items()]
    more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
    number, out, of = episode.end.episode_id, len(episode.left_out), episode.end.steps
    return f"episode {number}: {out} of its {of} steps are left out ({'; '.join(named[:NAMED])}{more})"


def _steps(numbers: Sequence[int]) -> str:
    return f"step{'s' if len(numbers) > 1 else ''} {' and '.join(map(str, numbers))}"


def _require_same_robot(path: Path, expected: BagAbout) -> None:
    try:
        about = read_about(path)
    except DataError:
        return  # its messages may be sound all the same, and their sizes are compared
    difference = about.difference(expected)
    if difference:
        raise MismatchError(
            f"{path}: is of another robot: {difference}; leave it out, or use that robot's configuration"
        )


def _wrong_size(message: StepMessage, joint_count: int, state_dim: int | None) -> str:
    """What of the message does not fit the robot, in words; empty: it fits."""
    if isinstance(message, Observation):
        if state_dim is not None and message.state.shape != (state_dim,):
            return (
                f"states have {message.state.size} numbers, expected {state_dim}; "
                "it is a bag of another robot or another state layout"
            )
    elif isinstance(message, Action | Executed):
        vector = message.base if isinstance(message, Action) else message.action
        if np.shape(vector) != (joint_count,):
            joints = np.size(vector)
            return f"actions have {joints} joints, expected {joint_count}; it is a bag of another robot"
    return ""
