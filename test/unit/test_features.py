"""Image features of a frozen network, stored in the pictures' place."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from builders import identity_normaliser, small_config
from learning_builders import CAMERAS, TINY_VISION, segment_with_images
from torch import nn

from resfit_ros.core.errors import ConfigError, DataError, ShapeError
from resfit_ros.core.types import Observation
from resfit_ros.learning.checkpoint import load_run_actor, save_checkpoint
from resfit_ros.learning.features import PICTURES_AT_ONCE, FeatureExtractor, feature_extractor
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.trainer import Trainer
from resfit_ros.learning.weights import load_actor, pack

# TorchScript is deprecated, and still the one file that holds a whole network.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
NORMALISER = identity_normaliser(3, 2)
PER_CAMERA = 3 * 2 * 2


def traced(directory: Path, network: nn.Module, name: str = "network.pt") -> Path:
    torch.jit.trace(network, torch.zeros(2, 3, 16, 16)).save(str(directory / name))
    return directory / name


def pooling(scale: float = 1.0) -> nn.Module:
    """Means of the four quarters of each channel, times `scale`."""
    layer = nn.Conv2d(3, 3, 1, bias=False)
    layer.weight.data = scale * torch.eye(3)[:, :, None, None]
    return nn.Sequential(layer, nn.AdaptiveAvgPool2d(2), nn.Flatten())


@pytest.fixture
def extractor(tmp_path) -> Path:
    return traced(tmp_path, pooling())


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (count, *size, 3), np.uint8) for size in CAMERAS]


# --- the extractor -----------------------------------------------------------------------------


def test_when_called_expect_the_networks_features_of_pictures_scaled_to_one(extractor):
    images = pictures(5)
    features = FeatureExtractor(extractor, CAMERAS)(images)
    assert (features.shape, features.dtype) == ((5, 2 * PER_CAMERA), np.float32)
    quarter = images[0][:, :8, 8:].mean(axis=(1, 2)) / 255  # upper right, per channel
    np.testing.assert_allclose(features[:, [1, 5, 9]], quarter, atol=1e-6)
    lower_left = images[1][:, 5:, :10].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(features[:, [PER_CAMERA + c for c in (2, 6, 10)]], lower_left, atol=1e-6)


def test_when_there_are_many_pictures_expect_each_ones_own_features(extractor):
    network, images = FeatureExtractor(extractor, CAMERAS), pictures(2 * PICTURES_AT_ONCE + 3)
    together = network(images)
    for i in (0, PICTURES_AT_ONCE - 1, PICTURES_AT_ONCE, 2 * PICTURES_AT_ONCE + 2):
        alone = network([camera[i : i + 1] for camera in images])
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-6)


def test_when_loaded_expect_its_size_and_the_hash_of_the_file(extractor):
    network = FeatureExtractor(extractor, CAMERAS)
    assert (network.size, network.sha256) == (2 * PER_CAMERA, sha256(extractor.read_bytes()))


def test_when_asked_for_again_expect_the_one_already_loaded(extractor):
    assert feature_extractor(str(extractor), CAMERAS) is feature_extractor(str(extractor), CAMERAS)
    assert feature_extractor(str(extractor), CAMERAS[:1]).size == PER_CAMERA


class TwoOutputs(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)), x


class OneForAll(nn.Module):
    def forward(self, x):
        return x.mean(dim=(0, 2, 3))[None]


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(3, 2, 12),
        TwoOutputs(),
    ],
    ids=["another picture size", "four dimensions", "larger than the picture", "two outputs"],
)
def test_when_network_does_not_fit_the_pictures_expect_a_sentence(tmp_path, network):
    path = traced(tmp_path, network)
    with pytest.raises(ConfigError, match=r"feature_extractor .*network.pt: .*image_height") as refused:
        FeatureExtractor(path, CAMERAS)
    assert "\n" not in str(refused.value)


def test_when_network_mixes_pictures_expect_refusal_when_it_shows(tmp_path):
    network = FeatureExtractor(traced(tmp_path, OneForAll()), CAMERAS)
    with pytest.raises(ShapeError, match="for 4 pictures"):
        network(pictures(4))


@pytest.mark.parametrize("content", [None, b"", b"something else"], ids=["missing", "empty", "text"])
def test_when_file_is_no_network_expect_a_sentence_that_names_it(tmp_path, content):
    path = tmp_path / "network.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"network.pt: not a readable TorchScript file") as refused:
        FeatureExtractor(path, CAMERAS)
    assert "torch.jit.trace" in str(refused.value) and "\n" not in str(refused.value)


def test_when_images_are_not_used_expect_the_setting_refused(extractor):
    with pytest.raises(ConfigError, match="use_images"):
        small_config(feature_extractor=str(extractor))


# --- training on features ----------------------------------------------------------------------


def make_trainer(extractor: Path, **changes) -> Trainer:
    config = small_config(**TINY_VISION, feature_extractor=str(extractor), actor_lr=0.01, **changes)
    trainer = Trainer(config, NORMALISER, "cpu", CAMERAS)
    trainer.add(segment_with_images(np.random.default_rng(0), 20))
    trainer.add_demonstrations([segment_with_images(np.random.default_rng(1), 8)])
    return trainer


def train(trainer: Trainer) -> Trainer:
    while trainer.train_one():
        pass
    assert trainer.agent.actor_updates > 0
    return trainer


def observation(seed: int = 0) -> tuple[Observation, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = tuple(rng.integers(0, 256, (*size, 3), np.uint8) for size in CAMERAS)
    return Observation(0, 0, 0, np.ones(3, np.float32), images), np.ones(2, np.float32)


def test_when_training_on_features_expect_them_stored_and_no_pictures(extractor):
    trainer = make_trainer(extractor)
    for buffer in (trainer.online, trainer.demonstrations):
        assert (buffer.layout.image_shapes, buffer.layout.feature_dim) == ((), 2 * PER_CAMERA)
        assert buffer.nbytes < 500 * 4 * (3 + 2 + 1 + 2 * PER_CAMERA + 2 + 3)
    batch, _ = trainer.sample()
    assert batch.observation.images == batch.next_observation.images == ()


def test_when_sampled_expect_the_features_of_that_steps_pictures(extractor):
    trainer = make_trainer(extractor, offline_fraction=0.0)
    segment = segment_with_images(np.random.default_rng(0), 20)
    features = FeatureExtractor(extractor, CAMERAS)(segment.images)
    batch, _ = trainer.sample()
    for state, given in zip(batch.observation.state, batch.observation.image_features, strict=True):
        (step,) = np.flatnonzero((segment.states == state.numpy()).all(axis=1))
        np.testing.assert_array_equal(given, features[step])


def test_when_training_on_features_expect_no_camera_network(extractor):
    encoder = train(make_trainer(extractor)).agent.actor.encoder
    assert [name for name, _ in encoder.named_parameters()] == ["feature_norm.weight", "feature_norm.bias"]
    assert encoder.feature_norm.weight.std() > 0  # the critics train it


def test_when_actor_is_sent_expect_the_same_actions_with_the_same_file(extractor):
    trainer = train(make_trainer(extractor))
    data = pack(trainer.agent.actor)
    policy = load_actor(data, sha256(data), NORMALISER, str(extractor))
    given = [policy(*observation(seed), 0.5) for seed in (0, 1)]
    here = trainer.acting_policy()
    np.testing.assert_array_equal(given, [here(*observation(seed), 0.5) for seed in (0, 1)])
    assert np.abs(given[0] - given[1]).max() > 0  # the pictures alone differ


def test_when_actor_is_loaded_from_a_run_expect_the_same_actions_with_the_same_file(extractor, tmp_path):
    trainer = train(make_trainer(extractor))
    save_checkpoint(tmp_path / "run", trainer, {})
    loaded = load_run_actor(tmp_path / "run", NORMALISER, extractor_path=str(extractor))
    expected = trainer.acting_policy(averaged=True)(*observation(), 0.5)
    np.testing.assert_array_equal(loaded.actor(*observation(), 0.5), expected)


def test_when_the_actors_extractor_is_not_given_expect_the_parameter_named(extractor):
    data = pack(make_trainer(extractor).agent.actor)
    with pytest.raises(DataError, match="set feature_extractor") as refused:
        load_actor(data, sha256(data), NORMALISER)
    assert sha256(extractor.read_bytes())[:12] in str(refused.value)


def test_when_another_extractor_is_given_expect_both_hashes(extractor, tmp_path):
    data = pack(make_trainer(extractor).agent.actor)
    other = traced(tmp_path, pooling(2.0), "other.pt")
    with pytest.raises(DataError, match="use the file they were trained with") as refused:
        load_actor(data, sha256(data), NORMALISER, str(other))
    for path in (extractor, other):
        assert sha256(path.read_bytes())[:12] in str(refused.value)


def test_when_q_of_a_segment_is_asked_for_expect_the_features_seen(extractor):
    trainer = train(make_trainer(extractor))
    segment = segment_with_images(np.random.default_rng(2), 6)
    q = trainer.q_values(segment)
    darker = dataclasses.replace(segment, images=tuple(i // 4 for i in segment.images))
    assert q.shape == (6,)
    assert np.abs(q - trainer.q_values(darker)).max() > 0
