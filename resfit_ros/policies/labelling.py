"""Base actions for recorded demonstrations, with the chunk bookkeeping used online."""

import dataclasses

import numpy as np

from resfit_ros.core.chunks import ChunkBuffer, required_chunk_step
from resfit_ros.core.types import ActionChunk, Observation, Segment
from resfit_ros.policies.protocol import BasePolicy


def label_base_actions(segment: Segment, policy: BasePolicy, execute_steps: int) -> Segment:
    """`segment` with the bases and phases the robot would have seen had it been at these states.

    The segment must start at step 0 of its episode.
    """
    buffer = ChunkBuffer(len(policy.spec.joint_names), execute_steps)
    buffer.reset(segment.episode_id)
    policy.reset(segment.episode_id)
    bases, phases = [], []
    for step, state in enumerate(segment.states):
        if required_chunk_step(step, execute_steps) == step:
            images = tuple(camera[step] for camera in segment.images)
            observation = Observation(0, segment.episode_id, step, state, images)
            buffer.add(ActionChunk(0, segment.episode_id, step, policy.infer(observation)), step)
        base, phase = buffer.action(step)
        bases.append(base)
        phases.append(phase)
    return dataclasses.replace(
        segment, bases=np.array(bases, np.float32), phases=np.array(phases, np.float32)
    )
