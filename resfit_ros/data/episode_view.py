"""What a picture of an episode shows: its arrays, what the residual asked for, and who drove."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resfit_ros.core.errors import DataError, nearest
from resfit_ros.core.types import Action, Executed, Float32, Float64, Mode, Reason
from resfit_ros.data.bag_about import BagAbout, read_about
from resfit_ros.data.episode_data import EpisodeData, read_episode
from resfit_ros.data.mcap_scan import DamagedBag
from resfit_ros.data.read_bags import read_messages

# Reasons that say who drove, not that the safety filter changed an action.
NOT_CHANGED = Reason.INTERVENTION


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What is known of the robot beside a bag; None: it is not.

    joint_names: order of the actions. lower, upper, bound: float64 (A,), joint units: position limits and
    the largest residual.
    """

    joint_names: tuple[str, ...] = ()
    lower: Float64 | None = None
    upper: Float64 | None = None
    bound: Float64 | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeView:
    """One episode, K steps, to be drawn.

    residuals: float32 (K, A), as the residual policy asked for, joint units. modes: int (K,), values of
    Mode. changed: bool (K,), steps whose action the safety filter changed, for `reasons`. damage: what was
    wrong with the bag, "" nothing.
    """

    name: str
    data: EpisodeData
    about: BagAbout
    known: Known
    residuals: Float32
    modes: NDArray[np.int64]
    changed: NDArray[np.bool_]
    reasons: Reason
    damage: str = ""

    @property
    def seconds(self) -> float:
        """Length of the episode [s]."""
        return float(self.data.stamps_ns[-1] - self.data.stamps_ns[0]) / 1e9

    @property
    def has_residual(self) -> bool:
        """Whether any residual was asked for."""
        return bool(np.any(self.residuals))

    def joint(self, index: int) -> str:
        """Name of a joint, or its number where names are not known."""
        return self.known.joint_names[index] if self.known.joint_names else f"joint {index}"

    def joints_to_show(self, most: int) -> list[int]:
        """Joints with the largest residual first, then those that moved most."""
        asked = np.abs(self.residuals).max(axis=0)
        moved = np.ptp(self.data.actions, axis=0)
        return np.lexsort((-moved, -asked))[:most].tolist()

    def joints_named(self, names: Sequence[str]) -> list[int]:
        """Joints by name or number; raises DataError naming the closest one."""
        known = [self.joint(i) for i in range(self.residuals.shape[1])]
        by_name = {**{str(i): i for i in range(len(known))}, **{n: i for i, n in enumerate(known)}}
        for name in names:
            if name not in by_name:
                raise DataError(f"{self.name}: no joint '{name}'; {nearest(name, known)}")
        return [by_name[name] for name in names]


def view_episode(path: Path, known: Known | None = None) -> EpisodeView:
    """Reads a bag, the steps before the damage where it is damaged.

    Raises DataError when not one whole step is left, or when `known` is of another robot.
    """
    damage: list[str] = []
    data = read_episode(path, damage.append)
    about = BagAbout(source="") if damage else read_about(path)
    steps, joints = data.actions.shape
    known = _fitting(path, known or Known(), about, joints)
    residuals, modes = np.zeros((steps, joints), np.float32), np.zeros(steps, np.int64)
    changed, reasons = np.zeros(steps, bool), Reason.NONE
    try:
        for message in read_messages(path):
            if isinstance(message, Action) and message.step < steps:
                residuals[message.step], modes[message.step] = message.residual, message.mode
            elif isinstance(message, Executed) and message.step < steps:
                why = message.reasons & ~NOT_CHANGED
                changed[message.step], reasons = bool(why), reasons | why
    except DamagedBag:
        pass  # said already
    modes[data.interventions] = Mode.INTERVENTION
    return EpisodeView(
        name=path.name,
        data=data,
        about=about,
        known=known,
        residuals=residuals,
        modes=modes,
        changed=changed,
        reasons=reasons,
        damage="; ".join(damage),
    )


def _fitting(path: Path, known: Known, about: BagAbout, joints: int) -> Known:
    """`known`, with the names the bag itself gives; raises DataError when it is of another robot."""
    names = about.joint_names or known.joint_names
    if known.joint_names and names and known.joint_names != names:
        difference = about.difference(BagAbout(joint_names=known.joint_names))
        raise DataError(f"{path}: is a bag of another robot than the configuration: {difference}")
    if names and len(names) != joints:
        raise DataError(
            f"{path}: its actions have {joints} joints, the configuration {len(names)}; "
            "give the one it was recorded with"
        )
    return dataclasses.replace(known, joint_names=names)
