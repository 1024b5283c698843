"""Replay buffer: one thread adds while another samples and updates priorities."""

import itertools
import sys
import threading

import numpy as np
import pytest
import torch
from builders import counted_segment, identity_normaliser

from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.replay import ReplayBuffer, sample_batch

N_STEP, BATCH, IMAGE_SIZE, CAPACITY = 3, 8, 16, 40
OPERATIONS = 1500  # of each thread at least


class Writer(threading.Thread):
    """Adds counted segments until at least OPERATIONS are done and it is told to stop."""

    def __init__(self, buffer: ReplayBuffer) -> None:
        super().__init__()
        self.buffer = buffer
        self.segments = 0
        self.enough = threading.Event()
        self.begun = threading.Event()

    def run(self) -> None:
        row = 0
        for k in itertools.count():
            steps = 1 + k * 7 % 9
            self.buffer.add(counted_segment(row, steps, k % 2 == 0, IMAGE_SIZE))
            row += steps + 1
            self.segments += 1
            self.begun.set()
            if self.enough.is_set() and self.segments >= OPERATIONS:
                return


def joined(observations: list[ObservationBatch]) -> ObservationBatch:
    """One batch from many."""
    vector = torch.cat([o.joined() for o in observations])
    cameras = zip(*(o.images for o in observations), strict=True)
    return ObservationBatch.from_vector(vector, 3, tuple(map(torch.cat, cameras)))


def rows_of(observation: ObservationBatch) -> torch.Tensor:
    """Row numbers (B,); every other content must follow from them."""
    r = observation.state[:, 0].long()
    assert torch.equal(observation.base, torch.stack((r, -r), dim=1).float())
    assert torch.equal(observation.phase[:, 0], r % 4 / 4)
    for images, modulus in zip(observation.images, (251, 241), strict=True):
        assert torch.equal(images.amin(dim=(1, 2, 3)).long(), r % modulus)
        assert torch.equal(images.amax(dim=(1, 2, 3)).long(), r % modulus)
    return r


def assert_consistent(batches: list[TransitionBatch]) -> None:
    """Every transition is as the definition says, computed from the numbers of its rows alone."""
    before = joined([batch.observation for batch in batches])
    after = joined([batch.next_observation for batch in batches])
    action, reward, discount = (
        torch.cat([getattr(batch, name) for batch in batches])
        for name in ("action", "reward", "discount")
    )
    now, later = rows_of(before), rows_of(after)
    last, terminal = before.state[:, 1].long(), before.state[:, 2].bool()
    assert torch.equal(later, torch.minimum(now + N_STEP, last))
    assert torch.equal(after.state[:, 1:], before.state[:, 1:])
    assert torch.equal(action, torch.stack((2 * now, now), dim=1).float())
    window = now[:, None] + torch.arange(N_STEP)
    rewards = (window < last[:, None]) * (window % 7) * 0.5 ** torch.arange(N_STEP)
    assert torch.equal(reward, rewards.sum(dim=1))
    bootstrapped = ~(terminal & (later == last))
    assert torch.equal(discount, bootstrapped * 0.5 ** (later - now))


@pytest.fixture
def quick_switches():
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.parametrize("exponent", [None, 0.6])
def test_when_one_thread_adds_and_one_samples_expect_no_torn_rows(exponent, quick_switches):
    cameras = ((IMAGE_SIZE, IMAGE_SIZE, 3),) * 2
    buffer = ReplayBuffer(CAPACITY, identity_normaliser(3, 2), cameras, priority_exponent=exponent)
    rng = np.random.default_rng(0)
    writer = Writer(buffer)
    writer.start()
    try:
        assert writer.begun.wait(10.0)
        batches = []
        while len(batches) < OPERATIONS or writer.segments < OPERATIONS:
            batch, rows = sample_batch([(buffer, BATCH)], N_STEP, 0.5, rng, correction=0.4)
            rows.update_priorities(rng.standard_normal(BATCH))
            batches.append(batch)
    finally:
        writer.enough.set()
        writer.join(10.0)
    assert not writer.is_alive()
    assert len(buffer) < CAPACITY < writer.segments
    assert_consistent(batches)
