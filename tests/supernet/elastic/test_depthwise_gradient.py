"""The faster gradient is torch's own gradient."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from ofa.supernet.elastic.depthwise import make_depthwise_elastic
from ofa.supernet.elastic.depthwise_gradient import DepthwiseConv, depthwise_weight_grad, has_slow_gradient

SIZES = [(1, 1), (2, 5), (4, 4), (7, 7), (9, 6), (16, 16), (13, 20)]
SPACINGS = [*itertools.product(SIZES, [3, 5, 7], [1, 2])]


@pytest.mark.parametrize("size, kernel, stride", SPACINGS)
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("padded", [True, False])
def test_gradients_are_torchs(size, kernel, stride, memory_format, padded):
    padding = kernel // 2 if padded else 0
    if not padded and min(size) < kernel:
        size = (size[0] + kernel - 1, size[1] + kernel - 1)  # as if by other padding before
    torch.manual_seed(0)
    x = torch.randn(3, 6, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    weight = torch.randn(6, 1, kernel, kernel, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, bias, stride, padding, 1, 6)
    out = DepthwiseConv.apply(x, weight, bias, (stride, stride), padding)
    assert torch.equal(out, expected)
    grad = torch.randn_like(out)
    inputs = (x, weight, bias)
    for mine, theirs in zip(
        torch.autograd.grad(out, inputs, grad), torch.autograd.grad(expected, inputs, grad), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


def test_in_single_precision_too():
    torch.manual_seed(0)
    x, grad = (torch.randn(8, 16, 12, 12).contiguous(memory_format=torch.channels_last) for _ in range(2))
    weight = torch.randn(16, 1, 7, 7, requires_grad=True)
    (expected,) = torch.autograd.grad(F.conv2d(x, weight, None, 1, 3, 1, 16), weight, grad)
    found = depthwise_weight_grad(x, grad, kernel=7, stride=(1, 1), padding=3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_only_where_a_gradient_is_slow():
    x, small, large = torch.zeros(1, 4, 8, 8), *(torch.zeros(4, 1, k, k, requires_grad=True) for k in (3, 5))
    assert has_slow_gradient(x, large)
    assert not has_slow_gradient(x, small)
    assert not has_slow_gradient(x, large.detach())
    assert not has_slow_gradient(x.double(), large)
    with torch.no_grad():
        assert not has_slow_gradient(x, large)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not has_slow_gradient(x, large)


@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_an_elastic_layer_learns_as_a_plain_one_of_its_weight(kernel):
    torch.manual_seed(0)
    leaf = torch.nn.Conv2d(8, 8, 7, padding=3, groups=8, bias=False)
    make_depthwise_elastic(leaf, (3, 5, 7))
    leaf.active_kernel = kernel
    x = torch.randn(4, 6, 10, 10).contiguous(memory_format=torch.channels_last)
    leaf(x).square().sum().backward()
    mine = leaf.weight.grad.clone()
    leaf.weight.grad = None
    F.conv2d(x, leaf.active_weight(6, kernel), None, 1, kernel // 2, 1, 6).square().sum().backward()
    torch.testing.assert_close(mine, leaf.weight.grad, rtol=1e-4, atol=1e-4)
