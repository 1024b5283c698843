"""Critic-only updates on recorded data, watched on episodes they never see."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from resfit_ros.core.errors import DataError
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.learning.held_out import TRANSITIONS, TDProbe, probe_of_episodes
from resfit_ros.learning.trainer import Trainer

LOOKS = 50  # times that the errors are measured in a run
TOO_FAR = 3.0  # critics whose mean |Q| is so many times the greatest return have diverged
KEPT = ("actor", "average_actor", "critic", "target_critic", "actor_optimiser", "critic_optimiser")

# on_look(updates done, updates in all, words)
OnLook = Callable[[int, int, str], None]


@dataclass
class PretrainingRecord:
    """Errors over the updates; `diverged_by`: the look at which training was stopped, None: it was not.

    held_out_td is empty when nothing is held out. conservative_gap: values of sampled actions above
    those of the recorded ones; empty without regularisation.
    """

    updates: list[int] = field(default_factory=list)
    train_td: list[float] = field(default_factory=list)
    held_out_td: list[float] = field(default_factory=list)
    q_mean: list[float] = field(default_factory=list)
    conservative_gap: list[float] = field(default_factory=list)
    diverged_by: int | None = None
    seconds: float = 0.0


class _Snapshot:
    """Networks and optimisers at a look that was sound."""

    def __init__(self, trainer: Trainer) -> None:
        agent = trainer.agent
        self._states = {name: copy.deepcopy(getattr(agent, name).state_dict()) for name in KEPT}
        self._counts = agent.critic_updates, agent.actor_updates
        self._averages = dict(trainer.averages)

    def put_back(self, trainer: Trainer) -> None:
        for name, state in self._states.items():
            getattr(trainer.agent, name).load_state_dict(state)
        trainer.agent.critic_updates, trainer.agent.actor_updates = self._counts
        trainer.averages = self._averages


def pretrain(
    trainer: Trainer, held_out: Sequence[AssembledEpisode] = (), on_look: OnLook = lambda d, t, w: None
) -> PretrainingRecord:
    """Does every update that the configuration asks for, on what `add_recorded` has taken in.

    Stops when the critics diverge, with the networks of the last sound look. Raises DataError when
    there is nothing to learn from, and when they have diverged by the first look.
    """
    if not len(trainer.online):
        raise DataError("pretraining: not one whole step to learn from; give bags with finished episodes")
    trainer.all_heard = True
    total, started = trainer.updates_due, time.monotonic()
    record, watch = PretrainingRecord(), _Watch(trainer, held_out)
    every = max(1, total // LOOKS)
    snapshot: _Snapshot | None = None
    while True:
        done = trainer.agent.critic_updates
        if done % every == 0 or not trainer.owed_updates:
            if not watch.look(record):
                record.diverged_by = done
                break
            snapshot = _Snapshot(trainer)
            on_look(done, total, _words(record))
        if not trainer.train_one():
            break
    if record.diverged_by is not None:
        if snapshot is None or len(record.updates) < 3:
            raise DataError(f"pretraining diverged within {record.diverged_by} updates; lower critic_lr")
        snapshot.put_back(trainer)
    record.seconds = time.monotonic() - started
    return record


class _Watch:
    """Looks at the errors on training and held-out data."""

    def __init__(self, trainer: Trainer, held_out: Sequence[AssembledEpisode]) -> None:
        self._trainer = trainer
        self._train = TDProbe(trainer, [(trainer.online, TRANSITIONS)])
        self._held_out = probe_of_episodes(trainer, held_out)
        self._largest = max(abs(trainer.config.value_min), abs(trainer.config.value_max))

    def look(self, record: PretrainingRecord) -> bool:
        """Adds a look to the record; False: the critics have diverged."""
        train_td, q = self._train()
        record.updates.append(self._trainer.agent.critic_updates)
        record.train_td.append(train_td)
        values, means = [train_td, q], [q]
        if self._held_out is not None:
            held_out_td, q = self._held_out()
            record.held_out_td.append(held_out_td)
            values += [held_out_td, q]
            means.append(q)
        record.q_mean.append(q)
        gap = self._trainer.averages.get("conservative_gap")
        if gap is not None:
            record.conservative_gap.append(gap)
            values.append(gap)
        sound = all(abs(mean) <= TOO_FAR * self._largest for mean in means)
        return sound and all(math.isfinite(v) for v in values)


def _words(record: PretrainingRecord) -> str:
    held_out = f", held out {record.held_out_td[-1]:.4f}" if record.held_out_td else ""
    return f"TD error {record.train_td[-1]:.4f}{held_out}"
