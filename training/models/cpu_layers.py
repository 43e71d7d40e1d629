"""Layers that give what torch's own give and are faster on a processor. Traced or exported they are torch's own.

What a convolution gives lies in memory as (B, T, C), which torch's GroupNorm works through several times faster, and
all further elementwise layers keep.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Without gradients, a convolution of so many channels for each element is faster as one matrix product (measured).
CHANNELS_PER_ELEMENT = 32
EXP_LIMIT = 20.0  # beyond it mish(x) is x in float64


class Conv1d(nn.Conv1d):
    """nn.Conv1d with an odd kernel and a padding that keeps the length, divided by the stride.

    In training, and for short and wide sequences always, it is one matrix product.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.kernel, self.step = kernel, stride

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """(B, inputs, T) -> (B, outputs, T)."""
        if input.device.type != "cpu" or _exported():
            return super().forward(input)
        if torch.is_grad_enabled():
            return _convolved(input, self.weight, self.bias, self.step)
        if self.in_channels < CHANNELS_PER_ELEMENT * input.shape[2] or self.kernel == 1 or self.step > 1:
            return super().forward(input)
        return F.linear(_taps(input.transpose(1, 2), self.kernel, 1), _matrix(self.weight), self.bias).transpose(1, 2)


class GroupNorm(nn.GroupNorm):
    """nn.GroupNorm of (B, C, T); where memory holds (B, T, C) it stays so."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """Same shape."""
        if input.device.type != "cpu" or input.dim() != 3 or input.stride(1) != 1 or _exported():
            return super().forward(input)
        return super().forward(input.unsqueeze(2)).squeeze(2)


class Mish(nn.Module):
    """nn.Mish: x tanh(softplus(x)). With e = exp(x), n = e² + 2e and r = 1 / (n + 2) it is x n r, and its derivative
    n r + 4 x e (e + 1) r².
    """

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        if x.device.type != "cpu" or not torch.is_grad_enabled() or _exported():
            return F.mish(x)
        return _Mish.apply(x)  # type: ignore[no-any-return]


class _Mish(torch.autograd.Function):
    """Short formats are computed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        limited = (x if x.dtype == torch.float64 else x.float()).clamp(max=EXP_LIMIT)
        e = limited.exp()
        n = (e + 2).mul_(e)
        r = (n + 2).reciprocal_()
        factor = n.mul_(r)
        y = (x * factor).to(x.dtype)
        derivative = factor.add_((e + 1).mul_(e).mul_(r).mul_(r).mul_(limited), alpha=4)
        ctx.save_for_backward(derivative.to(x.dtype))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradients[0] * ctx.saved_tensors[0]


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    short = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    dtype = torch.get_autocast_dtype("cpu") if short else x.dtype
    with torch.autocast("cpu", enabled=False):
        y: Tensor = _Convolution.apply(x.transpose(1, 2), weight, bias, stride, dtype)
    return y.transpose(1, 2)


class _Convolution(torch.autograd.Function):
    """(B, T, inputs), torch's weight and bias -> (B, T / stride, outputs), computed in dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, dtype: torch.dtype) -> Tensor:
        taps = _taps(x.to(dtype), weight.shape[2], stride)
        matrix = _matrix(weight.to(dtype))
        ctx.save_for_backward(taps, matrix)
        ctx.input, ctx.weight, ctx.stride = (x.shape, x.dtype), (weight.shape, weight.dtype), stride
        ctx.bias = bias is not None
        return F.linear(taps, matrix, None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
            ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        taps, matrix = ctx.saved_tensors
        (gradient,), (shape, dtype), (weight_shape, weight_dtype) = gradients, ctx.input, ctx.weight
        outputs, inputs, kernel = weight_shape
        gradient = gradient.contiguous()
        flat = gradient.view(-1, outputs)
        of_bias = flat.sum(0, dtype=weight_dtype) if ctx.bias else None
        of_weight = (flat.t() @ taps.view(len(flat), -1)).view(outputs, kernel, inputs).transpose(1, 2)
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = _input_gradient(gradient, matrix.view(outputs, kernel, inputs), ctx.stride, shape[1]).to(dtype)
        return of_input, of_weight.to(weight_dtype, memory_format=torch.contiguous_format), of_bias, None, None


def _input_gradient(gradient: Tensor, weight: Tensor, stride: int, length: int) -> Tensor:
    """(B, T / stride, outputs) -> (B, T, inputs); without a stride that is a convolution with the weight reversed.

    Args:
        weight: (outputs, kernel, inputs).
    """
    _, kernel, inputs = weight.shape
    if stride == 1:
        return _taps(gradient, kernel, 1) @ weight.transpose(0, 1).flip(0).reshape(-1, inputs)
    of_taps = gradient @ weight.flatten(1)
    padded = gradient.new_zeros((len(gradient), length + kernel - 1, inputs))
    for tap in range(kernel):
        places = padded[:, tap:tap + stride * (gradient.shape[1] - 1) + 1:stride]
        places += of_taps[..., tap * inputs:(tap + 1) * inputs]
    return padded[:, kernel // 2:kernel // 2 + length]


def _taps(x: Tensor, kernel: int, stride: int) -> Tensor:
    """(B, T, C) -> (B, T / stride, kernel C): the elements that each result of a padded convolution sees."""
    batch, length, channels = x.shape
    if kernel == 1 and stride == 1:
        return x.contiguous()
    padded = F.pad(x, (0, 0, kernel // 2, kernel // 2)).contiguous()
    count = (length - 1) // stride + 1
    seen = padded.as_strided((batch, count, kernel * channels), (padded.stride(0), stride * channels, 1))
    return seen.contiguous()


def _matrix(weight: Tensor) -> Tensor:
    """(outputs, inputs, kernel) -> (outputs, kernel inputs)."""
    return weight.transpose(1, 2).reshape(len(weight), -1)


def _exported() -> bool:
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return tracing or torch.compiler.is_compiling()
