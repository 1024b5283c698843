"""A whole episode as arrays, and our bags from and to it: what imports, exports and conversions share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import DataError, ShapeError
from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    Executed,
    Float32,
    Mode,
    Observation,
    Outcome,
    Reason,
)
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_bag import EpisodeBag
from resfit_ros.data.interfaces import type_name, typestore
from resfit_ros.data.mcap_scan import DamagedBag
from resfit_ros.data.read_bags import read_messages
from resfit_ros.data.recorded_end import recorded_end
from resfit_ros.data.recorded_steps import RecordedSteps

EVENT_STARTED, EVENT_ENDED = 0, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeData:
    """K steps of one episode and its K + 1 observations, everything in joint units.

    states (K+1, S), bases (K+1, A), phases (K+1,) and actions (K, A), as executed, float32; stamps_ns
    (K+1,) int64, sampling instants; images: one uint8 (K+1, H, W, 3) per camera. interventions and
    tainted: bool (K,), steps a human drove and steps a fault touched. missing: bool (K,), steps of which
    a message was lost; their rows repeat those before, at the beginning those after. Raises ShapeError on
    arrays that do not fit.
    """

    states: Float32
    bases: Float32
    actions: Float32
    stamps_ns: NDArray[np.int64]
    outcome: Outcome
    phases: Float32 | None = None
    images: tuple[NDArray[np.uint8], ...] = ()
    interventions: NDArray[np.bool_] | None = None
    tainted: NDArray[np.bool_] | None = None
    missing: NDArray[np.bool_] | None = None
    scene_seed: int = -1
    labelled_by: str = ""

    def __post_init__(self) -> None:
        steps = len(self.actions)
        if self.phases is None:
            object.__setattr__(self, "phases", np.zeros(steps + 1, np.float32))
        for name in ("interventions", "tainted", "missing"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.zeros(steps, bool))
        rows = {"states": self.states, "bases": self.bases, "phases": self.phases, "stamps_ns": self.stamps_ns}
        rows |= {f"images of camera {i}": camera for i, camera in enumerate(self.images)}
        for name, array in rows.items():
            if len(array) != steps + 1:
                raise ShapeError(f"episode: {name} have {len(array)} rows, expected {steps + 1} for {steps} actions")
        if self.bases.shape[1:] != self.actions.shape[1:]:
            raise ShapeError(
                f"episode: bases have {self.bases.shape[1:]} joints, actions {self.actions.shape[1:]}"
            )

    def __len__(self) -> int:
        """Steps K."""
        return len(self.actions)


def write_episode(
    directory: Path, episode_id: int, data: EpisodeData, about: BagAbout, namespace: str = "/resfit"
) -> Path:
    """Writes an episode as a bag as the recorder does; returns its path.

    Steps that are missing are left out, tainted ones marked. Raises DataError when it cannot be written.
    """
    bag = EpisodeBag(directory, episode_id, namespace)
    try:
        for topic, stamp_ns, message in _messages(episode_id, data):
            kind = message.__msgtype__
            bag.write(topic, stamp_ns, bytes(typestore().serialize_cdr(message, kind)))
    except BaseException:  # Ctrl-C, too, must not leave a bag that is begun and locked
        bag.discard()
        raise
    ended = {
        "episode_id": str(episode_id),
        "outcome": data.outcome.name.lower(),
        "steps": str(len(data)),
        "scene_seed": str(data.scene_seed),
    }
    return bag.close(ended | about.to_custom_data())


def _messages(episode_id: int, data: EpisodeData) -> Iterable[tuple[str, int, Any]]:
    """(topic, stamp [ns], message) in the order the graph would have sent them."""
    first, last = int(data.stamps_ns[0]), int(data.stamps_ns[-1])
    yield "episode", first, _episode(EVENT_STARTED, first, episode_id, data)
    for k, stamp in enumerate(data.stamps_ns):
        stamp_ns, of_step = int(stamp), {"episode_id": episode_id, "step": k}
        gone = k < len(data) and bool(data.missing[k])
        if gone and k and data.missing[k - 1]:
            continue  # no step on either side needs it
        yield "observation", stamp_ns, _observation(stamp_ns, of_step, data, k)
        yield "action", stamp_ns, _action(stamp_ns, of_step, data, k)
        if k < len(data) and not gone:
            yield "executed_action", stamp_ns, _executed(stamp_ns, of_step, data, k)
    yield "episode", last, _episode(EVENT_ENDED, last, episode_id, data)


def _make(kind: str, stamp_ns: int, **fields: Any) -> Any:
    return typestore().types[type_name(kind)](header=_header(stamp_ns), **fields)


def _header(stamp_ns: int) -> Any:
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="")


def _vector(row: np.ndarray) -> Float32:
    """As messages need it: the rows of arrays whose columns were reordered are not contiguous."""
    return np.ascontiguousarray(row, np.float32)


def _observation(stamp_ns: int, of_step: Mapping[str, int], data: EpisodeData, k: int) -> Any:
    images = [
        typestore().types["sensor_msgs/msg/Image"](
            header=_header(stamp_ns),
            height=camera.shape[1],
            width=camera.shape[2],
            encoding="rgb8",
            is_bigendian=0,
            step=camera.shape[2] * 3,
            data=np.ascontiguousarray(camera[k]).reshape(-1),
        )
        for camera in data.images
    ]
    state, ages = _vector(data.states[k]), np.zeros(0, np.float32)
    return _make(
        "Observation", stamp_ns, **of_step, state=state, images=images, source_ages_s=ages, source_id="import"
    )


def _action(stamp_ns: int, of_step: Mapping[str, int], data: EpisodeData, k: int) -> Any:
    base = _vector(data.bases[k])
    # No action follows the last observation: only its base is used, to bootstrap.
    command = _vector(data.actions[k]) if k < len(data) else base
    human = k < len(data) and bool(data.interventions[k])
    return _make(
        "Action",
        stamp_ns,
        **of_step,
        base=base,
        residual=command - base,
        command=command,
        chunk_phase=float(data.phases[k]),
        actor_version=0,
        mode=int(Mode.INTERVENTION if human else Mode.BASE),
        tainted=False,
        source_id="import",
    )


def _executed(stamp_ns: int, of_step: Mapping[str, int], data: EpisodeData, k: int) -> Any:
    reasons = Reason.INTERVENTION if data.interventions[k] else Reason.NONE
    return _make(
        "ExecutedAction",
        stamp_ns,
        **of_step,
        action=_vector(data.actions[k]),
        safety_state=1,
        reasons=int(reasons),
        tainted=bool(data.tainted[k]),
        source_id="import",
    )


def _episode(event: int, stamp_ns: int, episode_id: int, data: EpisodeData) -> Any:
    ended = event == EVENT_ENDED
    return _make(
        "Episode",
        stamp_ns,
        episode_id=episode_id,
        event=event,
        outcome=int(data.outcome) if ended else 0,
        steps=len(data) if ended else 0,
        scene_seed=data.scene_seed,
        labelled_by=data.labelled_by if ended else "",
        source_id="import",
    )


def read_episode(path: Path, on_damage: Callable[[str], None] | None = None) -> EpisodeData:
    """One of our bags as arrays, aborted episodes too.

    on_damage: takes what is wrong with a damaged bag, whose steps before the damage are given; without it
    DamagedBag is raised. Raises DataError when not one whole step is left, or it holds several episodes.
    """
    episodes: dict[int, RecordedSteps] = {}
    try:
        for message in read_messages(path):
            episodes.setdefault(message.episode_id, RecordedSteps()).add(message)
    except DamagedBag as error:
        if on_damage is None:
            raise
        on_damage(str(error))
    if len(episodes) > 1:
        raise several_episodes(path, episodes)
    (heard,) = episodes.values() or (RecordedSteps(),)
    observations = heard.observed()
    end = heard.end
    if end is None and observations:
        end = recorded_end(path, observations[max(observations)])
    data = _gathered(observations, heard.actions, heard.executed, end) if end else None
    if data is None:
        raise DataError(f"{path}: no step of it is whole, so there is nothing to use; leave it out")
    return data


def several_episodes(path: Path, ids: Iterable[int]) -> DataError:
    """The error that a bag is not of one episode, with their numbers."""
    return DataError(
        f"{path}: holds the episodes {', '.join(map(str, sorted(ids)))}, expected one; leave it out, or "
        "record each into a bag of its own ('resfit data check' tells what is in it)"
    )


def _gathered(
    observations: Mapping[int, Observation],
    actions: Mapping[int, Action],
    executed: Mapping[int, Executed],
    end: EpisodeEnded,
) -> EpisodeData | None:
    """None where no step is whole."""
    steps = min(end.steps, max(executed, default=-1) + 1)
    there = [k in observations and k in actions and k in executed for k in range(steps)]
    # A step needs the observation that follows it.
    missing = np.array([not (there[k] and k + 1 in observations) for k in range(steps)], bool)
    if missing.all():
        return None
    first = there.index(True)
    seen, acted = _filled(observations, first, steps + 1), _filled(actions, first, steps + 1)
    done = _filled(executed, first, steps)
    cameras = range(len(seen[0].images))
    return EpisodeData(
        states=np.stack([o.state for o in seen]).astype(np.float32),
        bases=np.stack([a.base for a in acted]).astype(np.float32),
        actions=np.stack([e.action for e in done]).astype(np.float32),
        stamps_ns=np.array([o.stamp_ns for o in seen], np.int64),
        outcome=end.outcome,
        phases=np.array([a.chunk_phase for a in acted], np.float32),
        images=tuple(np.stack([o.images[c] for o in seen]) for c in cameras),
        interventions=np.array([_human_drove(e, a) for e, a in zip(done, acted, strict=False)], bool),
        tainted=np.array([e.tainted for e in done], bool),
        missing=missing,
        scene_seed=end.scene_seed,
        labelled_by=end.labelled_by,
    )


def _human_drove(executed: Executed, action: Action) -> bool:
    return bool(executed.reasons & Reason.INTERVENTION) or action.mode is Mode.INTERVENTION


def _filled(messages: Mapping[int, Any], first: int, count: int) -> list[Any]:
    """Messages 0 to `count` - 1; where one is missing the one before it, before `first` that one."""
    filled = [messages[first]] * (first + 1)
    for k in range(first + 1, count):
        filled.append(messages.get(k, filled[-1]))
    return filled
