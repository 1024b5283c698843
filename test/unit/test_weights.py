"""Actor weights across process borders."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from builders import small_config
from learning_builders import ACTIONS, CAMERAS, SHAPE, SHAPE_WITH_IMAGES, STATES, TINY_VISION, pictures
from safetensors.torch import save

from resfit_ros.core.errors import DataError
from resfit_ros.core.normalize import Normaliser
from resfit_ros.core.types import Observation
from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.hashes import sha256
from resfit_ros.learning.networks import ObservationShape, ResidualActor
from resfit_ros.learning.weights import ActorPolicy, load_actor, pack

SCALING = Normaliser(("a", "b"), [0.1, -0.2], [0.5, 1.5], [0.3] * STATES, [2.0] * STATES)


def make_actor(shape: ObservationShape = SHAPE, **changes) -> ResidualActor:
    torch.manual_seed(0)
    actor = ResidualActor(shape, small_config(**changes))
    torch.nn.init.normal_(actor.head.weight)
    return actor


def reload(data: bytes, normaliser: Normaliser = SCALING) -> ActorPolicy:
    return load_actor(data, sha256(data), normaliser)


def seen(seed: int = 0, cameras=()) -> tuple[Observation, np.ndarray]:
    """An observation and its base action, as they come from the robot."""
    rng = np.random.default_rng(seed)
    state, base = (rng.standard_normal(n).astype(np.float32) for n in (STATES, ACTIONS))
    images = tuple(pictures(seed, 1, size)[0].numpy() for size in cameras)
    return Observation(0, 0, 0, state, images), base


def as_batch(observation: Observation, base: np.ndarray, phase: float) -> ObservationBatch:
    return ObservationBatch(
        torch.from_numpy(SCALING.normalise_state(observation.state))[None],
        torch.from_numpy(SCALING.normalise_action(base))[None],
        torch.tensor([[phase]]),
        tuple(torch.from_numpy(image)[None] for image in observation.images),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hidden_width": 32, "hidden_layers": 1},
        {"hidden_width": 8, "hidden_layers": 3},
        {"layer_norm": False},
        {"rlpd": True},
    ],
)
def test_when_loaded_expect_the_torch_actors_output(changes):
    actor = make_actor(**changes)
    policy = reload(pack(actor))
    observation, base = seen()
    expected = actor(as_batch(observation, base, 0.25))[0].detach().numpy()
    given = policy(observation, base, 0.25)
    np.testing.assert_array_equal(given, expected)
    assert given.dtype == np.float32
    assert np.abs(given).max() > 0.05


def test_when_actor_sees_images_expect_its_encoders_in_the_same_file():
    actor = make_actor(SHAPE_WITH_IMAGES, **TINY_VISION)
    policy = reload(pack(actor))
    for seed in range(3):
        observation, base = seen(seed, CAMERAS)
        expected = actor(as_batch(observation, base, 0.25))[0].detach().numpy()
        np.testing.assert_array_equal(policy(observation, base, 0.25), expected)


def test_when_actor_does_not_see_images_expect_those_of_the_observation_ignored():
    policy = reload(pack(make_actor()))
    (plain, base), (with_pictures, _) = seen(), seen(cameras=CAMERAS)
    assert policy(plain, base, 0.5).tolist() == policy(with_pictures, base, 0.5).tolist()


@pytest.mark.parametrize("cameras", [(), CAMERAS[:1], CAMERAS[::-1], ((16, 16), (10, 21))])
def test_when_observation_has_other_pictures_expect_both_sizes(cameras):
    policy = reload(pack(make_actor(SHAPE_WITH_IMAGES, **TINY_VISION)))
    with pytest.raises(DataError) as refused:
        policy(*seen(cameras=cameras), 0.5)
    assert str(list(CAMERAS)) in str(refused.value) and str(list(cameras)) in str(refused.value)


def test_when_actor_is_new_expect_exactly_zero():
    policy = reload(pack(ResidualActor(SHAPE, small_config())))
    assert policy(*seen(), 0.5).tolist() == [0, 0]


def test_when_packed_expect_the_network_described_beside_the_weights():
    data = pack(make_actor(SHAPE_WITH_IMAGES, **TINY_VISION))
    length = int.from_bytes(data[:8], "little")
    network = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["network"])
    assert ObservationShape.from_dict(network["shape"]) == SHAPE_WITH_IMAGES
    assert (network["config"]["vit_patch"], network["config"]["hidden_width"]) == (8, 16)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [({"action_dim": 3}, "3 actions, this robot .* 2"), ({"state_dim": 9}, "9 state numbers, this .* 4")],
)
def test_when_robot_has_other_sizes_expect_both_named(change, words):
    with pytest.raises(DataError, match=words):
        reload(pack(make_actor(dataclasses.replace(SHAPE, **change))))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_when_weights_are_not_finite_expect_refusal(bad):
    actor = make_actor()
    with torch.no_grad():
        actor.trunk[0].weight[3, 2] = bad
    with pytest.raises(DataError, match="NaN or Inf"):
        reload(pack(actor))


def test_when_encoder_weights_are_not_finite_expect_refusal():
    actor = make_actor(SHAPE_WITH_IMAGES, **TINY_VISION)
    with torch.no_grad():
        actor.encoder.cameras[1].position[0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN or Inf"):
        reload(pack(actor))


def described(**changes) -> bytes:
    """Weights whose description says something else than they are."""
    actor = make_actor()
    network = {**actor.description, **changes}
    return save(actor.state_dict(), metadata={"network": json.dumps(network)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not safetensors",
        save({}),
        save({"head.weight": torch.zeros(2)}),
        save({"head.weight": torch.zeros(2, 16), "other": torch.zeros(1)}),
        save({"head.weight": torch.zeros(2, 16)}, metadata={"network": "{"}),
        save({"head.weight": torch.zeros(2, 16)}, metadata={"network": "{}"}),
        described(shape=None),
        described(shape={"state_dim": 4}),
        described(shape={**make_actor().description["shape"], "unknown": 1}),
        described(config={"hidden_width": 32}),
        described(config={"hidden_width": -1}),
        described(config={"no_such_setting": 1}),
    ],
    ids=[
        "empty",
        "text",
        "no tensors",
        "flat head",
        "other tensors",
        "broken description",
        "empty description",
        "no shape",
        "half a shape",
        "unknown size",
        "other width",
        "impossible width",
        "unknown setting",
    ],
)
def test_when_file_holds_something_else_expect_refusal(data):
    with pytest.raises(DataError, match="actor weights"):
        reload(data)


def test_when_actor_is_used_expect_its_weights_frozen():
    actor = make_actor()
    policy = reload(pack(actor))
    assert not any(p.requires_grad for p in policy._actor.parameters())
