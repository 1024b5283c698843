"""The base policy in its thread: order, repetition, failures, recovery."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue

import numpy as np
import pytest

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import ActionChunk, Observation, Reason
from resfit_ros.policies.checked_chunk import checked_chunk
from resfit_ros.policies.chunk_server import ChunkServer
from resfit_ros.policies.protocol import PolicySpec

WAIT_S = 10.0


class Scripted:
    """A policy that does what the test says: each inference waits for its permission."""

    def __init__(self, free: bool = True) -> None:
        self.spec = PolicySpec("scripted", 2, 6, identity="abc")
        self.gate = threading.Event()
        self.entered: Queue[tuple[int, int]] = Queue()
        self.resets: list[int] = []
        self.answer = np.ones((6, 2), np.float32)
        self.closed = False
        if free:
            self.gate.set()

    def reset(self, episode_id: int) -> None:
        self.resets.append(episode_id)

    def infer(self, observation: Observation):
        self.entered.put((observation.episode_id, observation.step))
        assert self.gate.wait(WAIT_S)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


def seen(step: int, episode_id: int = 1) -> Observation:
    return Observation(step * 1000, episode_id, step, np.zeros(3, np.float32))


class Rig:
    """A running server and what came out of it."""

    def __init__(self, policy: Scripted, load=None, take_all: bool = False, timeout_s: float = 5.0, **more) -> None:
        self.policy = policy
        self.chunks: Queue[ActionChunk] = Queue()
        self.unfit: Queue = Queue()
        on_chunk = more.pop("on_chunk", self.chunks.put)
        self.server = ChunkServer(
            "given", load or (lambda: policy), on_chunk, Chunking(4), take_all, 0.01, timeout_s,
            on_unfit=lambda *words: self.unfit.put(words), **more,
        )  # fmt: skip

    def next(self) -> ActionChunk:
        return self.chunks.get(timeout=WAIT_S)

    def nothing_more(self) -> bool:
        """Whether no chunk came, once the policy has nothing left to do."""
        try:
            self.chunks.get(timeout=0.05)
        except Empty:
            return True
        return False

    def wait_for(self, condition) -> None:
        waiter = threading.Event()
        for _ in range(1000):
            if condition():
                return
            waiter.wait(0.01)
        pytest.fail("condition not met")


@contextmanager
def running(policy: Scripted, **more) -> Iterator[Rig]:
    rig = Rig(policy, **more)
    try:
        yield rig
    finally:
        policy.gate.set()
        rig.server.stop()


def test_when_observations_pass_expect_a_chunk_for_every_fourth():
    with running(Scripted(), take_all=True) as rig:
        for step in range(9):
            rig.server.observe(seen(step))
        assert [rig.next().step for _ in range(3)] == [0, 4, 8]
        assert rig.nothing_more()


def test_when_a_chunk_is_made_expect_the_policys_identity_in_it():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        chunk = rig.next()
        assert (chunk.source_id, chunk.policy_sha256, chunk.episode_id) == ("scripted", "abc", 1)


def test_when_the_policy_is_slow_expect_the_newest_observation_next_and_the_others_counted():
    with running(Scripted(free=False)) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        for step in (4, 8, 12):
            rig.server.observe(seen(step))
        rig.policy.gate.set()
        assert [rig.next().step, rig.next().step] == [0, 12]
        assert rig.server.status().skipped == 2


def test_when_all_are_wanted_expect_each_answered_in_order():
    with running(Scripted(free=False), take_all=True) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        for step in (4, 8, 12):
            rig.server.observe(seen(step))
        rig.policy.gate.set()
        assert [rig.next().step for _ in range(4)] == [0, 4, 8, 12]


def test_when_an_observation_comes_again_expect_the_chunk_that_covers_it_again():
    with running(Scripted()) as rig:
        for step in range(3):
            rig.server.observe(seen(step))
        first = rig.next()
        rig.server.observe(seen(2))
        assert rig.next() is first
        assert rig.policy.entered.qsize() == 1


def test_when_the_policy_failed_since_expect_it_asked_again_although_an_old_chunk_covers_the_step():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.policy.answer = KeyError("gripper")
        rig.server.observe(seen(4))
        rig.wait_for(lambda: rig.server.status().problem)
        rig.policy.answer = np.ones((6, 2))
        rig.server.observe(seen(5))
        rig.server.observe(seen(5))
        assert rig.next().step == 5
        assert rig.server.status().problem == ""


def test_when_an_answer_took_too_long_expect_it_thrown_away_and_the_policy_asked_anew():
    with running(Scripted(), discard_s=0.0) as rig:
        rig.server.observe(seen(0))
        rig.wait_for(lambda: rig.server.status().problem)
        assert "its answer is thrown away and it is asked anew" in rig.server.status().problem
        assert rig.nothing_more()
        rig.server._discard_s = 5.0
        rig.server.observe(seen(0))
        assert rig.next().step == 0
        assert rig.server.status().discarded == 1


@pytest.mark.parametrize(
    ("answer", "reason"), [(np.full((6, 2), np.nan), Reason.NON_FINITE), (np.ones((6, 3)), Reason.WRONG_SIZE)]
)
def test_when_no_robot_may_get_a_chunk_expect_the_reason_told(answer, reason):
    with running(Scripted()) as rig:
        rig.policy.answer = answer
        rig.server.observe(seen(0))
        given, sentence = rig.unfit.get(timeout=WAIT_S)
        assert given is reason
        assert sentence.startswith("base policy 'scripted' failed: it")


def test_when_a_chunk_cannot_be_sent_expect_that_said_and_the_thread_alive():
    def refuse(chunk: ActionChunk) -> None:
        raise RuntimeError("the context is gone")

    with running(Scripted(), on_chunk=refuse) as rig:
        rig.server.observe(seen(0))
        rig.wait_for(lambda: rig.server.status().problem)
        assert "could not be sent: the context is gone" in rig.server.status().problem
        rig.policy.entered.get(timeout=WAIT_S)
        rig.server.observe(seen(4))
        assert rig.policy.entered.get(timeout=WAIT_S) == (1, 4)


def test_when_loading_ends_in_system_exit_expect_it_said_and_tried_again():
    tries = []

    def load() -> Scripted:
        tries.append(1)
        if len(tries) == 1:
            raise SystemExit("usage: policy.py --weights FILE")
        return Scripted()

    with running(Scripted(), load=load) as rig:
        rig.wait_for(lambda: rig.server.status().loaded)
        assert len(tries) == 2


def test_when_no_chunk_covers_a_repeated_observation_expect_the_policy_asked_about_it():
    with running(Scripted()) as rig:
        rig.server.observe(seen(0))
        rig.next()
        rig.server.observe(seen(7))
        assert rig.nothing_more()
        rig.server.observe(seen(7))
        assert rig.next().step == 7


def test_when_an_observation_is_being_worked_on_expect_no_second_inference_for_it():
    with running(Scripted(free=False)) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        rig.server.observe(seen(0))
        rig.policy.gate.set()
        assert rig.next().step == 0
        assert rig.nothing_more()


def test_when_the_episode_is_over_expect_the_answer_discarded():
    with running(Scripted(free=False)) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        rig.server.observe(seen(0, episode_id=2))
        rig.policy.gate.set()
        assert rig.next().episode_id == 2
        assert rig.server.status().discarded == 1
        assert rig.policy.resets == [1, 2]


def test_when_the_policy_raises_expect_its_name_and_reason_and_the_next_try_to_work():
    with running(Scripted()) as rig:
        rig.policy.answer = KeyError("gripper")
        rig.server.observe(seen(0))
        rig.wait_for(lambda: rig.server.status().problem)
        assert rig.server.status().problem == "base policy 'scripted' failed: KeyError: 'gripper'"
        rig.policy.answer = np.ones((6, 2))
        rig.server.observe(seen(0))
        assert rig.next().step == 0
        assert (rig.server.status().problem, rig.server.status().failures) == ("", 1)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (np.ones((6, 3)), "shape (6, 3), expected (horizon, 2)"),
        (np.ones(6), "shape (6,), expected (horizon, 2)"),
        (np.ones((0, 2)), "shape (0, 2)"),
        (np.array([[1.0, 2.0], [3.0, np.nan]] * 3), "NaN or Inf, first in row 1, joint 1"),
        (np.full((4, 2), np.inf), "NaN or Inf, first in row 0, joint 0"),
        (np.ones((3, 2)), "a chunk of 3 actions, execute_steps + prefetch_steps + blend_steps needs 4"),
    ],
)
def test_when_a_chunk_is_no_chunk_expect_it_named_and_nothing_sent(answer, reason):
    with running(Scripted()) as rig:
        rig.policy.answer = answer
        rig.server.observe(seen(0))
        rig.wait_for(lambda: rig.server.status().problem)
        assert reason in rig.server.status().problem
        assert rig.nothing_more()


def test_when_the_policy_cannot_be_loaded_expect_it_tried_until_it_can():
    policy, tries = Scripted(), []

    def load():
        tries.append(1)
        if len(tries) < 4:
            raise ConfigError("no such file")
        return policy

    with running(policy, load=load) as rig:
        rig.server.observe(seen(0))
        assert rig.next().step == 0
        assert len(tries) == 4


def test_when_the_policy_is_never_loaded_expect_the_reason_and_when_it_is_tried_again():
    def load():
        raise DataError("weights.safetensors: truncated")

    with running(Scripted(), load=load) as rig:
        rig.wait_for(lambda: rig.server.status().problem)
        assert rig.server.status().problem == (
            "base policy 'given' cannot be loaded: weights.safetensors: truncated; tried again every 0.01 s"
        )
        assert not rig.server.status().loaded


def test_when_the_policy_hangs_expect_that_it_is_said():
    with running(Scripted(free=False), timeout_s=0.0) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        assert "'scripted' has not answered for" in rig.server.status().problem


def test_when_the_policy_hangs_expect_a_direct_question_refused():
    with running(Scripted(free=False), timeout_s=0.0) as rig:
        rig.server.observe(seen(0))
        rig.policy.entered.get(timeout=WAIT_S)
        with pytest.raises(DataError, match="busy"):
            rig.server.infer_now(seen(3))


def test_when_asked_directly_expect_a_chunk_of_that_observation():
    with running(Scripted()) as rig:
        rig.wait_for(lambda: rig.server.status().loaded)
        assert rig.server.infer_now(seen(3)).step == 3


def test_when_asked_directly_about_another_episode_expect_refusal_while_one_runs():
    with running(Scripted(), timeout_s=60.0) as rig:
        rig.wait_for(lambda: rig.server.status().loaded)
        rig.server.observe(seen(0))
        rig.wait_for(lambda: rig.server.status().chunks == 1)
        with pytest.raises(DataError, match="is serving episode 1"):
            rig.server.infer_now(seen(3, episode_id=9))
        assert rig.server.infer_now(seen(3)).step == 3


def test_when_stopped_expect_the_policy_closed():
    with running(Scripted()) as rig:
        rig.wait_for(lambda: rig.server.status().loaded)
    assert rig.policy.closed


def test_when_a_chunk_is_checked_expect_float32():
    assert checked_chunk([[1, 2], [3, 4]], 2).dtype == np.float32


def test_when_the_policy_looks_back_expect_the_observations_right_before():
    policy = Scripted()
    policy.history, policy.recalled = 2, []
    policy.recall = lambda earlier: policy.recalled.append([o.step for o in earlier])
    with running(policy, take_all=True) as rig:
        rig.wait_for(lambda: rig.server.status().loaded)
        for step in range(9):
            rig.server.observe(seen(step))
        assert [rig.next().step for _ in range(3)] == [0, 4, 8]
    assert policy.recalled == [[], [2, 3], [6, 7]]
