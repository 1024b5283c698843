"""Cameras to features: a shallow vision transformer per camera, and random-shift augmentation."""

import torch
from torch import Tensor, nn

from resfit_ros.core.learning_config import LearningConfig

CHANNELS = 3
# A CPU works on so many tokens at a time: the activations of a block then stay in its cache.
CACHED_TOKENS = 2048


def random_shift(image: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Each picture of uint8 (B, H, W, 3) moved by up to +-`pixels`, edges repeated.

    DrQ (arXiv 2004.13649): padding and a random crop of the old size. Whole pixels, so that it is
    done on bytes, before anything is made float; a picture's row is copied in one piece.
    """
    if not pixels:
        return image
    count, height, width, channels = image.shape
    device = image.device
    shift = torch.randint(0, 2 * pixels + 1, (2, count), generator=generator, device=generator.device)
    down, right = shift.to(device)
    left, end = image[:, :, :1], image[:, :, -1:]
    wide = torch.cat((left.expand(-1, -1, pixels, -1), image, end.expand(-1, -1, pixels, -1)), dim=2)
    crops = wide.flatten(2).unfold(2, width * channels, channels)  # (B, H, 2 pixels + 1, 3 W), a view
    rows = torch.arange(-pixels, height - pixels, device=device) + down[:, None]
    rows.clamp_(0, height - 1)
    batch = torch.arange(count, device=device)[:, None]
    return crops[batch, rows, right[:, None]].view(count, height, width, channels)


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and a GELU perceptron, tokens (B, N, D) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        shape = (count, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm_attention(tokens)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = _attention(q, k, v)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(count, length, width))
        return tokens + self.down(nn.functional.gelu(self.up(self.norm_mlp(tokens))))


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k' / sqrt(d)) v, (B, heads, N, d) each."""
    if q.device.type == "cpu" and q.dtype is torch.bfloat16:
        # PyTorch's fused attention for CPUs takes twice as long in bfloat16 as these three products.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        return scores.softmax(dim=-1) @ v
    return nn.functional.scaled_dot_product_attention(q, k, v)


class CameraEncoder(nn.Module):
    """Shallow vision transformer: pictures uint8 (B, H, W, 3) to features (B, F) in [-1, 1].

    A picture whose sides are no multiple of the patch is padded with grey. The tokens are flattened,
    not averaged: where something is matters more to a robot than that it is there.
    """

    def __init__(self, height: int, width: int, config: LearningConfig) -> None:
        super().__init__()
        self.patch = patch = config.vit_patch
        self.rows, self.columns = -(-height // patch), -(-width // patch)
        self.missing = (0, 0, 0, self.columns * patch - width, 0, self.rows * patch - height)
        tokens, size = self.rows * self.columns, config.vit_width
        self.embed = nn.Linear(patch * patch * CHANNELS, size)
        self.position = nn.Parameter(torch.randn(tokens, size) * 0.02)
        blocks = [TransformerBlock(size, config.vit_heads) for _ in range(config.vit_depth)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(size)
        self.compress = nn.Linear(tokens * size, config.image_features)
        self.out_norm = nn.LayerNorm(config.image_features)

    def forward(self, image: Tensor) -> Tensor:
        at_once = len(image)
        if image.device.type == "cpu":
            at_once = max(1, CACHED_TOKENS // (self.rows * self.columns))
        tokens = torch.cat([self._tokens(part) for part in image.split(at_once)])
        return torch.tanh(self.out_norm(self.compress(tokens))).float()

    def _tokens(self, image: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to (B, tokens * width)."""
        patches = self._patches(image).float().sub_(127.5).mul_(1 / 127.5)
        return self.norm(self.blocks(self.embed(patches) + self.position)).flatten(1)

    def _patches(self, image: Tensor) -> Tensor:
        """uint8 (B, H, W, 3) to (B, rows * columns, patch * patch * 3)."""
        if any(self.missing):
            image = nn.functional.pad(image, self.missing, value=127)
        count, patch = len(image), self.patch
        grid = image.reshape(count, self.rows, patch, self.columns, patch * CHANNELS)
        return grid.permute(0, 1, 3, 2, 4).reshape(count, self.rows * self.columns, -1)
