"""Layers for processors against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.models.cpu_layers import Conv1d, Mish


@pytest.mark.parametrize(("inputs", "length", "kernel"), [(128, 4, 5), (128, 3, 3), (16, 16, 5), (256, 1, 5)])
def test_a_convolution_and_its_gradients_are_torchs(inputs: int, length: int, kernel: int):
    """Both ways, on short and on long sequences; the weights have the same names."""
    torch.manual_seed(0)
    ours, theirs = Conv1d(inputs, 32, kernel), nn.Conv1d(inputs, 32, kernel, padding=kernel // 2)
    theirs.load_state_dict(ours.state_dict())
    results: list[list[torch.Tensor]] = []
    for layer in (ours, theirs):
        x = torch.randn(3, inputs, length, generator=torch.Generator().manual_seed(1)).requires_grad_()
        y = layer(x)
        (y * y.detach().cos()).sum().backward()
        assert x.grad is not None
        results.append([y, x.grad, *(p.grad for p in layer.parameters() if p.grad is not None)])
    assert len(results[0]) == 4
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)


def test_mish_and_its_gradient_are_torchs():
    """From far below zero to where it is the identity, without a NaN."""
    values = torch.cat([torch.linspace(-120, 120, 2001), torch.tensor([0.0, -1e30, 1e30])])
    mine, other = values.clone().requires_grad_(), values.clone().requires_grad_()
    y, z = Mish()(mine), nn.Mish()(other)
    y.sum().backward()
    z.sum().backward()
    torch.testing.assert_close(y, z, atol=1e-5, rtol=1e-5)
    assert mine.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_what_is_exported_is_torchs_own():
    """A traced network holds a convolution and mish, which other runtimes know."""
    network = nn.Sequential(Conv1d(128, 8, 5), Mish())
    traced = torch.jit.trace(network, torch.randn(2, 128, 4), check_trace=False)
    text = str(traced.inlined_graph)
    assert "aten::_convolution" in text
    assert "aten::mish" in text
