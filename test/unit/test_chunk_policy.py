"""The built-in base policy on disk and behind the base-policy protocol."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from resfit_ros.core.errors import ConfigError, DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.parameters import BasePolicyParameters
from resfit_ros.core.types import Observation
from resfit_ros.learning.bc import BCConfig, ChunkNetwork
from resfit_ros.policies.chunk_policy import (
    CONFIG,
    WEIGHTS,
    ChunkPolicy,
    load_normaliser,
    policy_sha256,
    save_chunk_policy,
)
from resfit_ros.policies.loading import load_base_policy

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
    values = dict(joint_names=NAMES, policy_path=str(directory), execute_steps=4)
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
        ({"execute_steps": 5}, "execute_steps 5 is longer than the chunks .* \\(4\\)"),
        ({"policy_path": ""}, "policy_path is empty"),
    ],
)
def test_when_policy_does_not_fit_the_robot_expect_the_reason(directory, changes, message):
    with pytest.raises(ConfigError, match=message):
        load_base_policy(parameters(directory, **changes))
