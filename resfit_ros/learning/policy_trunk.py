"""What the transformer policies share: pictures and state to tokens, and a decoder of action tokens."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from resfit_ros.core.learning_config import BCConfig
from resfit_ros.learning.bc_data import CameraSize
from resfit_ros.learning.vision import CHANNELS, TransformerBlock

POSITION_BASE = 10_000.0  # longest wave of the sinusoidal embedding (arXiv 1706.03762, section 3.5)


def sinusoidal(positions: Tensor, width: int) -> Tensor:
    """Positions (...,) to sine and cosine features (..., width)."""
    half = width // 2
    waves = torch.exp(torch.arange(half, device=positions.device) * (-math.log(POSITION_BASE) / half))
    angles = positions[..., None].float() * waves
    return torch.cat((angles.sin(), angles.cos()), dim=-1)


def grid_embedding(rows: int, columns: int, width: int) -> Tensor:
    """2-D position embedding (rows * columns, width): half of the features for each axis."""
    down = sinusoidal(torch.arange(rows), width // 2)[:, None].expand(-1, columns, -1)
    right = sinusoidal(torch.arange(columns), width // 2)[None].expand(rows, -1, -1)
    return torch.cat((down, right), dim=-1).flatten(0, 1)


class ConvStem(nn.Module):
    """Pictures uint8 (B, H, W, 3) to tokens (B, N, D); one every 16 pixels, of 28 pixels each."""

    def __init__(self, camera: CameraSize, config: BCConfig) -> None:
        super().__init__()
        channels, width = config.stem_channels, config.width
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, channels, 4, stride=4),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(2 * channels, width, 3, stride=2, padding=1),
        )
        rows, columns = (-(-(-(-(side // 4) // 2)) // 2) for side in (camera.height, camera.width))
        self.register_buffer("position", grid_embedding(rows, columns, width), persistent=False)
        self.camera = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).float().sub(127.5).mul(1 / 127.5)
        tokens = self.layers(pixels).flatten(2).transpose(1, 2)
        return tokens + self.position + self.camera


class Trunk(nn.Module):
    """Observation, and further tokens, to context tokens (B, N, D)."""

    def __init__(self, state_dim: int, cameras: Sequence[CameraSize], config: BCConfig) -> None:
        super().__init__()
        self.state = nn.Linear(state_dim, config.width)
        self.cameras = nn.ModuleList(ConvStem(camera, config) for camera in cameras)
        blocks = [TransformerBlock(config.width, config.heads) for _ in range(config.encoder_layers)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(config.width)

    def forward(self, state: Tensor, images: Sequence[Tensor], *more: Tensor) -> Tensor:
        """state (B, S), a picture uint8 (B, H, W, 3) per camera, tokens (B, D) in addition."""
        tokens = [torch.stack((self.state(state), *more), dim=1)]
        tokens += [stem(image) for stem, image in zip(self.cameras, images, strict=True)]
        return self.norm(self.blocks(torch.cat(tokens, dim=1)))


class Attention(nn.Module):
    """Multi-head attention of tokens (B, N, D) to a context (B, M, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor, ignored: Tensor | None = None) -> Tensor:
        """`ignored` (B, M): tokens of the context that nothing attends to."""
        q = self._split(self.query(tokens))
        k, v = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        mask = None if ignored is None else ~ignored[:, None, None, :]
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class DecoderBlock(nn.Module):
    """Pre-norm self-attention, cross-attention to a context where there is one, and a perceptron."""

    def __init__(self, width: int, heads: int, crosses: bool = True) -> None:
        super().__init__()
        self.norm_self, self.self_attention = nn.LayerNorm(width), Attention(width, heads)
        self.norm_cross = nn.LayerNorm(width) if crosses else None
        self.cross_attention = Attention(width, heads) if crosses else None
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, context: Tensor | None, ignored: Tensor | None = None) -> Tensor:
        """`ignored` (B, N): tokens that no other attends to."""
        normed = self.norm_self(tokens)
        tokens = tokens + self.self_attention(normed, normed, ignored)
        if self.cross_attention is not None:
            tokens = tokens + self.cross_attention(self.norm_cross(tokens), context)
        return tokens + self.mlp(self.norm_mlp(tokens))


class ChunkDecoder(nn.Module):
    """Action tokens (B, H, D), attending to the trunk's, to a chunk (B, H, A)."""

    def __init__(self, action_dim: int, config: BCConfig) -> None:
        super().__init__()
        blocks = [DecoderBlock(config.width, config.heads) for _ in range(config.decoder_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm, self.out = nn.LayerNorm(config.width), nn.Linear(config.width, action_dim)

    def forward(self, tokens: Tensor, context: Tensor, ignored: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, context, ignored)
        return self.out(self.norm(tokens))
