"""Action chunking with transformers (ACT, arXiv 2304.13705): a conditional variational autoencoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc_data import Batch, CameraSize
from resfit_ros.learning.policy_trunk import ChunkDecoder, DecoderBlock, Trunk, sinusoidal


class StyleEncoder(nn.Module):
    """[cls, state, action sequence] to mean and log-variance (B, Z) of the latent; training only."""

    def __init__(self, state_dim: int, action_dim: int, config: BCConfig) -> None:
        super().__init__()
        self.cls = nn.Parameter(torch.randn(config.width) * 0.02)
        self.state, self.action = nn.Linear(state_dim, config.width), nn.Linear(action_dim, config.width)
        self.blocks = nn.ModuleList(
            DecoderBlock(config.width, config.heads, crosses=False) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.out = nn.Linear(config.width, 2 * config.latent_dim)
        position = sinusoidal(torch.arange(config.horizon), config.width)
        self.register_buffer("position", position, persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        first = torch.stack((self.cls.expand(len(batch.state), -1), self.state(batch.state)), dim=1)
        tokens = torch.cat((first, self.action(batch.actions) + self.position), dim=1)
        ignored = nn.functional.pad(batch.padded, (2, 0), value=False)
        for block in self.blocks:
            tokens = block(tokens, None, ignored)
        mean, log_variance = self.out(self.norm(tokens[:, 0])).chunk(2, dim=-1)
        return mean, log_variance


class ACTNetwork(nn.Module):
    """Standardised state and pictures to a chunk of normalised actions (B, H, A)."""

    def __init__(
        self, state_dim: int, action_dim: int, config: BCConfig, cameras: Sequence[CameraSize] = ()
    ) -> None:
        super().__init__()
        self.latent_dim, self.kl_weight = config.latent_dim, config.kl_weight
        self.style = StyleEncoder(state_dim, action_dim, config)
        self.latent = nn.Linear(config.latent_dim, config.width)
        self.trunk = Trunk(state_dim, cameras, config)
        self.queries = nn.Parameter(torch.randn(config.horizon, config.width) * 0.02)
        self.decoder = ChunkDecoder(action_dim, config)

    def forward(self, state: Tensor, images: Sequence[Tensor] = (), latent: Tensor | None = None) -> Tensor:
        """Without `latent` (B, Z): z = 0, the mean of the prior."""
        if latent is None:
            latent = state.new_zeros(len(state), self.latent_dim)
        context = self.trunk(state, images, self.latent(latent))
        return self.decoder(self.queries.expand(len(state), -1, -1), context)

    def chunk(self, state: Tensor, images: Sequence[Tensor], noise: Tensor) -> Tensor:
        """The chunk at inference; the noise is not used."""
        return self(state, images)

    def losses(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """(what is minimised: L1 + weighted KL divergence from the unit normal, L1 alone)."""
        mean, log_variance = self.style(batch)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        latent = mean + noise * (0.5 * log_variance).exp()
        error = (self(batch.state, batch.images, latent) - batch.actions).abs()
        l1 = batch.masked_mean(error)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1).mean()
        return l1 + self.kl_weight * kl, l1.detach()

    def validation_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """L1 error of what is done at inference, z = 0."""
        return batch.masked_mean((self(batch.state, batch.images) - batch.actions).abs())
