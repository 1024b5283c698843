"""A flow-matching policy (arXiv 2210.02747): straight paths from noise to chunks, one velocity field."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc_data import Batch, CameraSize
from resfit_ros.learning.policy_trunk import ChunkDecoder, Trunk, sinusoidal

TIME_SCALE = 1000.0  # spreads times in [0, 1] over the waves of the embedding


class FlowNetwork(nn.Module):
    """Standardised state and pictures, and noise (B, H, A), to a chunk of normalised actions (B, H, A).

    Rectified flow (arXiv 2209.03003): x_t = (1 - t) noise + t chunk, velocity chunk - noise.
    """

    def __init__(
        self, state_dim: int, action_dim: int, config: BCConfig, cameras: Sequence[CameraSize] = ()
    ) -> None:
        super().__init__()
        self.steps, self.width = config.flow_steps, config.width
        self.trunk = Trunk(state_dim, cameras, config)
        self.action = nn.Linear(action_dim, config.width)
        self.position = nn.Parameter(torch.randn(config.horizon, config.width) * 0.02)
        self.time = nn.Sequential(
            nn.Linear(config.width, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.decoder = ChunkDecoder(action_dim, config)

    def velocity(self, context: Tensor, noisy: Tensor, time: Tensor, padded: Tensor | None = None) -> Tensor:
        """Velocity (B, H, A) at `noisy` (B, H, A) and `time` (B,), given the trunk's tokens."""
        embedded = self.time(sinusoidal(time * TIME_SCALE, self.width))
        tokens = self.action(noisy) + self.position + embedded[:, None]
        return self.decoder(tokens, context, padded)

    def chunk(self, state: Tensor, images: Sequence[Tensor], noise: Tensor) -> Tensor:
        """Follows the flow from `noise` (B, H, A) by Euler's method."""
        context, actions = self.trunk(state, images), noise
        for step in range(self.steps):
            time = state.new_full((len(state),), step / self.steps)
            actions = actions + self.velocity(context, actions, time) / self.steps
        return actions

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(mean squared error of the velocity at random times, the same to report)."""
        loss = self.validation_loss(batch, generator)
        return loss, loss.detach()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean squared error of the velocity at times and noise from `generator`.

        Padded actions are hidden from the others: at inference there are none.
        """
        target, device = batch.actions, batch.actions.device
        noise = torch.randn(target.shape, generator=generator).to(device)
        time = torch.rand(len(target), generator=generator).to(device)
        noisy = torch.lerp(noise, target, time[:, None, None])
        context = self.trunk(batch.state, batch.images)
        velocity = self.velocity(context, noisy, time, batch.padded)
        return batch.masked_mean((velocity - (target - noise)).square())
