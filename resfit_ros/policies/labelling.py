"""Base actions for recorded demonstrations, with the chunk bookkeeping used online."""

import dataclasses

import numpy as np

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.types import Observation, Segment
from resfit_ros.policies.chunked import ChunkedPolicy
from resfit_ros.policies.protocol import BasePolicy


def label_base_actions(segment: Segment, policy: BasePolicy, chunking: Chunking) -> Segment:
    """`segment` with the bases and phases the robot would have seen had it been at these states.

    One that starts later in its episode is labelled as if chunks had been flushed there.
    """
    chunked = ChunkedPolicy(policy, chunking)
    chunked.reset(segment.episode_id)
    bases, phases = [], []
    for step, state in enumerate(segment.states):
        images = tuple(camera[step] for camera in segment.images)
        base, phase = chunked.action(Observation(0, segment.episode_id, step, state, images))
        bases.append(base)
        phases.append(phase)
    return dataclasses.replace(
        segment, bases=np.array(bases, np.float32), phases=np.array(phases, np.float32)
    )
