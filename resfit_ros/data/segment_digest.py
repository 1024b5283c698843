"""One number per episode that says whether two ways in gave the same learning data, bit for bit."""

import hashlib
from collections.abc import Iterable

import numpy as np

from resfit_ros.core.transitions import AssembledEpisode
from resfit_ros.core.types import EpisodeEnded, Segment


def segment_digest(segment: Segment) -> str:
    """SHA-256 over every field of a segment: of arrays their type, shape and bytes."""
    digest = hashlib.sha256(f"{segment.episode_id} {segment.terminal}".encode())
    fields = (segment.states, segment.bases, segment.phases, segment.actions, segment.rewards)
    for array in (*fields, segment.interventions, *segment.images):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def episode_digest(episode: AssembledEpisode) -> str:
    """SHA-256 over an episode's end and the digests of its segments."""
    return digest_of([_end(episode.end), *map(segment_digest, episode.segments)])


def digest_of(parts: Iterable[str]) -> str:
    """SHA-256 over several digests, in order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _end(end: EpisodeEnded) -> str:
    values = end.stamp_ns, end.episode_id, int(end.outcome), end.steps, end.scene_seed, end.labelled_by
    return repr(values)
