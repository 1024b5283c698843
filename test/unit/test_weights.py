"""Actor weights across process borders."""

import numpy as np
import pytest
import torch
from safetensors.torch import save

from resfit_ros.core.errors import DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.networks import ObservationEncoder, ResidualActor
from resfit_ros.learning.weights import load_actor, pack, sha256

STATES, ACTIONS = 4, 2
SCALING = Normaliser(("a", "b"), [0.1, -0.2], [0.5, 1.5], [0.3] * STATES, [2.0] * STATES)


def make_actor(actions: int = ACTIONS, width: int = 16, layers: int = 2) -> ResidualActor:
    torch.manual_seed(0)
    actor = ResidualActor(ObservationEncoder(STATES, actions).feature_dim, actions, width, layers)
    torch.nn.init.normal_(actor.head.weight)
    return actor


def reload(data: bytes, normaliser: Normaliser = SCALING):
    return load_actor(data, sha256(data), normaliser)


@pytest.mark.parametrize(("width", "layers"), [(16, 2), (32, 1), (8, 3)])
def test_when_loaded_expect_the_torch_actors_output(width, layers):
    actor = make_actor(width=width, layers=layers)
    policy = reload(pack(actor))
    rng = np.random.default_rng(0)
    state, base = (rng.standard_normal(n).astype(np.float32) for n in (STATES, ACTIONS))
    observation = ObservationBatch(
        torch.from_numpy(SCALING.normalise_state(state))[None],
        torch.from_numpy(SCALING.normalise_action(base))[None],
        torch.tensor([[0.25]]),
    )
    expected = actor(ObservationEncoder(STATES, ACTIONS)(observation))[0].detach().numpy()
    given = policy(state, base, 0.25)
    np.testing.assert_array_equal(given, expected)
    assert given.dtype == np.float32
    assert np.abs(given).max() > 0.05


def test_when_actor_is_new_expect_exactly_zero():
    actor = ResidualActor(STATES + ACTIONS + 1, ACTIONS, 16, 2)
    policy = reload(pack(actor))
    assert policy(np.ones(STATES, np.float32), np.ones(ACTIONS, np.float32), 0.5).tolist() == [0, 0]


def test_when_hash_differs_expect_refusal():
    with pytest.raises(DataError, match="hash"):
        load_actor(pack(make_actor()), sha256(b"another"), SCALING)


@pytest.mark.parametrize("at", [0, 5, 100, -1])
def test_when_a_byte_is_flipped_expect_refusal(at):
    data = bytearray(pack(make_actor()))
    expected = sha256(bytes(data))
    data[at] ^= 1
    with pytest.raises(DataError, match="hash"):
        load_actor(bytes(data), expected, SCALING)


def test_when_robot_has_other_joints_expect_refusal():
    with pytest.raises(DataError, match="do not fit"):
        reload(pack(make_actor(actions=3)))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_when_weights_are_not_finite_expect_refusal(bad):
    actor = make_actor()
    with torch.no_grad():
        actor.trunk[0].weight[3, 2] = bad
    with pytest.raises(DataError, match="NaN or Inf"):
        reload(pack(actor))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not safetensors",
        save({}),
        save({"head.weight": torch.zeros(2)}),
        save({"head.weight": torch.zeros(2, 16), "other": torch.zeros(1)}),
    ],
    ids=["empty", "text", "no tensors", "flat head", "other tensors"],
)
def test_when_file_holds_something_else_expect_refusal(data):
    with pytest.raises(DataError):
        reload(data)


def test_when_actor_is_used_expect_its_weights_frozen():
    actor = make_actor()
    policy = reload(pack(actor))
    assert not any(p.requires_grad for p in policy._actor.parameters())
