"""From the columns of a dataset's episode to our episode: what is damaged is cut out and named."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.types import Float32, Outcome
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.notes import Notes, listed

START_NS = 10**9  # datasets know no clock; stamp 0 means "none" in ROS
BETWEEN_NS = 10**9  # from one episode to the next


@dataclass(frozen=True, kw_only=True, eq=False)
class Ours:
    """What only our own exports carry beside a dataset's columns: as in EpisodeData."""

    bases: Float32
    phases: Float32
    stamps_ns: NDArray[np.int64]
    interventions: NDArray[np.bool_]
    tainted: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    scene_seed: int = -1
    labelled_by: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Frames:
    """An episode as a dataset holds it, its columns possibly of different lengths or not finite.

    where: names it in notes. states (n, S), actions (n, A), images: one uint8 (n, H, W, 3) per camera.
    after: the observation that followed the last action, a state (S,) and a picture per camera; None where
    the dataset has none. times_s (n,): when the rows were taken; None unknown. length: rows it should have.
    """

    where: str
    states: np.ndarray
    actions: np.ndarray
    outcome: Outcome
    images: tuple[NDArray[np.uint8], ...] = ()
    after: tuple[np.ndarray, tuple[NDArray[np.uint8], ...]] | None = None
    times_s: np.ndarray | None = None
    length: int | None = None
    ours: Ours | None = None


def episode_of(frames: Frames, control_hz: float, start_ns: int, notes: Notes) -> EpisodeData | None:
    """The usable part of an episode; None, said in notes, where nothing of it is."""
    rows = _common_rows(frames, notes)
    is_cut = rows < max(len(frames.actions), len(frames.states), frames.length or 0)
    steps = rows - 1 if is_cut else rows  # a step needs the observation that follows it
    if steps < 1:
        notes(f"{frames.where}: left out, it has no whole step")
        return None
    states, images = _observations(frames, steps, is_cut)
    actions = frames.actions[:steps].astype(np.float32)
    if not all(
        np.array_equal(a.astype(np.float32), a, equal_nan=True) for a in (frames.states, frames.actions)
    ):
        notes.once("numbers of 64 bits are rounded to the 32 bits that bags keep, about 7 digits")
    outcome = Outcome.TIMEOUT if is_cut else frames.outcome
    own = frames.ours or _plain(frames, actions, control_hz, start_ns, outcome, notes)
    lost = _not_finite(frames.where, states, actions, notes)
    missing = own.missing[:steps] | lost
    if missing.all():
        notes(f"{frames.where}: left out, not one step of it is whole")
        return None
    first = int(np.argmin(lost))
    states, actions = _filled(states[first:]), _filled(actions[first:])
    bases = np.concatenate((actions, actions[-1:])) if frames.ours is None else own.bases[first : steps + 1]
    return EpisodeData(
        states=states,
        bases=bases,
        actions=actions,
        stamps_ns=own.stamps_ns[first : steps + 1],
        outcome=outcome,
        phases=own.phases[first : steps + 1],
        images=tuple(camera[first:] for camera in images),
        interventions=own.interventions[first:steps],
        tainted=own.tainted[first:steps],
        missing=missing[first:],
        scene_seed=own.scene_seed,
        labelled_by=own.labelled_by,
    )


def _common_rows(frames: Frames, notes: Notes) -> int:
    lengths = {"actions": len(frames.actions), "states": len(frames.states)}
    lengths |= {f"pictures of camera {i}": len(camera) for i, camera in enumerate(frames.images)}
    rows, wanted = min(lengths.values()), max(*lengths.values(), frames.length or 0)
    if rows < wanted:
        found = ", ".join(f"{count} {name}" for name, count in lengths.items())
        notes(f"{frames.where}: {found}, expected {wanted} of each; the first {rows} are kept")
    return rows


def _observations(frames: Frames, steps: int, is_cut: bool) -> tuple[Float32, Sequence[np.ndarray]]:
    """States and pictures of steps + 1 observations.

    Where a dataset does not hold the one after the last action, the last one stands for it: it is never
    learned from, and so every action is kept.
    """
    states = frames.states.astype(np.float32)
    if is_cut:
        return states[: steps + 1], [camera[: steps + 1] for camera in frames.images]
    state, pictures = frames.after or (states[-1], tuple(camera[-1] for camera in frames.images))
    images = [np.concatenate((c, p[None])) for c, p in zip(frames.images, pictures, strict=True)]
    return np.concatenate((states, np.asarray(state, np.float32)[None])), images


def _plain(
    frames: Frames, actions: Float32, control_hz: float, start_ns: int, outcome: Outcome, notes: Notes
) -> Ours:
    """What a dataset of another tool does not hold; steps across a gap in time are tainted."""
    steps = len(actions)
    tainted = np.zeros(steps, bool)
    if frames.times_s is not None:
        taken = np.diff(frames.times_s[: steps + 1].astype(np.float64))
        late = np.flatnonzero(np.abs(taken * control_hz - 1) > 0.5)
        tainted[late] = True
        if len(late):
            notes(
                f"{frames.where}: steps {listed(late.tolist())} do not take 1/{control_hz:g} s (the longest "
                f"{taken.max():g} s); they are marked as tainted and not learned from"
            )
    if frames.after is None and outcome is Outcome.TIMEOUT and len(frames.states) == steps:
        tainted[-1] = True
        notes.once(
            "the observation after the last action is not in the dataset: the last step of episodes without "
            "success is marked as tainted and not learned from"
        )
    return Ours(
        bases=actions,
        phases=np.zeros(steps + 1, np.float32),
        stamps_ns=start_ns + np.round(np.arange(steps + 1) * (1e9 / control_hz)).astype(np.int64),
        interventions=np.zeros(steps, bool),
        tainted=tainted,
        missing=np.zeros(steps, bool),
    )


def _not_finite(where: str, states: Float32, actions: Float32, notes: Notes) -> NDArray[np.bool_]:
    """Steps (K,) whose action, or an observation at either end, is not finite."""
    seen, acted = np.isfinite(states).all(axis=1), np.isfinite(actions).all(axis=1)
    bad = ~(seen[:-1] & seen[1:] & acted)
    rows = sorted({*np.flatnonzero(~seen).tolist(), *np.flatnonzero(~acted).tolist()})
    if rows:
        notes(
            f"{where}: values in row {listed(rows)} are not finite; {int(bad.sum())} of its {len(bad)} steps "
            "are left out"
        )
    return bad


def _filled(rows: Float32) -> Float32:
    """Rows that are not finite repeat the one before; a first row is finite, or of a step left out."""
    filled = rows.copy()
    for k in np.flatnonzero(~np.isfinite(rows).all(axis=1)):
        filled[k] = filled[k - 1] if k else 0
    return filled
