"""robomimic datasets to episodes."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, DataError, MismatchError, nearest
from resfit_ros.core.types import Outcome
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.episode_data import EpisodeData
from resfit_ros.data.formats.frames import BETWEEN_NS, START_NS, Frames, Ours, episode_of
from resfit_ros.data.formats.joints import Columns, joint_columns, state_names, state_order
from resfit_ros.data.formats.libraries import library
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.options import ImportOptions, OnNote
from resfit_ros.data.formats.outcomes import outcome_of
from resfit_ros.data.formats.pictures import resized
from resfit_ros.data.formats.rate import checked_rate

MAGIC = b"\x89HDF\r\n\x1a\n"
STATE, ACTIONS, OURS, SUFFIX = "state", "actions", "resfit", "_image"
DAMAGE = (OSError, LookupError, TypeError, ValueError, RuntimeError)  # what h5py raises
ARRAYS = ("bases", "phases", "stamps_ns", "interventions", "tainted", "missing")


def read(source: Path, options: ImportOptions, on_note: OnNote) -> Iterator[tuple[EpisodeData, BagAbout]]:
    """Episodes of a dataset; see Format."""
    h5py, notes = library("h5py"), Notes(on_note)
    try:
        file = h5py.File(source, "r")
    except OSError as error:
        raise DataError(f"{source} cannot be read ({error}); fetch the dataset again") from None
    with file:
        demos = _demos(source, file, options)
        hz, start_ns, given = _rate(source, file, demos, options), START_NS, 0
        for _, name in demos:
            where = f"{source}: {name}"
            try:
                frames, about = _frames(source, file["data"][name], where, options, notes)
            except MismatchError:
                raise
            except DataError as error:
                notes(f"{where}: left out, {error}")
                continue
            except DAMAGE as error:
                notes(f"{where}: left out, it cannot be read ({error})")
                continue
            data = episode_of(frames, hz, start_ns, notes)
            if data is None:
                continue
            given, start_ns = given + 1, int(data.stamps_ns[-1]) + BETWEEN_NS
            size = data.images[0].shape[2:0:-1] if data.images else ()
            yield data, dataclasses.replace(about, control_hz=hz, image_size=size)
    if not given:
        raise DataError(f"{source}: none of the {len(demos)} episodes that were asked for can be used")


def _demos(source: Path, file: Any, options: ImportOptions) -> list[tuple[int, str]]:
    """Number and name of the episodes that are asked for, in order."""
    try:
        names = list(file["data"])
        if options.mask:
            masks = list(file["mask"]) if "mask" in file else []
            if options.mask not in masks:
                raise DataError(
                    f"{source}: there is no filter key '{options.mask}'; {nearest(options.mask, masks)}"
                )
            names = [name.decode() for name in file["mask"][options.mask][()]]
    except DAMAGE as error:
        raise DataError(f"{source}: is no robomimic dataset ({error}); it needs groups data/demo_N") from None
    numbers = {name: re.fullmatch(r"demo_(\d+)", name) for name in names}
    demos = sorted((int(found[1]), name) for name, found in numbers.items() if found)
    demos = [demo for demo in demos if not options.episodes or demo[0] in options.episodes]
    if not demos:
        raise DataError(f"{source}: has none of the episodes that were asked for")
    return demos


def _rate(source: Path, file: Any, demos: list[tuple[int, str]], options: ImportOptions) -> float:
    try:
        found = float(json.loads(file["data"].attrs["env_args"])["env_kwargs"]["control_freq"])
    except DAMAGE:
        found = 0.0
    return checked_rate(found, options, str(source))


def _frames(
    source: Path, demo: Any, where: str, options: ImportOptions, notes: Notes
) -> tuple[Frames, BagAbout]:
    observed = demo["obs"]
    own, about = _ours(demo) if OURS in demo else (None, None)
    states, cameras = _state_keys(observed, options, where), _camera_keys(demo, options, where)
    actions = _numbers(demo, options.action_key or ACTIONS)
    joints = joint_columns(about.joint_names if about else (), actions.shape[1], options, str(source), notes)
    if own is not None:
        own = dataclasses.replace(own, bases=joints.of(own.bases))
    all_states = np.concatenate([_numbers(observed, key) for key in states], axis=1)
    blocks = (about.state if about and states == (STATE,) else ()) or options.state
    order = _state_order(about, blocks, all_states.shape[1], joints, options, where)
    frames = Frames(
        where=where,
        states=all_states if order is None else all_states[:, order],
        actions=joints.of(actions),
        outcome=_outcome(demo, own, options, where),
        images=tuple(_pictures(observed, key, options) for key in cameras),
        after=_after(demo, states, cameras, order, options),
        length=int(demo.attrs["num_samples"]) if "num_samples" in demo.attrs else None,
        ours=own,
    )
    return frames, _about(source, about, joints, cameras, options)


def _outcome(demo: Any, own: Ours | None, options: ImportOptions, where: str) -> Outcome:
    if own is not None and options.outcome == "auto":
        return Outcome[demo[OURS].attrs["outcome"].upper()]
    return outcome_of(options, None, demo["rewards"][()] if "rewards" in demo else None, where)


def _state_order(
    about: BagAbout | None,
    blocks: tuple[str, ...],
    width: int,
    joints: Columns,
    options: ImportOptions,
    where: str,
) -> list[int] | None:
    """The state's columns in the order of the joints; None: as they are.

    Raises MismatchError where the actions' joints are reordered and those of the state cannot be.
    """
    if about is None or joints.index is None:
        return None
    names = state_names(blocks, about.joint_names, width)
    if names is None:
        raise MismatchError(
            f"{where}: its actions have the joints in another order than joint_names, and its state cannot be "
            f"brought into that order: its {width} columns are not of known blocks "
            f"({', '.join(blocks) or 'none are told'}); give those blocks as state, or leave joint_names out"
        )
    order = state_order(names, joints.names, options)
    return None if order is None else list(order)


def _after(
    demo: Any,
    states: tuple[str, ...],
    cameras: tuple[str, ...],
    order: list[int] | None,
    options: ImportOptions,
) -> Any:
    """The last of next_obs; None where the dataset is without."""
    if "next_obs" not in demo or not all(key in demo["next_obs"] for key in (*states, *cameras)):
        return None
    following = demo["next_obs"]
    state = np.concatenate([np.atleast_1d(following[key][-1]) for key in states])
    state = state if order is None else state[order]
    return state, tuple(resized(following[key][-1][None], options.image_size)[0] for key in cameras)


def _ours(demo: Any) -> tuple[Ours, BagAbout]:
    group = demo[OURS]
    own = Ours(
        **{name: group[name][()] for name in ARRAYS},
        scene_seed=int(group.attrs["scene_seed"]),
        labelled_by=str(group.attrs["labelled_by"]),
    )
    return own, BagAbout.from_custom_data(json.loads(group.attrs["about"]))


def _about(
    source: Path, bag: BagAbout | None, joints: Columns, cameras: tuple[str, ...], options: ImportOptions
) -> BagAbout:
    about = bag or BagAbout(source=f"robomimic {source}")
    names = options.camera_names or tuple(key.removesuffix(SUFFIX) for key in cameras)
    if len(names) != len(cameras):
        raise ConfigError(f"camera_names: {len(names)} names for the cameras {', '.join(cameras)}")
    as_in_bag = bag is not None and options.images and not (options.camera_names or options.camera_keys)
    return dataclasses.replace(
        about,
        joint_names=joints.names or about.joint_names,
        state=about.state or options.state,
        camera_names=about.camera_names if as_in_bag else names,
        image_encoding="rgb8",
        jpeg_quality=0,
    )


def _is_picture(dataset: Any) -> bool:
    return dataset.dtype == np.uint8 and dataset.ndim == 4 and dataset.shape[-1] == 3


def _state_keys(observed: Any, options: ImportOptions, where: str) -> tuple[str, ...]:
    known = sorted(key for key, of in observed.items() if not _is_picture(of))
    keys = options.state_keys or (STATE,)
    for key in keys:
        if key not in observed:
            raise ConfigError(
                f"{where}: has no observation '{key}'; give state_keys out of: {', '.join(known)}"
            )
    return keys


def _camera_keys(demo: Any, options: ImportOptions, where: str) -> tuple[str, ...]:
    """Cameras in the order of the options, else of our export, else of their names, which is HDF5's own."""
    found = tuple(key for key, of in demo["obs"].items() if _is_picture(of))
    if OURS in demo:
        found = tuple(json.loads(demo[OURS].attrs["cameras"]))
    for key in options.camera_keys:
        if key not in found:
            raise ConfigError(
                f"{where}: has no pictures '{key}' (uint8, height x width x 3); {nearest(key, found)}"
            )
    return (options.camera_keys or found) if options.images else ()


def _numbers(group: Any, key: str) -> np.ndarray:
    """A dataset (n,) or (n, width) as (n, width)."""
    if key not in group:
        raise DataError(f"there is no dataset '{key}'; {nearest(key, group)}")
    values = group[key][()]
    if not np.issubdtype(values.dtype, np.number) or values.ndim not in (1, 2):
        raise DataError(
            f"dataset '{key}' holds {values.dtype} {values.shape}, expected numbers, one row per step"
        )
    return values.reshape(len(values), -1)


def _pictures(group: Any, key: str, options: ImportOptions) -> np.ndarray:
    return resized(group[key][()], options.image_size)
