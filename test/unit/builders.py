"""Values the unit tests are made of: episodes, segments, normalisers."""

import numpy as np

from resfit_ros.core.learning_config import LearningConfig
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import (
    Action,
    EpisodeEnded,
    Executed,
    Mode,
    Observation,
    Outcome,
    SafetyState,
    Segment,
)

PERIOD_NS = 50_000_000


def identity_normaliser(state_dim: int, action_dim: int, state_clip: float = 1e9) -> Normaliser:
    """Leaves every value as it is, so that stored values can be recognised."""
    names = tuple(f"joint_{i}" for i in range(action_dim))
    return Normaliser(
        joint_names=names,
        action_center=np.zeros(action_dim),
        action_half_range=np.ones(action_dim),
        state_mean=np.zeros(state_dim),
        state_std=np.ones(state_dim),
        state_clip=state_clip,
    )


def make_segment(
    rng: np.random.Generator,
    steps: int,
    state_dim: int = 3,
    action_dim: int = 2,
    terminal: bool = False,
    episode_id: int = 1,
    **fields,
) -> Segment:
    """A segment of random values; `fields` replace some of them."""
    values = {
        "states": rng.standard_normal((steps + 1, state_dim)).astype(np.float32),
        "bases": rng.standard_normal((steps + 1, action_dim)).astype(np.float32),
        "phases": rng.random(steps + 1).astype(np.float32),
        "actions": rng.standard_normal((steps, action_dim)).astype(np.float32),
        "rewards": np.zeros(steps, np.float32),
    }
    if terminal:
        values["rewards"][-1] = 1.0
    return Segment(episode_id=episode_id, terminal=terminal, **(values | fields))


def episode_messages(
    rng: np.random.Generator,
    steps: int,
    outcome: Outcome = Outcome.SUCCESS,
    episode_id: int = 1,
    tainted: frozenset[int] = frozenset(),
    state_dim: int = 3,
    action_dim: int = 2,
    image_shape: tuple[int, ...] | None = None,
) -> list[Observation | Action | Executed | EpisodeEnded]:
    """Every message of one episode, in the order they are sent.

    The first entry of each state is its step, so that a step can be recognised.
    """
    messages: list[Observation | Action | Executed | EpisodeEnded] = []
    for k in range(steps + 1):
        stamp = 1_000_000_000 + k * PERIOD_NS
        state = rng.standard_normal(state_dim).astype(np.float32)
        state[0] = k
        images = () if image_shape is None else (rng.integers(0, 256, image_shape, np.uint8),)
        base, residual, executed = rng.standard_normal((3, action_dim)).astype(np.float32)
        messages.append(Observation(stamp, episode_id, k, state, images, (0.01, 0.02), "aggregator"))
        messages.append(
            Action(
                stamp, episode_id, k, base, residual, base + residual, k % 4 / 4, 3, Mode.EXPLORE, "r"
            )
        )
        if k < steps:
            state_now = SafetyState.FAULT if k in tainted else SafetyState.ARMED
            messages.append(
                Executed(
                    stamp,
                    episode_id,
                    k,
                    executed,
                    safety_state=state_now,
                    tainted=k in tainted,
                    source_id="safety_filter",
                )
            )
    end_ns = 1_000_000_000 + steps * PERIOD_NS
    messages.append(EpisodeEnded(end_ns, episode_id, outcome, steps, 7, "task"))
    return messages


def assert_same_segments(ours: tuple[Segment, ...], theirs: tuple[Segment, ...]) -> None:
    """Every field of every segment is equal."""
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert (a.episode_id, a.terminal) == (b.episode_id, b.terminal)
        for name in ("states", "bases", "phases", "actions", "rewards"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert len(a.images) == len(b.images)
        for one, other in zip(a.images, b.images, strict=True):
            np.testing.assert_array_equal(one, other)


def small_config(**changes) -> LearningConfig:
    """A configuration whose updates take about a millisecond."""
    settings = dict(
        hidden_width=16,
        hidden_layers=2,
        critic_ensemble=3,
        batch_size=16,
        n_step=2,
        utd=1.0,
        actor_delay=2,
        warmup_steps=10,
        critic_only_updates=2,
        total_steps=1000,
        replay_capacity=500,
    )
    return LearningConfig(**(settings | changes))


def counted_segment(
    first_row: int, steps: int, terminal: bool = False, image_size: int | None = None
) -> Segment:
    """A segment all of whose contents follow from its rows' numbers r = first_row, first_row + 1, ...

    state (r, last row, terminal), base (r, -r), phase r % 4 / 4, action (2r, r), reward r % 7; two
    cameras of that size, filled with r % 251 and r % 241.
    """
    r = np.arange(first_row, first_row + steps + 1)
    states = np.stack((r, np.full_like(r, r[-1]), np.full_like(r, terminal)), axis=1)
    images = ()
    if image_size is not None:
        ones = np.ones((image_size, image_size, 3), np.uint8)
        images = tuple(np.multiply.outer((r % m).astype(np.uint8), ones) for m in (251, 241))
    return Segment(
        episode_id=first_row,
        states=states.astype(np.float32),
        bases=np.stack((r, -r), axis=1).astype(np.float32),
        phases=(r % 4 / 4).astype(np.float32),
        actions=np.stack((2 * r, r), axis=1).astype(np.float32)[:-1],
        rewards=(r % 7).astype(np.float32)[:-1],
        terminal=terminal,
        images=images,
    )
