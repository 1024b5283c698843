"""Batches: observations as views of one vector, moved to a device as a whole."""

import numpy as np
import pytest
import torch
from builders import counted_segment, identity_normaliser

from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.replay import ReplayBuffer, sample_batch


def test_when_sampled_expect_state_base_and_phase_to_be_views_of_the_vector():
    buffer = ReplayBuffer(20, identity_normaliser(3, 2))
    buffer.add(counted_segment(0, 3))
    o = buffer.sample(4, 1, 0.9, np.random.default_rng(0)).observation
    assert o.joined() is o.vector
    assert o.vector.is_contiguous()
    parts = torch.cat((o.state, o.base, o.phase), dim=-1)
    torch.testing.assert_close(parts, o.vector, rtol=0, atol=0)
    assert {o.state.data_ptr(), o.base.data_ptr() - 12, o.phase.data_ptr() - 20} == {o.vector.data_ptr()}


def test_when_made_without_vector_expect_it_joined():
    o = ObservationBatch(torch.full((2, 3), 1.0), torch.full((2, 2), 2.0), torch.full((2, 1), 3.0))
    assert o.joined().tolist() == [[1.0, 1.0, 1.0, 2.0, 2.0, 3.0]] * 2


def all_tensors(batch: TransitionBatch) -> list[torch.Tensor]:
    """Every tensor of a batch, the observations' included."""
    tensors = [batch.action, batch.reward, batch.discount]
    tensors += [] if batch.weight is None else [batch.weight]
    for o in (batch.observation, batch.next_observation):
        optional = [t for t in (o.vector, o.image_features) if t is not None]
        tensors += [o.state, o.base, o.phase, *o.images, *optional]
    return tensors


@pytest.mark.parametrize("options", [{"image_shapes": ((4, 4, 3),) * 2}, {"feature_dim": 5}])
def test_when_batch_is_moved_expect_every_tensor_on_the_device(options):
    buffer = ReplayBuffer(20, identity_normaliser(3, 2), priority_exponent=0.6, **options)
    features = np.zeros((4, 5), np.float32) if "feature_dim" in options else None
    buffer.add(counted_segment(0, 3, image_size=4), features)
    batch, _ = sample_batch([(buffer, 4)], 1, 0.9, np.random.default_rng(0), correction=0.5)
    assert batch.to("cpu") is batch
    assert batch.observation.to("cpu") is batch.observation
    before, after = all_tensors(batch), all_tensors(batch.to("meta"))
    assert [t.device.type for t in after] == ["meta"] * len(before)
    assert [(t.shape, t.dtype) for t in after] == [(t.shape, t.dtype) for t in before]


def test_when_observation_without_vector_is_moved_expect_every_tensor_on_the_device():
    o = ObservationBatch(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2, 1))
    assert o.to("cpu") is o
    assert [t.device.type for t in (o.to("meta").state, o.to("meta").base, o.to("meta").phase)] == [
        "meta"
    ] * 3
