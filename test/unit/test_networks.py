"""Observation encoder, residual actor and critic ensemble."""

import dataclasses
import json

import pytest
import torch
from builders import small_config
from learning_builders import (
    ACTIONS,
    CAMERAS,
    SHAPE,
    SHAPE_WITH_IMAGES,
    STATES,
    TINY_VISION,
    observations,
)
from torch.nn import functional

from resfit_ros.learning.batch import ObservationBatch
from resfit_ros.learning.networks import (
    CriticEnsemble,
    ObservationEncoder,
    ObservationShape,
    ResidualActor,
)

MEMBERS, BATCH, FEATURES = 4, 7, 5


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def new_critic(bias: torch.Tensor | None = None, **changes) -> CriticEnsemble:
    config = small_config(**({"critic_ensemble": MEMBERS} | changes))
    return CriticEnsemble(FEATURES, ACTIONS, torch.zeros(1) if bias is None else bias, config)


@pytest.fixture(params=[True, False], ids=["layer norm", "no layer norm"])
def critic(request) -> CriticEnsemble:
    made = new_critic(torch.zeros(3), layer_norm=request.param)
    for parameter in made.parameters():  # layer norms begin alike: make every member its own
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(BATCH, FEATURES), torch.randn(BATCH, ACTIONS)


def member_alone(critic: CriticEnsemble, m: int, features, action) -> torch.Tensor:
    """Outputs (B, O) of member m with torch's own layers."""
    x = torch.cat((features, action), dim=-1)
    for layer in critic.layers:
        x = functional.linear(x, layer.linear.weight[m].T, layer.linear.bias[m, 0])
        if layer.gain is not None:
            x = functional.layer_norm(x, (x.shape[-1],), layer.gain[m, 0], layer.offset[m, 0])
        x = x.relu()
    return functional.linear(x, critic.head.weight[m].T, critic.head.bias[m, 0])


# --- actor -------------------------------------------------------------------------------------


def test_when_actor_is_new_expect_exactly_no_residual():
    actor = ResidualActor(SHAPE, small_config())
    residual = actor.direction(100 * torch.randn(50, actor.encoder.feature_dim))
    assert residual.shape == (50, ACTIONS)
    assert residual.abs().max() == 0


def test_when_head_is_large_expect_residual_within_one():
    actor = ResidualActor(SHAPE, small_config())
    torch.nn.init.normal_(actor.head.weight, std=100.0)
    residual = actor(observations(0, count=50))
    assert 0.9 < residual.abs().max() <= 1.0


@pytest.mark.parametrize(("layer_norm", "layers"), [(True, 2), (False, 3)])
def test_when_actors_hidden_layers_are_asked_expect_those_of_its_output(layer_norm, layers):
    actor = ResidualActor(SHAPE, small_config(layer_norm=layer_norm, hidden_layers=layers))
    torch.nn.init.normal_(actor.head.weight)
    features = actor.encode(observations(0))
    hidden = actor.hidden(features)
    assert [h.shape for h in hidden] == [(16, 16)] * layers
    torch.testing.assert_close(torch.tanh(actor.head(hidden[-1])), actor.direction(features))
    assert all(h.min() >= 0 for h in hidden)


# --- critics -----------------------------------------------------------------------------------


def test_when_ensemble_is_computed_at_once_expect_each_members_own_outputs(critic, inputs):
    together = critic(*inputs)
    assert together.shape == (MEMBERS, BATCH, 3)
    for m in range(MEMBERS):
        torch.testing.assert_close(together[m], member_alone(critic, m, *inputs), atol=1e-5, rtol=1e-5)


def test_when_members_are_chosen_expect_their_outputs_in_that_order(critic, inputs):
    chosen = critic(*inputs, torch.tensor([3, 1]))
    torch.testing.assert_close(chosen, critic(*inputs)[[3, 1]], atol=1e-6, rtol=1e-6)


def test_when_one_member_is_trained_expect_no_gradient_in_the_others(critic, inputs):
    critic(*inputs)[2].sum().backward()
    for parameter in critic.parameters():
        per_member = parameter.grad.flatten(1).abs().sum(dim=1)
        assert per_member[[0, 1, 3]].max() == 0
        assert per_member[2] > 0


def test_when_critics_hidden_layers_are_asked_expect_those_of_its_output(critic, inputs):
    hidden = critic.hidden(*inputs)
    assert [h.shape for h in hidden] == [(MEMBERS, BATCH, 16)] * 2
    torch.testing.assert_close(critic.head(hidden[-1]), critic(*inputs))


def test_when_critic_is_new_expect_values_near_zero_and_members_that_differ(inputs):
    q = new_critic(hidden_width=64)(*inputs)[..., 0]
    assert q.abs().max() < 0.05
    assert q.std(dim=0).min() > 0


def test_when_critic_is_new_expect_outputs_near_the_initial_bias(inputs):
    bias = torch.tensor([-3.0, 0.0, 2.0])
    outputs = new_critic(bias, hidden_width=64)(*inputs)
    assert (outputs - bias).abs().max() < 0.05


# --- encoder -----------------------------------------------------------------------------------


def test_when_encoded_expect_state_base_and_phase():
    encoder = ObservationEncoder(ObservationShape(2, 1), small_config())
    features = encoder(
        ObservationBatch(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0]]), torch.tensor([[0.5]]))
    )
    assert features.tolist() == [[1.0, 2.0, 3.0, 0.5]]
    assert encoder.feature_dim == 4


def test_when_there_are_cameras_expect_their_features_in_order_behind_the_rest():
    encoder = ObservationEncoder(SHAPE_WITH_IMAGES, small_config(**TINY_VISION))
    o = observations(0, count=3, cameras=CAMERAS)
    parts = [o.joined(), encoder.cameras[0](o.images[0]), encoder.cameras[1](o.images[1])]
    assert encoder.feature_dim == STATES + ACTIONS + 1 + 2 * 4
    torch.testing.assert_close(encoder(o), torch.cat(parts, dim=1), rtol=0, atol=0)


def test_when_features_come_precomputed_expect_them_normalised_and_no_camera_network():
    shape = dataclasses.replace(SHAPE_WITH_IMAGES, features=6, features_of="abc")
    encoder = ObservationEncoder(shape, small_config(**TINY_VISION))
    o = observations(0, count=3)
    given = 1000 * torch.randn(3, 6)
    o = dataclasses.replace(o, image_features=given)
    out = encoder(o)
    assert (len(encoder.cameras), encoder.feature_dim) == (0, STATES + ACTIONS + 1 + 6)
    assert out.shape == (3, encoder.feature_dim)
    torch.testing.assert_close(out[:, -6:], functional.layer_norm(given, (6,)))


def test_when_shape_travels_as_json_expect_it_back():
    shape = ObservationShape(3, 2, ((48, 64), (10, 20)), 12, "abc")
    assert ObservationShape.from_dict(json.loads(json.dumps(dataclasses.asdict(shape)))) == shape


def test_when_members_are_asked_without_gradient_expect_the_same_values(critic, inputs):
    features, action = inputs
    chosen = torch.tensor([2, 0])
    with torch.no_grad():
        quick = critic(features, action, chosen)
    torch.testing.assert_close(quick, critic(features, action, chosen).detach())
