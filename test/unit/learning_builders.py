"""What the tests of the learning core are made of: batches, agents, pictures."""

import numpy as np
import torch
from builders import make_segment, small_config

from resfit_ros.core.types import Segment
from resfit_ros.learning.agent import Agent
from resfit_ros.learning.batch import ObservationBatch, TransitionBatch
from resfit_ros.learning.networks import ObservationShape

STATES, ACTIONS, BATCH = 4, 2, 16
CAMERAS = ((16, 16), (10, 20))  # (height, width); the second is no multiple of the patch
TINY_VISION = dict(
    use_images=True, vit_patch=8, vit_width=8, vit_heads=2, vit_depth=1, image_features=4, random_shift=2
)
SHAPE, SHAPE_WITH_IMAGES = ObservationShape(STATES, ACTIONS), ObservationShape(STATES, ACTIONS, CAMERAS)


def pictures(seed: int, count: int, size: tuple[int, int] = CAMERAS[0]) -> torch.Tensor:
    """Random uint8 (count, height, width, 3)."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *size, 3), generator=rng, dtype=torch.uint8)


def observations(
    seed: int, count: int = BATCH, cameras: tuple[tuple[int, int], ...] = ()
) -> ObservationBatch:
    rng = torch.Generator().manual_seed(seed)
    return ObservationBatch(
        torch.randn(count, STATES, generator=rng),
        torch.randn(count, ACTIONS, generator=rng),
        torch.rand(count, 1, generator=rng),
        tuple(pictures(seed + i, count, size) for i, size in enumerate(cameras)),
    )


def transitions(
    seed: int = 0,
    reward: float = 0.3,
    discount: float = 0.8,
    cameras: tuple[tuple[int, int], ...] = (),
    weight: torch.Tensor | None = None,
) -> TransitionBatch:
    rng = torch.Generator().manual_seed(100 + seed)
    return TransitionBatch(
        observation=observations(seed, cameras=cameras),
        action=torch.randn(BATCH, ACTIONS, generator=rng),
        reward=torch.full((BATCH,), reward),
        discount=torch.full((BATCH,), discount),
        next_observation=observations(seed + 50, cameras=cameras),
        weight=weight,
    )


def make_agent(scramble: bool = True, shape: ObservationShape = SHAPE, **changes) -> Agent:
    """`scramble`: actor and critics that have left their start at zero."""
    agent = Agent(shape, small_config(**changes))
    if scramble:
        torch.manual_seed(1)
        for module in (agent.actor.trunk, agent.actor.head, agent.critic, agent.target_critic):
            for parameter in module.parameters():
                torch.nn.init.normal_(parameter, std=0.4)
    return agent


def constant_targets(agent: Agent, values: list[float]) -> None:
    """Makes (scalar) target critic m say values[m] whatever it is asked."""
    with torch.no_grad():
        agent.target_critic.head.weight.zero_()
        agent.target_critic.head.bias[:, 0, 0] = torch.tensor(values)


def copied(module: torch.nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(module: torch.nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, b) for p, b in zip(module.parameters(), before, strict=True))


def segment_with_images(
    rng: np.random.Generator, steps: int, cameras: tuple[tuple[int, int], ...] = CAMERAS, **fields
) -> Segment:
    """A random segment whose observations have pictures."""
    images = tuple(rng.integers(0, 256, (steps + 1, *size, 3), np.uint8) for size in cameras)
    return make_segment(rng, steps, images=images, **fields)
