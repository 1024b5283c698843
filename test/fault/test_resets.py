"""Rows 24 and 25: no answer outlives its episode, and one reset at a time gives one episode boundary."""

from queue import Queue

import numpy as np
import pytest
from soak import count

from resfit_ros.core.chunks import ChunkBuffer, Chunking, ChunkVerdict
from resfit_ros.core.episode import EpisodeMachine, EpisodeState, Refusal
from resfit_ros.core.types import ActionChunk, EpisodeEnded, EpisodeStarted, Observation, Outcome
from resfit_ros.policies.chunk_server import ChunkServer
from resfit_ros.policies.protocol import PolicySpec

WAIT_S = 10.0
CHUNKING = Chunking(execute_steps=4, prefetch_steps=1)


class Slow:
    """Answers when it is allowed to, with chunks full of the episode's number."""

    spec = PolicySpec("slow", 2, 8, identity="slow")

    def __init__(self) -> None:
        self.entered: Queue[int] = Queue()
        self.allowed: Queue[None] = Queue()

    def reset(self, episode_id: int) -> None:
        """Nothing is remembered."""

    def infer(self, observation: Observation) -> np.ndarray:
        self.entered.put(observation.episode_id)
        self.allowed.get(timeout=WAIT_S)
        return np.full((8, 2), observation.episode_id, np.float32)


def seen(episode_id: int, step: int = 0) -> Observation:
    return Observation(step, episode_id, step, np.zeros(3, np.float32))


@pytest.mark.parametrize("take_all", [False, True], ids=["realtime", "lockstep"])
def test_when_reset_during_inference_expect_no_answer_of_the_old_episode_used(take_all, measured):
    policy, chunks = Slow(), Queue()
    server = ChunkServer("slow", lambda: policy, chunks.put, CHUNKING, take_all, 0.01, WAIT_S)
    buffer = ChunkBuffer(2, CHUNKING)
    resets, leaks, used = count(10_000, 1_000), 0, 0
    server.observe(seen(1))
    assert policy.entered.get(timeout=WAIT_S) == 1
    for episode in range(2, resets + 2):
        buffer.reset(episode)  # while the policy works on the episode before
        server.observe(seen(episode))
        policy.allowed.put(None)
        assert policy.entered.get(timeout=WAIT_S) == episode
        # Its answer, if it is sent at all, arrives in the new episode and would fit it by its step.
        while not chunks.empty():
            leaks += buffer.add(chunks.get()) is ChunkVerdict.ACCEPTED
        leaks += buffer.action(0) is not None
        if episode % 2:  # this episode acts before it is reset, the other ones are reset at once
            policy.allowed.put(None)
            assert buffer.add(chunks.get(timeout=WAIT_S)) is ChunkVerdict.ACCEPTED
            (action, _), used = buffer.action(0), used + 1
            leaks += not np.all(action == episode)
            server.observe(seen(episode, 4))
            assert policy.entered.get(timeout=WAIT_S) == episode
    policy.allowed.put(None)
    server.stop()
    assert leaks == 0
    discarded = server.status().discarded, buffer.counts[ChunkVerdict.WRONG_EPISODE]
    assert sum(discarded) >= resets
    measured(
        24,
        f"{resets} resets during inference, {used} chunks used: 0 leaks; {discarded[0]} old answers discarded by "
        f"the server, {discarded[1]} by the buffer",
    )


def test_when_old_and_new_chunks_arrive_in_any_order_expect_only_those_of_the_episode_used(measured):
    rng, leaks, resets = np.random.default_rng(0), 0, count(10_000, 1_000)
    buffer = ChunkBuffer(2, CHUNKING)
    for episode in range(1, resets + 1):
        buffer.reset(episode)
        arriving = [(i, step) for i in (episode - 2, episode - 1, episode, episode + 1) for step in (0, 4)]
        for i, step in rng.permutation(arriving):
            buffer.add(ActionChunk(0, int(i), int(step), np.full((8, 2), i, np.float32), "any"), 0)
        for step in range(8):
            given = buffer.action(step)
            leaks += given is not None and not np.all(given[0] == episode)
        assert given is not None
    assert leaks == 0
    measured(24, f"{resets} resets, chunks of four episodes in random order: {leaks} leaks")


# --- row 25 ------------------------------------------------------------------------------------


def reset(machine: EpisodeMachine) -> tuple[EpisodeEnded | None, Refusal | None]:
    """As the episode manager resets: ends what runs, asks for the next."""
    if machine.state is EpisodeState.RESETTING:
        return None, machine.request_start(0)
    return machine.abort("reset service"), machine.request_start(0)


def test_when_resets_come_twice_and_at_any_moment_expect_one_boundary_each_and_a_reason_for_the_others(measured):
    rng, machine = np.random.default_rng(0), EpisodeMachine(max_steps=6)
    events: list[EpisodeStarted | EpisodeEnded] = []
    accepted = refused = stamp = 0
    while accepted + refused < count(10_000, 1_000):
        stamp += 1
        what = rng.choice(["reset", "double", "done", "observation", "label"], p=[0.2, 0.2, 0.2, 0.3, 0.1])
        result = None
        if what == "done" and machine.state is EpisodeState.RESETTING:
            result = machine.reset_done(stamp)
        elif what == "observation":
            result = machine.on_observation(machine.episode_id, machine.steps + 1, stamp)
        elif what == "label":
            result = machine.on_label(Outcome.FAILURE, stamp, "test")
        for _ in range({"reset": 1, "double": 2}.get(what, 0)):
            ended, refusal = reset(machine)
            events += [ended] if ended else []
            accepted, refused = accepted + (refusal is None), refused + (refusal is not None)
            assert refusal is None or "already under way" in refusal.reason
        if isinstance(result, EpisodeStarted | EpisodeEnded):
            events.append(result)
    kinds = [type(e) for e in events]
    assert all(a is not b for a, b in zip(kinds, kinds[1:], strict=False))  # started, ended, started, ...
    started = [e.episode_id for e in events if isinstance(e, EpisodeStarted)]
    ended = [e.episode_id for e in events if isinstance(e, EpisodeEnded)]
    assert started == list(range(1, len(started) + 1))
    assert ended == started[: len(ended)]
    assert accepted - len(started) in (0, 1)  # the last one may be under way
    outcome = f"{accepted} accepted with one boundary each, {refused} refused with a reason"
    measured(25, f"{accepted + refused} resets: {outcome}")
