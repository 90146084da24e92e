"""Elastic leaves compute what a plain layer with the active part of the weights computes."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torch.nn import functional as F

from ofa.supernet.elastic.conv import make_conv_elastic
from ofa.supernet.elastic.depthwise import make_depthwise_elastic
from ofa.supernet.elastic.norm import make_batch_norm_elastic
from ofa.supernet.elastic.stage import make_stage_elastic


def conv(*, bias=True):
    torch.manual_seed(0)
    return nn.Conv2d(12, 16, 1, bias=bias)


def depthwise(kernels=(3, 5, 7), *, stride=1):
    torch.manual_seed(0)
    size = kernels[-1]
    leaf = nn.Conv2d(12, 12, size, stride, size // 2, groups=12, bias=False)
    make_depthwise_elastic(leaf, kernels)
    with torch.no_grad():
        for matrix in leaf.transforms.values():
            matrix.add_(0.2 * torch.randn_like(matrix))
    return leaf


def norm():
    torch.manual_seed(0)
    leaf = BatchNormAct2d(12, act_layer=nn.ReLU)
    with torch.no_grad():
        for tensor in (leaf.weight, leaf.bias, leaf.running_mean):
            tensor.normal_()
        leaf.running_var.uniform_(0.5, 2)
    return leaf


def smaller_kernel(weight, matrix):
    """The centre of each channel's kernel, as a vector, times the matrix; written out channel by channel."""
    size = int(len(matrix) ** 0.5)
    margin = (weight.shape[-1] - size) // 2
    kernels = []
    for channel in weight[:, 0]:
        centre = channel[margin : margin + size, margin : margin + size].flatten()
        kernels.append(torch.stack([row @ centre for row in matrix]).reshape(1, size, size))
    return torch.stack(kernels)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("width, out", [(12, 16), (12, 5), (7, 16), (7, 5)])
def test_conv_uses_the_first_channels(width, out, bias):
    leaf = conv(bias=bias)
    weight, given_bias = leaf.weight, leaf.bias
    make_conv_elastic(leaf)
    assert leaf.weight is weight and set(leaf.state_dict()) == {"weight", "bias"} - (set() if bias else {"bias"})
    leaf.active_out = out
    x = torch.randn(2, width, 4, 4)
    expected = F.conv2d(x, weight[:out, :width], given_bias[:out] if bias else None)
    torch.testing.assert_close(leaf(x), expected)

    leaf(x).square().sum().backward()
    inside = torch.zeros_like(weight, dtype=torch.bool)
    inside[:out, :width] = True
    assert leaf.weight.grad[inside].all() and not leaf.weight.grad[~inside].any()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [12, 7])
def test_depthwise_kernels_are_transformed_centres(channels, stride):
    leaf = depthwise(stride=stride)
    five = smaller_kernel(leaf.weight[:channels], leaf.transforms["7to5"])
    three = smaller_kernel(five, leaf.transforms["5to3"])
    x = torch.randn(2, channels, 9, 9)
    for kernel, weight in {7: leaf.weight[:channels], 5: five, 3: three}.items():
        torch.testing.assert_close(leaf.active_weight(channels, kernel), weight)
        leaf.active_kernel = kernel
        expected = F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=channels)
        torch.testing.assert_close(leaf(x), expected)


def test_new_transforms_are_the_identity():
    leaf = nn.Conv2d(12, 12, 7, padding=3, groups=12, bias=False)
    make_depthwise_elastic(leaf, (3, 5, 7))
    assert set(leaf.state_dict()) == {"weight", "transforms.7to5", "transforms.5to3"}
    assert torch.equal(leaf.active_weight(12, 5), leaf.weight[:, :, 1:-1, 1:-1])
    assert torch.equal(leaf.active_weight(12, 3), leaf.weight[:, :, 2:-2, 2:-2])


def test_depthwise_gradients_reach_only_the_matrices_in_use():
    for kernel, used in {7: set(), 5: {"7to5"}, 3: {"7to5", "5to3"}}.items():
        leaf = depthwise()
        leaf.active_kernel = kernel
        leaf(torch.randn(2, 5, 9, 9)).square().sum().backward()
        assert {name for name, matrix in leaf.transforms.items() if matrix.grad is not None} == used
        assert leaf.weight.grad[:5].any() and not leaf.weight.grad[5:].any()


@pytest.mark.parametrize("channels", [12, 7])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_uses_and_updates_the_first_channels(channels, training):
    leaf = norm().train(training)
    keys, mean, var = set(leaf.state_dict()), leaf.running_mean.clone(), leaf.running_var.clone()
    make_batch_norm_elastic(leaf)
    x = 3 * torch.randn(4, channels, 5, 5) + 1
    wanted_mean, wanted_var = mean.clone(), var.clone()
    expected = F.relu(
        F.batch_norm(
            x, wanted_mean[:channels], wanted_var[:channels], leaf.weight[:channels], leaf.bias[:channels], training
        )
    )
    torch.testing.assert_close(leaf(x), expected)
    assert set(leaf.state_dict()) == keys
    torch.testing.assert_close(leaf.running_mean, wanted_mean)
    torch.testing.assert_close(leaf.running_var, wanted_var)
    assert torch.equal(leaf.running_mean[channels:], mean[channels:])
    assert torch.equal(leaf.running_mean[:channels], mean[:channels]) != training


def test_stage_runs_its_first_blocks():
    stage = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    make_stage_elastic(stage)
    x = torch.randn(2, 4)
    for depth in (1, 2, 3):
        stage.active_depth = depth
        expected = x
        for block in list(stage)[:depth]:
            expected = block(expected)
        assert torch.equal(stage(x), expected)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: make_conv_elastic(nn.Linear(2, 2)), TypeError, "plain nn.Conv2d with one group"),
        (lambda: make_conv_elastic(nn.Conv2d(4, 4, 1, groups=2)), TypeError, "one group"),
        (lambda: make_depthwise_elastic(conv(), (1,)), TypeError, "a depthwise nn.Conv2d is needed"),
        (lambda: make_depthwise_elastic(nn.Conv2d(4, 8, 3, groups=4)), TypeError, "a depthwise nn.Conv2d is needed"),
        (lambda: make_depthwise_elastic(nn.Conv2d(4, 4, 5, groups=4), (3, 5)), TypeError, "padding of half the kernel"),
        (lambda: make_depthwise_elastic(nn.Conv2d(4, 4, 4, groups=4), (2, 4)), TypeError, "square kernel of odd size"),
        (lambda: make_depthwise_elastic(depthwise(), (3, 5, 7)), TypeError, "depthwise nn.Conv2d"),
        (
            lambda: make_depthwise_elastic(nn.Conv2d(4, 4, 5, padding=2, groups=4), (3, 7)),
            ValueError,
            r"largest of the kernels \[3, 7\]",
        ),
        (
            lambda: make_batch_norm_elastic(nn.BatchNorm1d(4)),
            TypeError,
            "BatchNorm1d elastic: nn.BatchNorm2d",
        ),
        (lambda: make_batch_norm_elastic(nn.BatchNorm2d(4, affine=False)), TypeError, "with weights"),
        (lambda: make_stage_elastic(nn.ModuleList()), TypeError, "ModuleList elastic"),
    ],
)
def test_only_known_layers_are_made_elastic(make, error, words):
    with pytest.raises(error, match=words):
        make()
