"""Digests differ when anything differs, and only then."""

import dataclasses

import numpy as np
import pytest
from builders import make_segment

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import EpisodeEnded, Outcome
from resfit_ros.data.segment_digest import episode_digest, segment_digest


def segment(**fields):
    images = (np.arange(5 * 4 * 3 * 3, dtype=np.uint8).reshape(5, 4, 3, 3),)
    return make_segment(np.random.default_rng(0), 4, **({"images": images} | fields))


def test_when_segments_are_equal_expect_equal_digests():
    other = dataclasses.replace(segment(), states=np.asfortranarray(segment().states))
    assert segment_digest(segment()) == segment_digest(other)
    assert len(segment_digest(segment())) == 64


@pytest.mark.parametrize("name", ["states", "bases", "phases", "actions", "rewards", "interventions"])
def test_when_one_value_differs_expect_another_digest(name):
    array = getattr(segment(), name).copy()
    array.flat[-1] = 1 - array.flat[-1]
    assert segment_digest(dataclasses.replace(segment(), **{name: array})) != segment_digest(segment())


@pytest.mark.parametrize(
    "change",
    [
        {"episode_id": 2},
        {"terminal": True},
        {"images": ()},
        {"images": (np.zeros((5, 4, 3, 3), np.uint8),)},
        {"states": segment().states.astype(np.float64)},
        {"states": segment().states.reshape(3, 5)},
    ],
    ids=["episode", "terminal", "no camera", "pixels", "dtype", "shape"],
)
def test_when_anything_else_differs_expect_another_digest(change):
    assert segment_digest(dataclasses.replace(segment(), **change)) != segment_digest(segment())


def test_when_the_outcome_differs_expect_another_digest():
    ends = [EpisodeEnded(5, 1, outcome, 4) for outcome in (Outcome.TIMEOUT, Outcome.FAILURE)]
    one, other = (episode_digest(AssembledEpisode(end, (segment(),), 0)) for end in ends)
    assert one != other
