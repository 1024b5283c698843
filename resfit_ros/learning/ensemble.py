"""Layers of M independent critics computed together: (M, B, I) to (M, B, O)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

EPSILON = 1e-5  # of the layer normalisation
LARGE_MEMBER = 32768  # activations of one member; with fewer, calls cost more than memory


class EnsembleLinear(nn.Module):
    """M linear layers as one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float = 1.0) -> None:
        super().__init__()
        bound = gain / math.sqrt(inputs)
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        # baddbmm would first copy the bias to every row.
        return torch.bmm(x, _pick(self.weight, chosen)).add_(_pick(self.bias, chosen))

    def member(self, x: Tensor, m: int) -> Tensor:
        """Member m alone, (B, I) to (B, O)."""
        return torch.mm(x, self.weight[m]).add_(self.bias[m])


class EnsembleLayer(nn.Module):
    """Linear layer, layer normalisation (where wanted) and ReLU of every member."""

    def __init__(self, members: int, inputs: int, outputs: int, norm: bool) -> None:
        super().__init__()
        self.linear = EnsembleLinear(members, inputs, outputs)
        self.gain = nn.Parameter(torch.ones(members, 1, outputs)) if norm else None
        self.offset = nn.Parameter(torch.zeros(members, 1, outputs)) if norm else None

    def forward(self, x: Tensor, chosen: Tensor | None = None) -> Tensor:
        """x (M, B, I), or (len(chosen), B, I) when only some members are asked."""
        if self.gain is None:
            return self.linear(x, chosen).relu_()
        gain, offset = _pick(self.gain, chosen), _pick(self.offset, chosen)
        if x.device.type == "cpu" and x.shape[-2] * gain.shape[-1] >= LARGE_MEMBER:
            weight, bias = _pick(self.linear.weight, chosen), _pick(self.linear.bias, chosen)
            return _MemberByMember.apply(x, weight, bias, gain, offset)
        z = layer_norm(self.linear(x, chosen), gain.shape[-1:], eps=EPSILON)
        return torch.addcmul(offset, z, gain).relu()

    def member(self, x: Tensor, m: int) -> Tensor:
        """Member m alone, (B, I) to (B, O)."""
        y = self.linear.member(x, m)
        if self.gain is not None:
            y = layer_norm(y, y.shape[-1:], self.gain[m, 0], self.offset[m, 0], EPSILON)
        return y.relu_()


def _pick(parameter: Tensor, chosen: Tensor | None) -> Tensor:
    return parameter if chosen is None else parameter[chosen]


class _MemberByMember(torch.autograd.Function):
    """relu(layer_norm(x W + b) * gain + offset), everything but the products one member at a time.

    A member's activations stay in a core's cache from the normalisation to the ReLU, and the
    normalisation applies its own gain; over the whole ensemble each step would go through memory.
    benchmarks/learner_throughput.py measures it against separate critics.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, gain, offset):
        z = torch.bmm(x, weight).add_(bias)  # baddbmm first copies the bias to every row
        size, out, moments = gain.shape[-1:], torch.empty_like(z), []
        for z_m, out_m, gain_m, offset_m in zip(z.unbind(), out.unbind(), _rows(gain), _rows(offset), strict=True):
            y, mean, inverse_std = torch.native_layer_norm(z_m, size, gain_m, offset_m, EPSILON)
            torch.clamp_min(y, 0.0, out=out_m)
            moments.append((mean, inverse_std))
        ctx.save_for_backward(x, weight, gain, offset, z, out)
        ctx.moments = moments
        return out

    @staticmethod
    def backward(ctx, upstream):
        x, weight, gain, offset, z, out = ctx.saved_tensors
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        wanted, size = [True, wants_weight, wants_weight], gain.shape[-1:]
        by_z, by_gain, by_offset = [], [], []
        members = zip(upstream.unbind(), out.unbind(), z.unbind(), _rows(gain), _rows(offset), ctx.moments, strict=True)
        for upstream_m, out_m, z_m, gain_m, offset_m, (mean, inverse_std) in members:
            through = torch.ops.aten.threshold_backward(upstream_m, out_m, 0.0)
            gradients = torch.ops.aten.native_layer_norm_backward(
                through, z_m, size, mean, inverse_std, gain_m, offset_m, wanted
            )
            for kept, gradient in zip((by_z, by_gain, by_offset), gradients, strict=True):
                kept.append(gradient)
        grad_z = torch.stack(by_z)
        grad_x = torch.bmm(grad_z, weight.transpose(1, 2)) if wants_x else None
        if not wants_weight:
            return grad_x, None, None, None, None
        grad_weight = torch.bmm(x.transpose(1, 2), grad_z)
        grad_gain, grad_offset = (torch.stack(g).view_as(gain) for g in (by_gain, by_offset))
        return grad_x, grad_weight, grad_z.sum(dim=1, keepdim=True), grad_gain, grad_offset


def _rows(parameter: Tensor) -> tuple[Tensor, ...]:
    """(M, 1, W) as M vectors."""
    return parameter.squeeze(1).unbind()
