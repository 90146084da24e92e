"""Full convolutions with a choice of kernels compute what plain ones with the transformed centre compute."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ofa.supernet.elastic.kernel_conv import make_kernel_conv_elastic
from ofa.supernet.elastic.leaves import plain_attributes


def conv(read, *, bias=True, stride=2):
    torch.manual_seed(0)
    leaf = nn.Conv2d(read, 16, 7, stride, 3, bias=bias)
    make_kernel_conv_elastic(leaf, (3, 5, 7))
    with torch.no_grad():
        for matrix in leaf.transforms.values():
            matrix.add_(0.2 * torch.randn_like(matrix))
    return leaf


def centre(weight, matrix):
    """Of each pair of channels, as a vector, times the matrix; written out."""
    size = int(len(matrix) ** 0.5)
    margin = (weight.shape[-1] - size) // 2
    inside = weight[:, :, margin : margin + size, margin : margin + size]
    return torch.einsum("xy,ory->orx", matrix, inside.flatten(2)).unflatten(2, (size, size))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("read, width, out", [(3, 3, 16), (3, 2, 5), (1, 1, 16), (1, 1, 7)])
def test_it_uses_the_first_channels_and_a_transformed_centre(read, width, out, bias):
    leaf = conv(read, bias=bias)
    weight = leaf.weight[:out, :width]
    five = centre(weight, leaf.transforms["7to5"])
    weights = {7: weight, 5: five, 3: centre(five, leaf.transforms["5to3"])}
    x = torch.randn(2, width, 11, 11)
    leaf.active_out = out
    for kernel, expected in weights.items():
        leaf.active_kernel = kernel
        given = leaf.bias[:out] if bias else None
        torch.testing.assert_close(leaf(x), F.conv2d(x, expected, given, 2, kernel // 2))
        torch.testing.assert_close(leaf.active_tensor("weight", expected.shape), expected)


def test_a_new_one_computes_what_the_plain_one_does():
    leaf = nn.Conv2d(3, 8, 5, padding=2)
    x = torch.randn(2, 3, 8, 8)
    expected = leaf(x)
    weight = leaf.weight
    make_kernel_conv_elastic(leaf, (3, 5))
    assert torch.equal(leaf(x), expected)
    assert leaf.weight is weight and set(leaf.state_dict()) == {"weight", "bias", "transforms.5to3"}


def test_gradients_reach_what_is_used_alone():
    for kernel, used in {7: set(), 5: {"7to5"}, 3: {"7to5", "5to3"}}.items():
        leaf = conv(3)
        leaf.active_kernel, leaf.active_out = kernel, 6
        leaf(torch.randn(2, 3, 11, 11)).square().sum().backward()
        assert {name for name, matrix in leaf.transforms.items() if matrix.grad is not None} == used
        assert leaf.weight.grad[:6].any() and not leaf.weight.grad[6:].any()
        assert leaf.weight.grad[:6, :, 0].any() == (kernel == 7)


def test_the_plain_layer_of_a_subnet_keeps_the_size_of_the_map():
    changed = plain_attributes(conv(3), out=6, inp=3, kernel=5)
    assert changed == {"out_channels": 6, "in_channels": 3, "kernel_size": (5, 5), "padding": (2, 2)}
    assert plain_attributes(conv(3), out=6, inp=3, kernel=7) == {"out_channels": 6, "in_channels": 3}


def test_the_largest_kernel_must_be_its_own():
    with pytest.raises(ValueError, match=r"largest of the kernels \[3, 7\] is not its own"):
        make_kernel_conv_elastic(nn.Conv2d(4, 4, 5, padding=2), (3, 7))
