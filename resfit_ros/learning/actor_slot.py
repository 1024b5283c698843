"""The actor that is acting, and whether it belongs to this robot and to the base policy at hand."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import DataError, MismatchError
from resfit_ros.core.joints import joint_difference
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.checkpoint import load_run_actor
from resfit_ros.learning.exported import ExportedResidual
from resfit_ros.learning.exported_file import is_exported
from resfit_ros.learning.hashes import SHOWN
from resfit_ros.learning.weights import ActorPolicy, load_actor


@dataclass(frozen=True)
class ReceivedActor:
    """What `ActorWeights` carries, in plain types."""

    data: bytes
    sha256: str
    normaliser: str  # JSON
    normaliser_sha256: str
    base_policy_sha256: str
    schedule: ActingSchedule


class ActorSlot:
    """Holds one actor with its scaling; takes another one whole or not at all."""

    def __init__(self, joint_names: tuple[str, ...], feature_extractor: str = "") -> None:
        self._joint_names, self._feature_extractor = joint_names, feature_extractor
        self.actor: ActorPolicy | ExportedResidual | None = None
        self.normaliser: Normaliser | None = None
        self.schedule = ActingSchedule()
        self._learnt_on = self._base_policy = ""

    def load(self, path: Path, settings: Mapping[str, Any] | None = None) -> tuple[Path, tuple[str, ...]]:
        """Takes the newest valid actor of a checkpoint folder, or the one of an exported file; returns where
        it was, and what was wrong with newer ones.

        settings: what the node runs with, of core.actor_settings; only an exported file says what it needs of
        them. Raises DataError when there is none, MismatchError when it is for other joints or settings.
        """
        if is_exported(path):
            exported = ExportedResidual(path)
            exported.require({"joint_names": list(self._joint_names)} | dict(settings or {}))
            self._put(exported, exported.normaliser, exported.schedule, exported.base_policy_sha256)
            return path, ()
        loaded = load_run_actor(path, extractor_path=self._feature_extractor)
        self._require_joints(loaded.normaliser, str(loaded.path))
        self._put(loaded.actor, loaded.normaliser, loaded.schedule, loaded.base_policy_sha256)
        return loaded.path, loaded.problems

    def receive(self, received: ReceivedActor) -> None:
        """Takes an actor the learner sent.

        Raises ResfitError when it or its schedule is damaged, or for other joints, another scaling or another base
        policy than the one at hand; the old actor then stays.
        """
        if self._base_policy and received.base_policy_sha256 not in ("", self._base_policy):
            raise MismatchError(_other_base("actor weights were", received.base_policy_sha256, self._base_policy))
        _require_usable(received.schedule)
        normaliser = self._normaliser_of(received)
        actor = load_actor(received.data, received.sha256, normaliser, self._feature_extractor)
        self._put(actor, normaliser, received.schedule, received.base_policy_sha256)

    def _normaliser_of(self, received: ReceivedActor) -> Normaliser:
        if self.normaliser is not None:
            if received.normaliser_sha256 != self.normaliser.sha256:
                raise MismatchError(
                    f"actor weights are for normaliser {received.normaliser_sha256[:SHOWN]}, this node acts "
                    f"with {self.normaliser.sha256[:SHOWN]}; restart it to go over to another run"
                )
            return self.normaliser
        try:
            normaliser = Normaliser.from_dict(json.loads(received.normaliser))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"actor weights: their normaliser cannot be read ({error})") from None
        if normaliser.sha256 != received.normaliser_sha256:
            raise DataError("actor weights: the hash of their normaliser does not match; it was damaged on the way")
        self._require_joints(normaliser, "actor weights")
        return normaliser

    def _require_joints(self, normaliser: Normaliser, where: str) -> None:
        difference = joint_difference(normaliser.joint_names, self._joint_names)
        if difference:
            raise MismatchError(
                f"{where}: made for other joints or another order of them: {difference}; use the configuration "
                "they were trained with"
            )

    def _put(
        self,
        actor: ActorPolicy | ExportedResidual,
        normaliser: Normaliser,
        schedule: ActingSchedule,
        learnt_on: str,
    ) -> None:
        self.actor, self.normaliser, self.schedule, self._learnt_on = actor, normaliser, schedule, learnt_on

    def see_base_policy(self, sha256: str) -> None:
        """The base policy whose actions are being corrected now; empty: it does not say."""
        self._base_policy = sha256

    @property
    def learnt_on(self) -> str:
        """Identity of the base policy it corrects; empty: not known."""
        return self._learnt_on

    @property
    def problem(self) -> str:
        """Why the actor must not act on top of the base policy at hand; empty: it may."""
        if self._learnt_on and self._base_policy and self._learnt_on != self._base_policy:
            return _other_base("the residual was", self._learnt_on, self._base_policy)
        return ""

    @property
    def usable(self) -> bool:
        """Whether there is an actor that may act."""
        return self.actor is not None and not self.problem


def _require_usable(schedule: ActingSchedule) -> None:
    for name in ("residual_scale", "exploration_std"):
        value = getattr(schedule, name)
        if not (math.isfinite(value) and value >= 0.0):
            raise DataError(f"actor weights: their {name} is {value}, expected a number of at least 0")


def _other_base(who: str, theirs: str, ours: str) -> str:
    return (
        f"{who} learnt on top of base policy {theirs[:SHOWN]}, but base policy {ours[:SHOWN]} is running; "
        "use the base policy it was trained with"
    )
