"""Policies saved by LeRobot give the actions that LeRobot gives, and name the file that cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lerobot_policies import CAMERAS, JOINTS, ROBOT, SIZE, SMALL, Saved, observation, reference

from resfit_ros.core.chunks import Chunking
from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.types import Observation
from resfit_ros.policies.chunked import ChunkedPolicy
from resfit_ros.policies.lerobot import described_robot, load
from resfit_ros.policies.loading import load_policy
from resfit_ros.policies.protocol import Camera
from resfit_ros.policies.reference import PolicyReference


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    pytest.importorskip("lerobot", reason="LeRobot is not installed")
    return {kind: Saved(tmp_path_factory.mktemp(kind), kind) for kind in SMALL}


@pytest.mark.parametrize(("kind", "horizon"), [("act", 6), ("diffusion", 8)])
def test_when_every_step_is_inferred_expect_lerobot_s_actions_to_the_last_bit(saved, kind, horizon):
    policy, theirs = saved[kind].load(seed=5), saved[kind]
    policy.reset(3)
    theirs.policy.reset()
    past = []
    for step in range(4):
        shown = observation(step, 3)
        if policy.history:
            policy.recall(past[-policy.history :])
        past.append(shown)
        chunk = policy.infer(shown)
        np.testing.assert_array_equal(chunk, theirs.chunk(shown, 5))
        assert chunk.shape == (horizon, JOINTS) == (policy.spec.horizon, policy.spec.action_dim)
        assert chunk.dtype == np.float32 and np.ptp(chunk) > 0.1


def test_when_nothing_came_before_expect_the_observation_repeated(saved):
    policy, theirs = saved["diffusion"].load(), saved["diffusion"]
    policy.reset(1)
    policy.infer(observation(0))
    shown = observation(8)
    theirs.policy.reset()  # LeRobot's queues then begin with copies
    np.testing.assert_array_equal(policy.infer(shown), theirs.chunk(shown))


def test_when_chunks_are_executed_in_part_expect_the_step_before_and_not_the_inference_before(saved):
    policy, theirs = saved["diffusion"].load(), saved["diffusion"]
    chunked = ChunkedPolicy(policy, Chunking(4))
    chunked.reset(1)
    for step in range(5):
        base, _ = chunked.action(observation(step))
    theirs.policy.reset()
    theirs.chunk(observation(3))
    np.testing.assert_array_equal(base, theirs.chunk(observation(4))[0])


def test_when_observations_were_recalled_expect_them_used_once(saved):
    policy, shown = saved["diffusion"].load(), observation(1)
    policy.reset(1)
    expected = policy.infer(shown)
    policy.recall([observation(0)])
    assert not np.array_equal(policy.infer(shown), expected)
    np.testing.assert_array_equal(policy.infer(shown), expected)


def test_when_the_seed_or_the_step_differs_expect_other_noise(saved):
    shown = observation(0)
    later = Observation(0, 1, 4, shown.state, shown.images)
    policy = saved["diffusion"].load()
    chunks = [policy.infer(shown), policy.infer(later), saved["diffusion"].load(seed=1).infer(shown)]
    assert not np.array_equal(chunks[0], chunks[1]) and not np.array_equal(chunks[0], chunks[2])


def test_when_noise_is_drawn_expect_that_of_others_unchanged(saved):
    policy = saved["diffusion"].load()
    before = torch.random.get_rng_state()
    policy.infer(observation())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_when_a_policy_is_loaded_expect_a_spec_in_the_robot_s_terms(saved):
    spec = saved["act"].load().spec
    assert spec.cameras == (Camera("front", *SIZE), Camera("wrist", *SIZE))
    assert (spec.state_dim, spec.action_dim, spec.joint_names) == (JOINTS, JOINTS, ())
    assert spec.config["options"]["cameras"] == ["top=front"]
    assert spec.name == f"lerobot:{spec.identity[:12]}"
    assert json.loads(json.dumps(spec.config)) == spec.config


def test_when_a_described_robot_is_used_expect_the_same_chunk(saved):
    described = PolicyReference("lerobot", str(saved["act"].directory))
    policy, shown = load_policy(described, described_robot(described), Chunking(1)), observation()
    same = Observation(0, 1, 0, shown.state[:JOINTS], shown.images[::-1])
    np.testing.assert_array_equal(policy.infer(same), saved["act"].load().infer(shown))


def test_when_a_picture_changes_its_size_expect_the_feature_named(saved):
    small = tuple(np.zeros((16, 16, 3), np.uint8) for _ in CAMERAS)
    words = r"'observation.images.top' has shape \(16, 16, 3\), expected \(32, 40, 3\)"
    with pytest.raises(DataError, match=words):
        saved["act"].load().infer(Observation(0, 1, 0, observation().state, small))


def copied(source: Path, target: Path) -> Path:
    """Links, but for files of text: weights are large."""
    for file in source.iterdir():
        if file.suffix == ".json":
            (target / file.name).write_text(file.read_text())
        else:
            (target / file.name).symlink_to(file)
    return target


def test_when_any_part_or_option_changes_expect_another_identity(saved, tmp_path):
    source = saved["act"].directory
    one = saved["act"].load().spec.identity
    assert saved["act"].load().spec.identity == one
    assert saved["act"].load(task="lift").spec.identity != one
    for name in ("config.json", "policy_postprocessor.json"):
        (tmp_path / name).mkdir()
        copy = copied(source, tmp_path / name)
        (copy / name).write_text((copy / name).read_text() + " ")
        assert load(reference(copy, cameras=["top=front"]), ROBOT).spec.identity != one


def test_when_the_weights_are_cut_short_expect_the_file_named(saved, tmp_path):
    directory = copied(saved["act"].directory, tmp_path)
    weights = directory / "model.safetensors"
    half = weights.read_bytes()[:5000]
    weights.unlink()  # a link
    weights.write_bytes(half)
    with pytest.raises(DataError, match="model.safetensors: cannot be used: .*; damaged, or saved by"):
        load(reference(directory, cameras=["top=front"]), ROBOT)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("config.json", '"n_heads"', '"heads"', r"config.json: .*heads.*; saved by another version than LeRobot \d"),
        ("config.json", '"act"', '"act9"', r"config.json: .*act9.*; saved by another version than LeRobot \d"),
        ("config.json", '"dim_model": 16', '"dim_model": 32', "model.safetensors: .*size mismatch"),
        ("policy_preprocessor.json", "normalizer_processor", "normaliser", "preprocessor.json or .*'normaliser'"),
    ],
)
def test_when_a_file_is_of_another_version_expect_it_named(saved, tmp_path, name, old, new, words):
    directory = copied(saved["act"].directory, tmp_path)
    (directory / name).write_text((directory / name).read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=f"(?s){words}"):
        load(reference(directory, cameras=["top=front"]), ROBOT)


def test_when_cuda_is_asked_for_and_missing_expect_advice(saved):
    if torch.cuda.is_available():
        pytest.skip("a GPU is there")
    with pytest.raises(ConfigError, match="device is cuda, but PyTorch finds no CUDA here; set device to cpu"):
        saved["act"].load(device="cuda")
