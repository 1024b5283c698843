"""The training thread: does owed updates, packs weights, saves checkpoints; never blocks its owner."""

import collections
import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resfit_ros.core.acting import ActingSchedule
from resfit_ros.core.errors import DataError
from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import LearnerPhase, Outcome
from resfit_ros.learning.advice import Advice, advise
from resfit_ros.learning.checkpoint import save_checkpoint
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import pack

SUCCESS_WINDOW = 50  # episodes the running success rate is taken over
RATE_WINDOW_S = 5.0
RETRY_S = 5.0  # between attempts at the last checkpoint of a run, e.g. on a full disk


def _mean(outcomes: Iterable[bool]) -> float:
    values = list(outcomes)
    return sum(values) / len(values) if values else float("nan")


@dataclass(frozen=True)
class PublishedActor:
    """What the residual node needs to act."""

    data: bytes
    schedule: ActingSchedule
    env_steps: int


@dataclass(frozen=True)
class Progress:
    """A snapshot of the learner for status messages."""

    phase: LearnerPhase
    env_steps: int
    episodes: int
    last_episode_id: int
    critic_updates: int
    actor_updates: int
    owed_updates: int
    steps_lost: int
    intervention_steps: int
    replay_size: int
    demo_size: int
    actor_version: int
    success_rate: float
    updates_per_s: float
    metrics: dict[str, float]
    warnings: tuple[Advice, ...]


class LearnerWorker:
    """Owns the trainer; `add` may be called from any thread, everything else happens in its own.

    on_actor(actor) is called, from the training thread, whenever new weights are ready. prepare: what is
    done there to an episode that is pretrained on, before it is stored.
    """

    def __init__(
        self,
        trainer: Trainer,
        checkpoint_dir: Path,
        about: dict[str, Any],
        checkpoint_every_s: float,
        on_actor: Callable[[PublishedActor], None],
        prepare: Callable[[AssembledEpisode], AssembledEpisode] | None = None,
    ) -> None:
        self.trainer = trainer
        self.failure: Exception | None = None  # what ended the thread
        self.problem: str | None = None  # what to tell the user, e.g. a full disk
        self.last_checkpoint: Path | None = None
        self._dir, self._about, self._every_s = checkpoint_dir, about, checkpoint_every_s
        self._on_actor, self._prepare = on_actor, prepare
        self._inbox: collections.deque[AssembledEpisode] = collections.deque()
        self._wake = threading.Condition()
        self._stop = self._save_asked = False
        self.paused = False
        self._outcomes: collections.deque[bool] = collections.deque(maxlen=SUCCESS_WINDOW)
        self._first_outcomes: list[bool] = []
        self._episodes = self._last_episode_id = self._steps_lost = 0
        self._version = 0
        self._published_at = -1
        self._rate: collections.deque[tuple[float, int]] = collections.deque()
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="training", daemon=True)

    def start(self) -> None:
        """Publishes the first actor and begins."""
        self._publish()
        self._thread.start()

    def add(self, episode: AssembledEpisode) -> None:
        """Hands over a finished episode."""
        with self._wake:
            self._inbox.append(episode)
            self._wake.notify()

    def take_in(self, episode: AssembledEpisode) -> None:
        """Stores an episode's segments in the replay buffer and counts its outcome."""
        if self.trainer.pretraining:
            self.trainer.add_recorded(self._prepare(episode) if self._prepare else episode)
        else:
            for segment in episode.segments:
                self.trainer.add(segment)
        self._episodes += 1
        self._last_episode_id = episode.end.episode_id
        self._steps_lost += episode.steps_lost
        success = episode.end.outcome is Outcome.SUCCESS
        self._outcomes.append(success)
        if len(self._first_outcomes) < SUCCESS_WINDOW:
            self._first_outcomes.append(success)

    def pause(self, paused: bool) -> None:
        """Stops or resumes updates."""
        with self._wake:
            self.paused = paused
            self._wake.notify()

    def ask_to_save(self) -> None:
        """A checkpoint as soon as the running update is done."""
        with self._wake:
            self._save_asked = True
            self._wake.notify()

    def stop(self) -> None:
        """Ends the thread after a last checkpoint."""
        with self._wake:
            self._stop = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def progress(self) -> Progress:
        """Where training stands."""
        t = self.trainer
        phase = LearnerPhase.PAUSED if self.paused else t.phase
        if phase is LearnerPhase.DONE:  # only with the final checkpoint on disk, see _finished
            phase = LearnerPhase.TRAINING
        success_rate = _mean(self._outcomes)
        start = _mean(self._first_outcomes) if self._episodes >= SUCCESS_WINDOW else float("nan")
        diagnosis = t.diagnosis(
            success_rate=success_rate, success_rate_start=start, episodes=self._episodes
        )
        return Progress(
            phase=LearnerPhase.DONE if self._finished else phase,
            env_steps=t.env_steps,
            episodes=self._episodes,
            last_episode_id=self._last_episode_id,
            critic_updates=t.agent.critic_updates,
            actor_updates=t.agent.actor_updates,
            owed_updates=t.owed_updates,
            steps_lost=self._steps_lost,
            intervention_steps=t.intervention_steps,
            replay_size=len(t.online),
            demo_size=len(t.demonstrations),
            actor_version=self._version,
            success_rate=success_rate,
            updates_per_s=self._updates_per_s(),
            metrics=t.metrics
            | {name: getattr(diagnosis, name) for name in ("residual_scale", "exploration_std", "update_lag")},
            warnings=tuple(advise(diagnosis, t.config)),
        )

    def _updates_per_s(self) -> float:
        samples = list(self._rate)
        if len(samples) < 2:
            return 0.0
        (t0, n0), (t1, n1) = samples[0], samples[-1]
        return (n1 - n0) / max(t1 - t0, 1e-9)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            # A thread has nobody to raise to: its owner asks, and ends the process with the reason.
            self.failure = error

    def _work(self) -> None:
        saved_at, retry_at = time.monotonic(), -math.inf
        while True:
            stopping = self._stop  # asked for during this round, it is for the next one: a save belongs to it
            worked = self._one_round()
            now = time.monotonic()
            done = self.trainer.phase is LearnerPhase.DONE and not self._finished and now >= retry_at
            if self._save_asked or stopping or done or (worked and now - saved_at > self._every_s):
                self._save_asked, saved_at = False, now
                self._save()
                self._finished = self._finished or (done and self.problem is None)
                retry_at = now + RETRY_S if self.problem else -math.inf
            with self._wake:
                if stopping:
                    return
                if not (worked or self._inbox or self._save_asked or self._stop):
                    self._wake.wait(timeout=0.2)

    def _one_round(self) -> bool:
        """Takes in what has arrived and does one update; False when there was nothing to do."""
        while self._inbox:
            was_warm_up = self.trainer.phase is LearnerPhase.WARM_UP
            self.take_in(self._inbox.popleft())
            if was_warm_up and self.trainer.phase is not LearnerPhase.WARM_UP:
                self._publish()
        if self.paused or not self.trainer.train_one():
            return False
        agent = self.trainer.agent
        if agent.actor_updates - self._published_at >= self.trainer.config.publish_every:
            self._publish()
        self._note_rate()
        return True

    def _note_rate(self) -> None:
        now = time.monotonic()
        if not self._rate or now - self._rate[-1][0] > 0.25:
            self._rate.append((now, self.trainer.agent.critic_updates))
            while now - self._rate[0][0] > RATE_WINDOW_S:
                self._rate.popleft()

    def _publish(self) -> None:
        t = self.trainer
        self._version += 1
        self._published_at = t.agent.actor_updates
        schedule = t.acting_schedule(self._version)
        self._on_actor(PublishedActor(pack(t.agent.behaviour_actor), schedule, t.env_steps))

    def _save(self) -> None:
        about = self._about | {"episodes": self._episodes, "config": dataclasses.asdict(self.trainer.config)}
        try:
            self.last_checkpoint = save_checkpoint(self._dir, self.trainer, about)
            self.problem = None
        except DataError as error:
            self.problem = str(error)
