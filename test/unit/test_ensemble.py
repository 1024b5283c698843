"""Layers of the critic ensemble against plain autograd; its backward pass is written by hand."""

import pytest
import torch
from torch.nn import functional

from resfit_ros.learning import ensemble
from resfit_ros.learning.ensemble import EPSILON, EnsembleLayer, EnsembleLinear

@pytest.fixture(autouse=True, params=[0, 1 << 60], ids=["member by member", "all at once"])
def path(request, monkeypatch):
    """Every test here takes both ways of computing: which one is faster depends on the size."""
    monkeypatch.setattr(ensemble, "LARGE_MEMBER", request.param)


MEMBERS, BATCH, INPUTS, OUTPUTS = 3, 5, 4, 6
PARAMETERS = ("linear.weight", "linear.bias", "gain", "offset")


def make_layer(norm: bool = True, dtype: torch.dtype = torch.float64, seed: int = 0) -> EnsembleLayer:
    """A layer each of whose members has its own parameters."""
    torch.manual_seed(seed)
    layer = EnsembleLayer(MEMBERS, INPUTS, OUTPUTS, norm).to(dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


def inputs(dtype: torch.dtype = torch.float64, members: int = MEMBERS) -> torch.Tensor:
    rng = torch.Generator().manual_seed(7)
    return torch.randn(members, BATCH, INPUTS, generator=rng, dtype=torch.float64).to(dtype)


def reference(layer: EnsembleLayer, x: torch.Tensor, members: list[int]) -> torch.Tensor:
    """Each member by itself with torch's own layers, (len(members), B, O)."""
    linear, outputs = layer.linear, []
    for x_m, m in zip(x, members, strict=True):
        y = functional.linear(x_m, linear.weight[m].T, linear.bias[m, 0])
        if layer.gain is not None:
            y = functional.layer_norm(y, (OUTPUTS,), layer.gain[m, 0], layer.offset[m, 0], EPSILON)
        outputs.append(y.relu())
    return torch.stack(outputs)


def gradients(layer: EnsembleLayer, x: torch.Tensor, output: torch.Tensor) -> list[torch.Tensor]:
    """Of a fixed weighted sum of `output`, by x and every parameter."""
    rng = torch.Generator().manual_seed(8)
    upstream = torch.randn(output.shape, generator=rng, dtype=torch.float64).to(output.dtype)
    return list(torch.autograd.grad(output, [x, *layer.parameters()], upstream))


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["double", "single"]
)
def test_when_computed_expect_outputs_and_all_gradients_of_plain_autograd(norm, dtype, tolerance):
    layer, x = make_layer(norm, dtype), inputs(dtype).requires_grad_()
    ours, plain = layer(x), reference(layer, x, [0, 1, 2])
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(ours, plain, **close)
    for one, other in zip(gradients(layer, x, ours), gradients(layer, x, plain), strict=True):
        torch.testing.assert_close(one, other, **close)


@pytest.mark.parametrize("norm", [True, False])
def test_when_differentiated_numerically_expect_the_written_gradients(norm):
    layer = make_layer(norm)
    names = [name for name, _ in layer.named_parameters()]

    def function(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(function, (inputs().requires_grad_(), *values))


@pytest.mark.parametrize("norm", [True, False])
def test_when_one_input_is_shared_by_all_members_expect_its_gradients_summed(norm):
    layer = make_layer(norm)
    x = inputs()[0].requires_grad_()
    ours = layer(x.expand(MEMBERS, -1, -1))
    plain = reference(layer, x.expand(MEMBERS, -1, -1), [0, 1, 2])
    for one, other in zip(gradients(layer, x, ours), gradients(layer, x, plain), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("norm", [True, False])
def test_when_weights_are_frozen_expect_the_gradient_of_the_input_alone(norm):
    layer, x = make_layer(norm), inputs().requires_grad_()
    wanted = gradients(layer, x, reference(layer, x, [0, 1, 2]))[0]
    layer.requires_grad_(False)
    layer(x).backward(torch.randn(
        MEMBERS, BATCH, OUTPUTS, generator=torch.Generator().manual_seed(8), dtype=torch.float64
    ))
    torch.testing.assert_close(x.grad, wanted)
    assert all(p.grad is None for p in layer.parameters())


def test_when_input_needs_no_gradient_expect_those_of_the_weights():
    layer, x = make_layer(), inputs()
    layer(x).sum().backward()
    plain = make_layer()
    reference(plain, x, [0, 1, 2]).sum().backward()
    for name in PARAMETERS:
        torch.testing.assert_close(layer.get_parameter(name).grad, plain.get_parameter(name).grad)


@pytest.mark.parametrize("norm", [True, False])
def test_when_members_are_chosen_expect_their_outputs_and_gradients_in_that_order(norm):
    layer, chosen = make_layer(norm), [2, 0]
    x = inputs(members=2).requires_grad_()
    ours, plain = layer(x, torch.tensor(chosen)), reference(layer, x, chosen)
    torch.testing.assert_close(ours, plain)
    for one, other in zip(gradients(layer, x, ours), gradients(layer, x, plain), strict=True):
        torch.testing.assert_close(one, other)
    by_weight = gradients(layer, x, layer(x, torch.tensor(chosen)))[1]
    assert by_weight[1].abs().max() == 0  # member 1 was not asked


def test_when_there_is_no_layer_norm_expect_linear_and_relu():
    layer, x = make_layer(norm=False), inputs()
    for m in range(MEMBERS):
        expected = (x[m] @ layer.linear.weight[m] + layer.linear.bias[m]).relu()
        torch.testing.assert_close(layer(x)[m], expected)
    assert layer.gain is None and layer.offset is None


def test_when_layer_norm_is_new_expect_zero_mean_and_unit_variance_before_the_relu():
    torch.manual_seed(0)
    layer = EnsembleLayer(MEMBERS, INPUTS, 64, norm=True)
    x = 5 + 3 * torch.randn(MEMBERS, BATCH, INPUTS)
    with torch.no_grad():
        positive = layer(x)
        layer.gain.neg_()
        y = positive - layer(x)  # relu(y) - relu(-y)
    torch.testing.assert_close(y.mean(dim=-1), torch.zeros(MEMBERS, BATCH), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        y.std(dim=-1, correction=0), torch.ones(MEMBERS, BATCH), atol=1e-3, rtol=0
    )


def test_when_gradients_are_switched_off_expect_the_same_output():
    layer, x = make_layer(), inputs()
    with torch.no_grad():
        torch.testing.assert_close(layer(x), reference(layer, x, [0, 1, 2]))


def test_when_an_input_is_not_a_number_expect_it_to_show():
    layer, x = make_layer(), inputs()
    x[1, 2, 3] = float("nan")
    bad = layer(x).isnan().any(dim=-1)
    assert bad.nonzero().tolist() == [[1, 2]]


def test_when_linear_layers_are_initialised_expect_the_bound_of_their_fan_in():
    torch.manual_seed(0)
    weight = EnsembleLinear(MEMBERS, 100, 50, gain=0.5).weight
    assert 0.049 < weight.abs().max() <= 0.05


@pytest.mark.parametrize("norm", [True, False])
def test_when_one_member_is_asked_expect_its_part_of_the_ensemble(norm):
    layer, x = make_layer(norm), inputs()
    with torch.no_grad():
        for m in range(MEMBERS):
            torch.testing.assert_close(layer.member(x[m], m), layer(x)[m])
            torch.testing.assert_close(layer.linear.member(x[m], m), layer.linear(x)[m])
