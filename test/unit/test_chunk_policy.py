"""The built-in base policy on disk and behind the base-policy protocol."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.observation import StateLayout
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.core.types import Observation
from resfit_ros.learning.bc import BCConfig, ChunkNetwork, build_network
from resfit_ros.learning.bc_data import BCInputs, CameraSize
from resfit_ros.policies.chunk_policy import (
    CONFIG,
    WEIGHTS,
    ChunkPolicy,
    load,
    load_normaliser,
    policy_sha256,
    save_chunk_policy,
)
from resfit_ros.policies.loading import load_base_policy
from resfit_ros.policies.protocol import Camera, Robot
from resfit_ros.policies.reference import parse_reference

NAMES = ("a", "b")
BC = BCConfig(horizon=4, hidden_width=8, hidden_layers=1)
SCALING = Normaliser(NAMES, [0.5, -0.5], [0.5, 2.0], [1.0] * 4, [2.0] * 4)


@pytest.fixture
def network() -> ChunkNetwork:
    torch.manual_seed(0)
    return ChunkNetwork(4, 2, BC)


@pytest.fixture
def directory(tmp_path: Path, network: ChunkNetwork) -> Path:
    save_chunk_policy(tmp_path / "policy", network, SCALING, BC)
    return tmp_path / "policy"


def parameters(directory: Path | str, **changes) -> BasePolicyParameters:
    values = dict(joint_names=NAMES, policy=str(directory), execute_steps=4)
    return BasePolicyParameters(**(values | changes))


def test_when_loaded_expect_the_networks_chunk_in_joint_units(directory, network):
    state = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    chunk = ChunkPolicy(directory).infer(Observation(0, 1, 0, state))
    normalised = network(torch.from_numpy(SCALING.normalise_state(state))[None])[0]
    expected = SCALING.denormalise_action(normalised.detach().numpy())
    np.testing.assert_array_equal(chunk, expected)
    assert (chunk.shape, chunk.dtype) == ((4, 2), np.float32)


def test_when_loaded_expect_what_it_needs_and_gives(directory):
    spec = ChunkPolicy(directory).spec
    assert (spec.state_dim, spec.joint_names, spec.horizon) == (4, NAMES, 4)


def test_when_loaded_expect_the_scaling_it_was_trained_with(directory):
    assert load_normaliser(directory).sha256 == SCALING.sha256


def test_when_directory_exists_expect_it_not_overwritten(directory, network):
    before = policy_sha256(directory)
    with pytest.raises(DataError, match="already exists"):
        save_chunk_policy(directory, network, SCALING, BC)
    assert policy_sha256(directory) == before


def test_when_weights_change_expect_another_identity(directory):
    before = policy_sha256(directory)
    data = bytearray((directory / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (directory / WEIGHTS).write_bytes(data)
    assert policy_sha256(directory) != before


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_when_a_file_is_missing_expect_it_named(directory, name):
    (directory / name).unlink()
    with pytest.raises(DataError, match=name):
        ChunkPolicy(directory)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_when_a_file_is_cut_short_expect_refusal(directory, name):
    data = (directory / name).read_bytes()
    (directory / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="policy"):
        ChunkPolicy(directory)


def test_when_weights_are_of_another_network_expect_refusal(directory):
    description = json.loads((directory / CONFIG).read_text())
    description["bc"]["hidden_width"] = 16
    (directory / CONFIG).write_text(json.dumps(description))
    with pytest.raises(DataError, match="does not fit"):
        ChunkPolicy(directory)


def test_when_configuration_fits_expect_the_policy(directory):
    assert load_base_policy(parameters(directory)).spec.horizon == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_names": ("a", "c")}, "joint 1 is 'b' there and 'c' here"),
        ({"joint_names": ("a", "b", "c")}, "2 joints there against 3 here"),
        ({"state": ("joint_positions",)}, "expects a state of 4 numbers, but .* gives 2"),
        ({"execute_steps": 5}, "execute_steps \\+ prefetch_steps \\+ blend_steps is 5, longer than the chunks .* \\(4\\)"),
        ({"policy": ""}, "policy is empty"),
    ],
)
def test_when_policy_does_not_fit_the_robot_expect_the_reason(directory, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_base_policy(parameters(directory, **changes))


# -- transformers, cameras, and directories of before --------------------------------------

SMALL: dict[str, Any] = dict(
    horizon=4, width=16, heads=2, encoder_layers=1, decoder_layers=1, latent_dim=2, stem_channels=4,
    hidden_width=8, flow_steps=3,
)  # fmt: skip
SEEN = BCInputs((CameraSize("left", 12, 16), CameraSize("right", 12, 16)), ((0, 3),), 25.0)
RNG = np.random.default_rng(0)
STATE = RNG.standard_normal(4).astype(np.float32)
LEFT, TOP, RIGHT = RNG.integers(0, 256, (3, 12, 16, 3), np.uint8)


def saved(directory: Path, inputs: BCInputs = SEEN, **settings) -> tuple[Path, torch.nn.Module]:
    """A policy with random weights, and its network."""
    config = BCConfig(**({"kind": "flow", **SMALL, "use_images": bool(inputs.cameras)} | settings))
    torch.manual_seed(0)
    network = build_network(len(inputs.columns(4)), 2, config, inputs.cameras).eval()
    save_chunk_policy(directory, network, SCALING, config, inputs)
    return directory, network


def observation(episode_id: int = 1, step: int = 0, images=(LEFT, RIGHT)) -> Observation:
    return Observation(0, episode_id, step, STATE, images)


@pytest.mark.parametrize("kind", ["mlp", "act", "flow"])
def test_when_saved_and_loaded_expect_the_same_chunks(tmp_path, kind):
    inputs = BCInputs(state_slices=((1, 4),))
    directory, network = saved(tmp_path / "policy", inputs, kind=kind)
    policy = ChunkPolicy(directory)
    noise = policy._noise(observation())
    state = torch.from_numpy(SCALING.normalise_state(STATE))[None, 1:4]
    with torch.no_grad():
        expected = SCALING.denormalise_action(network.chunk(state, (), noise)[0].numpy())
    np.testing.assert_array_equal(policy.infer(observation(images=())), expected)
    np.testing.assert_array_equal(ChunkPolicy(directory).infer(observation(images=())), expected)


def test_when_a_flow_is_asked_in_another_order_expect_the_same_chunk_per_episode_and_step(tmp_path):
    directory, _ = saved(tmp_path / "policy")
    one, other = ChunkPolicy(directory), ChunkPolicy(directory)
    asked = [(1, 0), (1, 8), (2, 0)]
    forward = {key: one.infer(observation(*key)) for key in asked}
    other.reset(2)
    backward = {key: other.infer(observation(*key)) for key in reversed(asked)}
    for key in asked:
        np.testing.assert_array_equal(forward[key], backward[key])
    assert not np.array_equal(forward[1, 0], forward[1, 8])
    assert not np.array_equal(forward[1, 0], forward[2, 0])


def test_when_the_seed_of_a_flow_differs_expect_another_chunk_and_identity(tmp_path):
    one, other = (ChunkPolicy(saved(tmp_path / f"p{seed}", seed=seed)[0]) for seed in (0, 1))
    assert not np.array_equal(one.infer(observation()), other.infer(observation()))
    assert one.spec.identity != other.spec.identity


def test_when_cameras_are_seen_expect_them_with_rate_and_whole_state_in_the_spec(tmp_path):
    spec = ChunkPolicy(saved(tmp_path / "policy")[0]).spec
    assert spec.cameras == (Camera("left", 12, 16), Camera("right", 12, 16))
    assert (spec.control_hz, spec.state_dim, spec.config["kind"]) == (25.0, 4, "flow")
    json.dumps(spec.config)


def test_when_the_robot_has_more_cameras_expect_them_picked_by_name(tmp_path):
    directory, _ = saved(tmp_path / "policy")
    cameras = tuple(Camera(name, 12, 16) for name in ("top", "right", "left"))
    robot = Robot(NAMES, StateLayout(("joint_positions", "joint_velocities"), 2), cameras, 25.0)
    policy = load(parse_reference(str(directory)), robot)
    np.testing.assert_array_equal(
        policy.infer(observation(images=(TOP, RIGHT, LEFT))), ChunkPolicy(directory).infer(observation())
    )


@pytest.mark.parametrize(
    ("images", "message"),
    [((LEFT,), "needs 2 cameras, but the observation holds 1"), ((LEFT, RIGHT[1:]), "camera 'right' has shape")],
)
def test_when_pictures_are_missing_or_of_another_size_expect_refusal(tmp_path, images, message):
    policy = ChunkPolicy(saved(tmp_path / "policy")[0])
    with pytest.raises(DataError, match=message):
        policy.infer(observation(images=images))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"camera_names": ("left",)}, "needs camera 'right'"),
        ({"camera_names": ("right", "left"), "image_height": 24}, "camera_?.*12 x 16"),
        ({"control_hz": 20.0}, "25 Hz, but control_hz is 20"),
    ],
)
def test_when_cameras_or_rate_do_not_fit_the_robot_expect_the_reason(tmp_path, changes, message):
    fitting = dict(camera_names=("left", "right"), image_height=12, image_width=16, control_hz=25.0)
    directory, _ = saved(tmp_path / "policy")
    with pytest.raises(ConfigError, match=message):
        load_base_policy(parameters(directory, **(fitting | changes)))


def rewritten(directory: Path, change) -> Path:
    description = json.loads((directory / CONFIG).read_text())
    change(description)
    (directory / CONFIG).write_text(json.dumps(description))
    return directory


def test_when_the_directory_is_of_the_kind_of_before_expect_the_same_chunks(directory):
    before = ChunkPolicy(directory).infer(observation())

    def as_it_was(description):
        description["kind"] = "bc_chunk"
        del description["inputs"]
        kept = ("demonstrations", "horizon", "hidden_width", "hidden_layers", "updates", "batch_size", "seed")
        description["bc"] = {key: description["bc"][key] for key in kept}

    old = ChunkPolicy(rewritten(directory, as_it_was))
    np.testing.assert_array_equal(old.infer(observation()), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(kind="diffusion"), "unknown kind 'diffusion'.* known: mlp, act, flow"),
        (lambda d: d.update(kind=["act"]), "damaged policy directory|unknown kind"),
        (lambda d: d.pop("inputs"), "damaged policy directory"),
        (lambda d: d["inputs"].update(cameras=[{"name": "left"}]), "damaged policy directory"),
        (lambda d: d["inputs"].update(cameras=[]), "does not fit policy.json"),
        (lambda d: d["bc"].update(decoder_layers=2), "does not fit policy.json"),
    ],
)
def test_when_the_description_is_wrong_expect_the_directory_named(tmp_path, change, message):
    directory, _ = saved(tmp_path / "policy")
    with pytest.raises(DataError, match=message) as caught:
        ChunkPolicy(rewritten(directory, change))
    assert str(directory) in str(caught.value)


def test_when_writing_is_stopped_expect_nothing_left(tmp_path):
    def stop(directory: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_chunk_policy(tmp_path / "policy", ChunkNetwork(4, 2, BC), SCALING, BC, write_more=stop)
    assert list(tmp_path.iterdir()) == []


def test_when_files_are_added_expect_them_kept_and_the_identity_the_same(tmp_path, network, directory):
    def note(scratch: Path) -> None:
        (scratch / "training.json").write_text("{}")

    save_chunk_policy(tmp_path / "noted", network, SCALING, BC, write_more=note)
    assert (tmp_path / "noted" / "training.json").read_text() == "{}"
    assert policy_sha256(tmp_path / "noted") == policy_sha256(directory)
