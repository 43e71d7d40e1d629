"""Layers that give what torch's own give and are faster on a processor. Traced or exported they are torch's own."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

# A convolution of so many channels for each element of the sequence is faster as one matrix product (measured).
CHANNELS_PER_ELEMENT = 32
EXP_LIMIT = 20.0  # beyond it mish(x) is x in float32


class Conv1d(nn.Conv1d):
    """nn.Conv1d with an odd kernel at constant length; short and wide sequences go through one matrix product."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)
        self.kernel = kernel

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """(B, inputs, T) -> (B, outputs, T)."""
        length = input.shape[2]
        if input.device.type != "cpu" or self.in_channels < CHANNELS_PER_ELEMENT * length or _exported():
            return super().forward(input)
        padded = F.pad(input.transpose(1, 2), (0, 0, self.kernel // 2, self.kernel // 2))  # (B, T + k - 1, inputs)
        taps = torch.cat([padded[:, tap:tap + length] for tap in range(self.kernel)], dim=-1)
        weight = self.weight.permute(0, 2, 1).reshape(self.out_channels, -1)
        return F.linear(taps, weight, self.bias).transpose(1, 2)


class Mish(nn.Module):
    """nn.Mish: x tanh(softplus(x)). With e = exp(x) the factor is (e² + 2e) / (e² + 2e + 2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Element by element."""
        if x.device.type != "cpu" or x.dtype != torch.float32 or not torch.is_grad_enabled() or _exported():
            return F.mish(x)
        return _Mish.apply(x)  # type: ignore[no-any-return]


class _Mish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        e = x.clamp(max=EXP_LIMIT).exp_()
        squares = e * (e + 2)
        factor = squares.div_(squares + 2)
        ctx.save_for_backward(x, factor)
        return x * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, factor = ctx.saved_tensors
        return gradients[0] * torch.addcmul(factor, x * torch.sigmoid(x), 1 - factor * factor)


def _exported() -> bool:
    tracing = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    return tracing or torch.compiler.is_compiling()
