"""Loads a base policy and answers observations in a thread of its own, so that no caller ever waits."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import DataError, ResfitError
from resfit_ros.core.types import ActionChunk, Observation, Reason
from resfit_ros.policies.checked_chunk import checked_chunk
from resfit_ros.policies.protocol import BasePolicy, History, close_policy, history_of

Earlier = tuple[Observation, ...]
STOP_TIMEOUT_S = 1.0  # a policy that hangs is left behind


@dataclass(frozen=True)
class ServerStatus:
    """How the server is doing. `problem`: one sentence that names the policy and the reason, or ""."""

    name: str
    loaded: bool
    problem: str
    chunks: int
    failures: int
    discarded: int  # answers for an episode that is over, or from before a flush
    skipped: int  # observations for which there was no time
    last_inference_s: float


class ChunkServer:
    """One chunk per requested observation, in the order of the observations.

    load: gives the policy, or raises; it is tried again every `retry_s`. on_chunk: takes each chunk, in
    the server's thread. take_all: every requested observation is answered (lockstep waits for each);
    otherwise a slow policy gets the newest one only.

    A flush makes chunks of earlier steps worthless: the policy forgets what it remembers and gets the
    newest observation, or the next one, at once.

    An answer that took longer than `discard_s` is thrown away (not in lockstep). on_unfit: is told, in the
    server's thread, of a chunk that no robot may get, and why.

    An observation that comes again asks for an action that is missing: the newest chunk is sent once
    more where it covers that step and the policy has not failed since, else the policy is asked about it.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], BasePolicy],
        on_chunk: Callable[[ActionChunk], None],
        chunking: Chunking,
        take_all: bool,
        retry_s: float,
        timeout_s: float,
        discard_s: float = float("inf"),
        on_unfit: Callable[[Reason, str], None] = lambda reason, sentence: None,
    ) -> None:
        self._name, self._load, self._on_chunk, self._chunking = name, load, on_chunk, chunking
        self._take_all, self._retry_s, self._timeout_s = take_all, retry_s, timeout_s
        self._discard_s, self._on_unfit = discard_s, on_unfit
        self._wake = threading.Condition()
        self._using = threading.Lock()  # the policy: one inference at a time
        self._waiting: deque[tuple[Observation, Earlier]] = deque()
        self._history: History | None = None  # known once the policy is loaded
        self._newest: tuple[int, int] | None = None  # (episode, step) last observed
        self._seen: Observation | None = None  # the same, whole
        self._seen_s = -float("inf")  # time of it
        self._flushed = (0, 0)  # (episode, step): of this episode, only chunks from this step on count
        self._fresh_due = False  # the flush still waits for an observation it can be answered from
        self._flushes = 0
        self._asked: tuple[int, int] | None = None  # waiting or being worked on
        self._busy_since: float | None = None
        self._last: ActionChunk | None = None
        self._policy: BasePolicy | None = None
        self._policy_since = (0, 0)  # (episode, flushes) when the policy last forgot everything
        self._problem = ""
        self._chunks = self._failures = self._discarded = self._skipped = 0
        self._inference_s = float("nan")
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="base policy", daemon=True)
        self._thread.start()

    # -- callers' side ----------------------------------------------------------------------

    def observe(self, observation: Observation) -> None:
        """Asks for a chunk where this observation is due for one, or comes again."""
        key = (observation.episode_id, observation.step)
        again: ActionChunk | None = None
        with self._wake:
            repeated, self._newest, self._seen = key == self._newest, key, observation
            self._seen_s = time.monotonic()
            if self._history is not None:
                self._history.see(observation)
            fresh = self._fresh_due and key >= self._flushed
            self._fresh_due = self._fresh_due and not fresh
            fresh = fresh and key[0] == self._flushed[0]
            if key == self._asked or not (fresh or repeated or self._chunking.is_request(observation.step)):
                return
            if repeated and self._covers(key) and not self._problem:
                again = self._last
            else:
                self._queue(observation, key)
        if again is not None:
            self._on_chunk(again)

    def flush(self, episode_id: int, first_step: int) -> None:
        """A chunk computed before `first_step` is of no use any more; a fresh one is due at once.

        The policy is reset before it. Asked twice for the same step, the second time counts for nothing.
        """
        key = (episode_id, first_step)
        with self._wake:
            if key <= self._flushed or (self._newest is not None and self._newest[0] > episode_id):
                return
            self._flushed, self._flushes = key, self._flushes + 1
            self._waiting = deque(w for w in self._waiting if not self._is_flushed(w[0]))
            if self._last is not None and self._is_flushed(self._last):
                self._last = None
            self._fresh_due = self._newest is None or self._newest < key
            if not self._fresh_due and self._asked != self._newest:
                self._queue(self._seen, self._newest)

    def _is_flushed(self, of: Observation | ActionChunk) -> bool:
        episode_id, first_step = self._flushed
        return of.episode_id == episode_id and of.step < first_step

    def _covers(self, key: tuple[int, int]) -> bool:
        last, (episode_id, step) = self._last, key
        if last is None or last.episode_id != episode_id:
            return False
        return last.step <= step < last.step + len(last.actions)

    def _queue(self, observation: Observation, key: tuple[int, int]) -> None:
        if not self._take_all:
            self._skipped += len(self._waiting)
            self._waiting.clear()
        self._waiting.append((observation, self._history.before(observation) if self._history else ()))
        self._asked = key
        self._wake.notify()

    def infer_now(self, observation: Observation) -> ActionChunk:
        """A chunk for any observation, in the caller's thread.

        Raises DataError when there is none, and for another episode than the one that is running: the policy would
        forget what it remembers of that one.
        """
        self._refuse_other_episode(observation.episode_id)
        if not self._using.acquire(timeout=self._timeout_s):
            raise DataError(f"base policy '{self._name}' is busy with another observation; ask again")
        try:
            if self._policy is None:
                raise DataError(self._problem or f"base policy '{self._name}' is still being loaded; ask again")
            return self._answer(self._policy, observation)
        except Exception as error:  # a policy from elsewhere may raise anything
            raise DataError(_sentence(self._name, error)) from error
        finally:
            self._using.release()

    def _refuse_other_episode(self, episode_id: int) -> None:
        with self._wake:
            running = self._newest is not None and time.monotonic() - self._seen_s < self._timeout_s
            if running and episode_id != self._newest[0]:
                raise DataError(
                    f"base policy '{self._name}' is serving episode {self._newest[0]}; ask with that episode_id, or "
                    f"once no observation has come for {self._timeout_s:g} s"
                )

    def status(self) -> ServerStatus:
        """A copy of the counters, and what is wrong if anything is."""
        with self._wake:
            busy_s = time.monotonic() - self._busy_since if self._busy_since is not None else 0.0
            problem = self._problem
            if busy_s > self._timeout_s:
                problem = (
                    f"base policy '{self._name}' has not answered for {busy_s:.1f} s; an answer that takes "
                    f"longer than {self._discard_s:g} s is thrown away"
                )
            if not self._thread.is_alive() and not self._stopping:
                problem = f"base policy '{self._name}': its thread has ended; start the node again"
            return ServerStatus(
                name=self._name,
                loaded=self._policy is not None,
                problem=problem,
                chunks=self._chunks,
                failures=self._failures,
                discarded=self._discarded,
                skipped=self._skipped,
                last_inference_s=self._inference_s,
            )

    def stop(self) -> None:
        """Ends the thread; one that hangs inside the policy is left behind."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join(STOP_TIMEOUT_S)
        if not self._thread.is_alive() and self._policy is not None:
            close_policy(self._policy)

    # -- the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        while (policy := self._loaded()) is not None:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                observation, earlier = self._waiting.popleft()
                self._busy_since = time.monotonic()
            self._work_on(policy, observation, earlier)

    def _loaded(self) -> BasePolicy | None:
        """The policy, once it can be loaded; None when stopped before."""
        while self._policy is None:
            problem = ""
            try:
                policy = self._load()
            except (Exception, SystemExit) as error:  # a policy from elsewhere may raise anything
                policy = None
                problem = f"{_sentence(self._name, error, 'cannot be loaded')}; tried again every {self._retry_s:g} s"
            with self._wake:
                if policy is not None:
                    self._policy, self._name = policy, policy.spec.name
                    self._history = History(history_of(policy)) if history_of(policy) else None
                self._problem = problem
                if self._policy is None:
                    self._wake.wait_for(lambda: self._stopping, self._retry_s)
                if self._stopping:
                    return None
        return self._policy

    def _work_on(self, policy: BasePolicy, observation: Observation, earlier: Earlier) -> None:
        chunk, problem, unfit = None, "", Reason.NONE
        begin = time.monotonic()
        try:
            with self._using:
                chunk = self._answer(policy, observation, earlier)
        except (Exception, SystemExit) as error:  # a policy from elsewhere may raise anything
            problem = _sentence(self._name, error)
            unfit = getattr(error, "reason", Reason.NONE)
        took_s = time.monotonic() - begin
        too_old = chunk is not None and took_s > self._discard_s and not self._take_all
        if too_old:
            problem = (
                f"base policy '{self._name}' took {took_s:.1f} s, and what it saw is too old after "
                f"{self._discard_s:g} s: its answer is thrown away and it is asked anew"
            )
        self._take_in(chunk, observation, problem, too_old)
        if unfit:
            self._on_unfit(unfit, problem)

    def _take_in(self, chunk: ActionChunk | None, observation: Observation, problem: str, too_old: bool) -> None:
        """Keeps and gives out a chunk that is still of use."""
        with self._wake:
            self._busy_since = None
            self._problem = problem
            self._failures += chunk is None
            if self._asked == (observation.episode_id, observation.step):
                self._asked = None  # from now on a repetition asks anew
            over = chunk is not None and self._newest is not None and chunk.episode_id < self._newest[0]
            # Lockstep still waits for the action of the observation that ended the episode.
            if too_old or (over and not self._take_all) or (chunk is not None and self._is_flushed(chunk)):
                self._discarded += 1
                return
            if chunk is not None:
                self._last, self._inference_s = chunk, chunk.inference_time_s
                self._chunks += 1
        if chunk is not None:
            self._give_out(chunk)

    def _give_out(self, chunk: ActionChunk) -> None:
        try:
            self._on_chunk(chunk)
        except Exception as error:  # whatever the caller's side raises must not end this thread
            with self._wake:
                self._problem = f"chunk of base policy '{self._name}' could not be sent: {error}"

    def _answer(self, policy: BasePolicy, observation: Observation, earlier: Earlier = ()) -> ActionChunk:
        since = (observation.episode_id, self._flushes)
        if since != self._policy_since:
            policy.reset(observation.episode_id)
            self._policy_since = since
        if history_of(policy):
            policy.recall(earlier)
        begin = time.perf_counter()
        actions = checked_chunk(policy.infer(observation), policy.spec.action_dim, self._chunking.least_horizon)
        return ActionChunk(
            stamp_ns=observation.stamp_ns,
            episode_id=observation.episode_id,
            step=observation.step,
            actions=actions,
            source_id=policy.spec.name,
            inference_time_s=time.perf_counter() - begin,
            policy_sha256=policy.spec.identity,
        )


def _sentence(name: str, error: Exception, what: str = "failed") -> str:
    words = " ".join(str(error).split()) or "no message"
    if isinstance(error, ResfitError) and words.startswith("base policy '"):
        return words
    kind = "" if isinstance(error, ResfitError) else f"{type(error).__name__}: "
    return f"base policy '{name}' {what}: {kind}{words}"
