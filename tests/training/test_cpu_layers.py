"""Layers for processors against torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from training.models.cpu_layers import Conv1d, GroupNorm, Mish

SEEDS = 16


def both(ours: nn.Module, theirs: nn.Module, x: Tensor) -> list[list[Tensor]]:
    """Result and gradients of each."""
    results: list[list[Tensor]] = []
    for layer in (ours, theirs):
        mine = x.clone().requires_grad_()
        y = layer(mine)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        assert mine.grad is not None
        results.append([y, mine.grad, *(p.grad for p in layer.parameters() if p.grad is not None)])
    return results


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("inputs", "length", "kernel", "stride"), [
    (128, 4, 5, 1), (128, 3, 3, 1), (16, 16, 5, 1), (256, 1, 5, 1), (8, 7, 1, 1), (8, 8, 3, 2), (8, 7, 3, 2)])
def test_a_convolution_and_its_gradients_are_torchs(inputs: int, length: int, kernel: int, stride: int,
                                                    dtype: torch.dtype):
    """On short and on long sequences, of any memory layout; the weights have the same names."""
    torch.manual_seed(0)
    ours = Conv1d(inputs, 32, kernel, stride=stride).to(dtype)
    theirs = nn.Conv1d(inputs, 32, kernel, stride=stride, padding=kernel // 2).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, inputs, length, dtype=dtype)
    close = 1e-10 if dtype == torch.float64 else 1e-4
    for laid in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        results = both(ours, theirs, laid)
        assert len(results[0]) == 4
        for mine, other in zip(*results, strict=True):
            torch.testing.assert_close(mine, other, atol=close, rtol=close)
        ours.zero_grad()
        theirs.zero_grad()
        with torch.no_grad():
            torch.testing.assert_close(ours(laid), theirs(laid), atol=close, rtol=close)


@given(inputs=st.integers(1, 9), outputs=st.sampled_from([8, 16]), length=st.integers(1, 9),
       kernel=st.sampled_from([1, 3, 5]), stride=st.sampled_from([1, 2]))
@settings(max_examples=20, deadline=None)
def test_a_block_in_bfloat16_is_as_near_to_float64_as_torchs(inputs: int, outputs: int, length: int, kernel: int,
                                                             stride: int):
    """Convolution, GroupNorm and Mish under autocast: value and gradients, by the median error of many seeds.

    A single small result can be many times nearer in one of the two by luck; a group whose values are close to each
    other enlarges every rounding.
    """
    errors = torch.tensor([errors_in_bfloat16(inputs, outputs, length, kernel, stride, seed) for seed in range(SEEDS)])
    ours, torchs = errors.nanmedian(0).values.unbind(1)  # torch's own gradients of a strided convolution may hold NaN
    comparable = torchs.isfinite()
    assert comparable[0]
    assert (ours <= 2 * torchs + 1e-3)[comparable].all(), (ours, torchs)


def errors_in_bfloat16(inputs: int, outputs: int, length: int, kernel: int, stride: int,
                       seed: int) -> list[tuple[float, float]]:
    """RMS error of ours and of torch's for the result and each gradient, as shares of the largest exact value."""
    torch.manual_seed(seed)
    ours = nn.Sequential(Conv1d(inputs, outputs, kernel, stride=stride), GroupNorm(2, outputs), Mish())
    exact = nn.Sequential(nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=kernel // 2),
                          nn.GroupNorm(2, outputs), nn.Mish())
    exact.load_state_dict(ours.state_dict())
    torch_short = copy.deepcopy(exact)
    x = torch.randn(4, inputs, length)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine, theirs = both(ours, torch_short, x)
    right = both(nn.Identity(), exact.double(), x.double())[1]
    found: list[tuple[float, float]] = []
    for values in zip(mine, theirs, right, strict=True):
        a, b, c = (value.detach() for value in values)
        assert a.isfinite().all()
        size = float(c.abs().max()) + 1e-2
        found.append((float((a - c).square().mean().sqrt()) / size, float((b - c).square().mean().sqrt()) / size))
    return found


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_norm_keeps_the_layout_and_is_torchs(dtype: torch.dtype):
    """In both layouts, with its gradients."""
    torch.manual_seed(0)
    ours, theirs = GroupNorm(4, 16).to(dtype), nn.GroupNorm(4, 16).to(dtype)
    x = torch.randn(3, 6, 16, dtype=dtype).transpose(1, 2)
    assert ours(x).stride() == x.stride()
    for laid in (x, x.contiguous(), x[..., :1]):
        for mine, other in zip(*both(ours, theirs, laid), strict=True):
            torch.testing.assert_close(mine, other)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_mish_and_its_gradient_are_torchs(dtype: torch.dtype, close: float):
    """From far below zero to where it is the identity, without a NaN."""
    values = torch.cat([torch.linspace(-120, 120, 2001), torch.tensor([0.0, -1e30, 1e30])]).to(dtype)
    mine, other = values.clone().requires_grad_(), values.clone().requires_grad_()
    y, z = Mish()(mine), nn.Mish()(other)
    y.sum().backward()
    z.sum().backward()
    torch.testing.assert_close(y, z, atol=close, rtol=close)
    assert mine.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(mine.grad, other.grad, atol=close, rtol=close)


@pytest.mark.filterwarnings("ignore")
def test_what_is_exported_is_torchs_own():
    """A traced network holds a convolution and mish, which other runtimes know."""
    network = nn.Sequential(Conv1d(128, 8, 5), Mish())
    traced = torch.jit.trace(network, torch.randn(2, 128, 4), check_trace=False)
    text = str(traced.inlined_graph)
    assert "aten::_convolution" in text
    assert "aten::mish" in text
