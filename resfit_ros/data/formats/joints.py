"""Which column of a dataset belongs to which joint of the robot, and what those of a state are called."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resfit_ros.core.errors import ConfigError, MismatchError, nearest
from resfit_ros.core.observation import JOINT_BLOCKS, StateLayout
from resfit_ros.data.bag_about import BagAbout
from resfit_ros.data.formats.notes import Notes
from resfit_ros.data.formats.options import ImportOptions

SUFFIX = ".pos"  # LeRobot calls the position of joint NAME NAME.pos
PARTS = {"pose": ("x", "y", "z", "qx", "qy", "qz", "qw"), "wrench": ("fx", "fy", "fz", "tx", "ty", "tz")}
PARTS["tf"] = PARTS["pose"]


@dataclass(frozen=True)
class Columns:
    """Names (A,) of the joints, () where unknown, and which column each is in; None: in that order."""

    names: tuple[str, ...]
    index: tuple[int, ...] | None = None

    def of(self, array: np.ndarray) -> np.ndarray:
        """The columns of (n, A), in the order of the names."""
        return array if self.index is None else array[:, list(self.index)]


def named(names: Any, size: int) -> tuple[str, ...]:
    """The names of a feature's columns as LeRobot writes them, a list or a mapping; () where it has none."""
    if isinstance(names, Mapping):
        if all(isinstance(v, int) for v in names.values()):
            names = sorted(names, key=names.__getitem__)
        else:
            names = [n for group in names.values() if isinstance(group, list) for n in group]
    names = tuple(map(str, names)) if isinstance(names, list | tuple) else ()
    return names if len(names) == size else ()


def ours(theirs: Sequence[str], options: ImportOptions) -> tuple[str, ...]:
    """Their joint names after joint_map, without the suffix that LeRobot gives to positions."""
    all_positions = all(name.endswith(SUFFIX) for name in theirs)
    plain = {name: name.removesuffix(SUFFIX) if all_positions else name for name in theirs}
    return tuple(options.renamed.get(n, options.renamed.get(plain[n], plain[n])) for n in theirs)


def joint_columns(
    theirs: Sequence[str], size: int, options: ImportOptions, where: str, notes: Notes
) -> Columns:
    """How the `size` action columns, called `theirs` (empty: unknown), are brought to options.joint_names.

    Raises MismatchError that names the first joint that differs, ConfigError where joint_map names none.
    """
    wanted = options.joint_names
    if wanted and size != len(wanted):
        raise MismatchError(f"{where}: actions have {size} columns, expected {len(wanted)} (joint_names)")
    if not theirs:
        if wanted:
            notes.once(
                f"{where}: its action columns have no names; they are taken in the order of joint_names"
            )
        return Columns(wanted)
    known = {*theirs, *(name.removesuffix(SUFFIX) for name in theirs)}
    for name in options.renamed:
        if name not in known:
            raise ConfigError(f"joint_map: {where} has no joint '{name}'; {nearest(name, theirs)}")
    found = ours(theirs, options)
    if not wanted or found == wanted:
        return Columns(found)
    if sorted(found) == sorted(wanted):
        notes.once(f"{where}: joints are brought into the order of joint_names")
        return Columns(wanted, tuple(found.index(name) for name in wanted))
    difference = BagAbout(joint_names=found).difference(BagAbout(joint_names=wanted))
    other = next(name for name in found if name not in wanted) if set(found) - set(wanted) else found[0]
    lacking = next((name for name in wanted if name not in found), wanted[0])
    raise MismatchError(
        f"{where}: {difference}; if they are the same joints, give joint_map: {other}={lacking}"
    )


def state_order(
    theirs: Sequence[str], joint_names: Sequence[str], options: ImportOptions
) -> tuple[int, ...] | None:
    """Where each column of a state, called `theirs`, is taken from to have the joints in their order.

    Joints are brought into order within each block, e.g. "joint_positions/elbow"; all else stays. None: no
    columns are called as the joints are.
    """
    if not theirs or not joint_names:
        return None
    order, found = list(range(len(theirs))), False
    for prefix in ("", *(f"{block}/" for block in JOINT_BLOCKS)):
        places = [i for i, name in enumerate(theirs) if name.startswith(prefix)]
        names = ours([theirs[i].removeprefix(prefix) for i in places], options)
        if sorted(names) == sorted(joint_names):
            found = True
            for place, joint in zip(places, joint_names, strict=True):
                order[place] = places[names.index(joint)]
    return tuple(order) if found else None


def state_names(blocks: Sequence[str], joint_names: Sequence[str], size: int) -> list[str] | None:
    """Names of the state's columns, e.g. "joint_positions/elbow"; None where blocks do not make up `size`."""
    try:
        layout = StateLayout(tuple(blocks), len(joint_names))
        if layout.size != size:
            return None
    except ConfigError:
        return None
    return [f"{block}/{part}" for block in blocks for part in _parts(layout, block, joint_names)]


def _parts(layout: StateLayout, block: str, joint_names: Sequence[str]) -> Sequence[str]:
    if block in JOINT_BLOCKS:
        return joint_names
    return PARTS.get(block.split("/")[0], [str(i) for i in range(layout.size_of(block))])
