"""The actors that an evaluation compares; one of them acts, and it changes between episodes only."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resfit_ros.core.errors import ConfigError
from resfit_ros.core.parameters import BASE_ALONE
from resfit_ros.learning.actor_slot import ActorSlot


class Contenders:
    """Actors loaded at the start, so that a change costs nothing; unchosen, the base policy is alone."""

    def __init__(
        self,
        paths: Sequence[str],
        joint_names: tuple[str, ...],
        feature_extractor: str = "",
        base_policy: str = "",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """paths: a checkpoint each, or BASE_ALONE. base_policy: identity, where no chunk tells it.

        settings: as of ActorSlot.load. Raises ConfigError unless there are two, and what that raises.
        """
        if len(paths) != 2:
            raise ConfigError(f"contenders: expected 2 (checkpoints, or '{BASE_ALONE}'), got {len(paths)}")
        self._slots = [ActorSlot(joint_names, feature_extractor) for _ in paths]
        self._nobody = ActorSlot(joint_names, feature_extractor)
        self._next = self._nobody
        self.problems: list[str] = []  # newer checkpoints that were passed over
        for version, (slot, path) in enumerate(zip(self._slots, paths, strict=True), 1):
            if path != BASE_ALONE:
                self.problems += slot.load(Path(path), settings)[1]
                # By its version, the evaluator checks afterwards whose actions they were.
                slot.schedule = dataclasses.replace(slot.schedule, version=version)
        self.see_base_policy(base_policy)

    def see_base_policy(self, sha256: str) -> None:
        """The base policy at hand; empty: it does not say."""
        for slot in self._slots:
            slot.see_base_policy(sha256)

    def choose(self, second: bool) -> None:
        """Who acts from the next episode on."""
        self._next = self._slots[second]

    def begin_episode(self) -> ActorSlot:
        """Who acts in the episode that begins; one without an actor leaves the base policy alone."""
        return self._next

    @property
    def problem(self) -> str:
        """Why one of them must not act, whichever is on; empty: both may."""
        return next((slot.problem for slot in self._slots if slot.problem), "")
