"""Camera encoders and random-shift augmentation against naive loops."""

import numpy as np
import pytest
import torch
from builders import small_config
from learning_builders import (
    CAMERAS,
    SHAPE_WITH_IMAGES,
    TINY_VISION,
    make_agent,
    observations,
    pictures,
    transitions,
)

from resfit_ros.learning.vision import CameraEncoder, TransformerBlock, random_shift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_encoder(height: int, width: int, **changes) -> CameraEncoder:
    torch.manual_seed(0)
    return CameraEncoder(height, width, small_config(**(TINY_VISION | changes)))


# --- random shift ------------------------------------------------------------------------------


def offsets(before: torch.Tensor, after: torch.Tensor, pixels: int) -> list[tuple[int, int]]:
    """Of each picture: the one crop of the padded original that it is."""
    found = []
    _, height, width, _ = before.shape
    for old, new in zip(before.numpy(), after.numpy(), strict=True):
        padded = np.pad(old, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        places = [
            (down, right)
            for down in range(2 * pixels + 1)
            for right in range(2 * pixels + 1)
            if np.array_equal(padded[down : down + height, right : right + width], new)
        ]
        assert len(places) == 1, f"a picture is {len(places)} of the crops of its padded original"
        found += places
    return found


@pytest.mark.parametrize(("size", "pixels"), [((9, 13), 1), ((9, 13), 3), ((6, 5), 4)])
def test_when_shifted_expect_each_picture_to_be_a_crop_of_itself_padded_by_its_edges(size, pixels):
    before = pictures(0, 20, size)
    after = random_shift(before, pixels, generator())
    assert (after.shape, after.dtype) == (before.shape, torch.uint8)
    offsets(before, after, pixels)


def test_when_many_are_shifted_expect_every_offset_about_equally_often():
    before = pictures(0, 1, (6, 5)).expand(2000, -1, -1, -1)
    found = offsets(before, random_shift(before, 1, generator()), 1)
    counts = [found.count((down, right)) for down in range(3) for right in range(3)]
    assert sum(counts) == 2000
    assert min(counts) > 160 and max(counts) < 285  # 222 +- 4.5 standard deviations


def test_when_shift_is_zero_expect_the_pictures_themselves():
    image = pictures(0, 3)
    assert random_shift(image, 0, generator()) is image


def test_when_seed_is_the_same_expect_the_same_shifts():
    image = pictures(0, 20)
    first, second = (random_shift(image, 3, generator(5)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, random_shift(image, 3, generator(6)))


def test_when_several_cameras_are_shifted_expect_shifts_of_their_own(monkeypatch):
    agent = make_agent(scramble=False, shape=SHAPE_WITH_IMAGES, **TINY_VISION)
    seen = []
    encode = agent.actor.encode
    monkeypatch.setattr(agent.actor, "encode", lambda o: seen.append(o) or encode(o))
    batch = transitions(cameras=CAMERAS)
    agent.update(batch, with_actor=False)
    now, later = sorted(seen, key=lambda o: not torch.equal(o.state, batch.observation.state))
    found = [
        offsets(before, after, 2)
        for old, new in ((batch.observation, now), (batch.next_observation, later))
        for before, after in zip(old.images, new.images, strict=True)
    ]
    assert len({tuple(f) for f in found}) == 4


# --- encoder -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width", "patch"), [(16, 16, 8), (10, 20, 8), (7, 9, 4), (8, 5, 5)])
def test_when_cut_into_patches_expect_those_of_a_loop_over_the_grey_padded_picture(height, width, patch):
    encoder = make_encoder(height, width, vit_patch=patch)
    image = pictures(0, 2, (height, width))
    given = encoder._patches(image)
    rows, columns = -(-height // patch), -(-width // patch)
    padded = np.full((2, rows * patch, columns * patch, 3), 127, np.uint8)
    padded[:, :height, :width] = image.numpy()
    assert given.shape == (2, rows * columns, patch * patch * 3)
    for row in range(rows):
        for column in range(columns):
            top, left = row * patch, column * patch
            expected = padded[:, top : top + patch, left : left + patch].reshape(2, -1)
            np.testing.assert_array_equal(given[:, row * columns + column], expected)


@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (84, 84), (100, 75), (120, 160), (128, 128), (224, 224)]
)
def test_when_pictures_have_this_size_expect_bounded_features(height, width):
    encoder = make_encoder(height, width, vit_patch=16)
    features = encoder(pictures(0, 2, (height, width)))
    assert (features.shape, features.dtype) == ((2, 4), torch.float32)
    assert features.abs().max() <= 1.0


def test_when_memory_is_laid_out_otherwise_expect_the_same_features():
    encoder, image = make_encoder(*CAMERAS[0]), pictures(0, 2)
    channels_first = image.permute(0, 3, 1, 2).contiguous()
    torch.testing.assert_close(encoder(channels_first.permute(0, 2, 3, 1)), encoder(image))


def test_when_pictures_differ_expect_features_that_differ_and_do_not_depend_on_the_batch():
    encoder, image = make_encoder(*CAMERAS[0]), pictures(0, 4)
    features = encoder(image)
    assert (features[0] - features[1]).abs().max() > 0.01
    torch.testing.assert_close(encoder(image[2:3]), features[2:3], atol=1e-5, rtol=1e-4)


def test_when_batch_is_computed_in_parts_expect_the_features_and_gradients_of_one(monkeypatch):
    encoder, image = make_encoder(*CAMERAS[0]), pictures(0, 7)
    results = []
    for cached_tokens in (4 * 7, 4 * 3, 1):  # 4 tokens per picture: 7, 3 and 1 at once
        monkeypatch.setattr("resfit_ros.learning.vision.CACHED_TOKENS", cached_tokens)
        features = encoder(image)
        results.append((features, *torch.autograd.grad(features[:, 0].sum(), encoder.embed.parameters())))
    for part in results[1:]:
        for one, other in zip(part, results[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_when_something_moves_within_the_picture_expect_other_features():
    """Tokens are flattened, not averaged: where a thing is must show."""
    encoder = make_encoder(*CAMERAS[0])
    left, right = torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 16, 16, 3, dtype=torch.uint8)
    left[:, :8, :8], right[:, :8, 8:] = 255, 255
    torch.nn.init.zeros_(encoder.position)
    assert (encoder(left) - encoder(right)).abs().max() > 0.01


def test_when_differentiated_expect_a_gradient_in_every_parameter():
    encoder = make_encoder(10, 20)
    (encoder(pictures(0, 3, (10, 20))) * torch.randn(3, 4, generator=generator())).sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_when_critics_learn_from_two_cameras_expect_a_gradient_in_every_encoder_parameter():
    agent = make_agent(scramble=False, shape=SHAPE_WITH_IMAGES, **TINY_VISION)
    agent.update_critic(transitions(cameras=CAMERAS))
    named = list(agent.actor.encoder.named_parameters())
    assert {name.split(".")[1] for name, _ in named} == {"0", "1"}
    assert [n for n, p in named if p.grad is None or not p.grad.any()] == []


def test_when_only_one_camera_changes_expect_only_its_features_to_change():
    agent = make_agent(scramble=False, shape=SHAPE_WITH_IMAGES, **TINY_VISION)
    o = observations(0, cameras=CAMERAS)
    before = agent.encode(o)
    o.images[1].bitwise_not_()
    changed = (agent.encode(o) - before).abs().amax(dim=0) > 0
    assert changed.tolist() == [False] * 11 + [True] * 4


def test_when_attention_is_computed_expect_softmax_of_scaled_products_per_head():
    torch.manual_seed(0)
    block, tokens = TransformerBlock(8, 2), torch.randn(3, 5, 8)
    q, k, v = block.qkv(block.norm_attention(tokens)).split(8, dim=-1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 2.0).softmax(dim=-1)
        heads.append(weights @ v[..., part])
    after = tokens + block.out(torch.cat(heads, dim=-1))
    hidden = torch.nn.functional.gelu(block.up(block.norm_mlp(after)))
    torch.testing.assert_close(block(tokens), after + block.down(hidden), atol=1e-5, rtol=1e-4)
