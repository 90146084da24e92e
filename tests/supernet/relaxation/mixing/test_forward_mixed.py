"""A supernet with weighted choices: it is each of its subnets, and the loss reaches every choice."""

from dataclasses import replace

import pytest
import torch
from relaxed_networks import every_relaxed_space, one_hot, raw_codes, supernet, without_gradient
from shared_networks import images, scramble
from shared_spaces import SMALL
from torch import nn

from ofa.supernet.elastic.conv import ElasticConv2d, active_parameters
from ofa.supernet.relaxation.mixing import swap
from ofa.supernet.space import SearchSpace
from ofa.supernet.supernet import Supernet


@pytest.fixture
def net():
    torch.manual_seed(0)
    return scramble(Supernet(SMALL, num_classes=5))


@torch.no_grad()
@every_relaxed_space
def test_with_one_hot_weights_it_is_that_subnet(name):
    net = supernet(name)
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    before = {module: (type(module), vars(module).keys()) for module in net.modules()}
    for code in raw_codes(net.space, 1):
        subnet = net.space.decode(code)
        x = torch.randn(4, 3, subnet.resolution, subnet.resolution)
        for training in (False, True):
            net.train(training)
            mixed = net.forward_mixed(x, one_hot(net.space, code))
            net.load_state_dict(state)  # batch norms remember what they see
            expected = net.activate(subnet)(x)
            net.load_state_dict(state)
            torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert {module: (type(module), vars(module).keys()) for module in net.modules()} == before


@every_relaxed_space
def test_the_loss_reaches_every_choice(name):
    assert without_gradient(supernet(name)) == []


class _MasksItsOutput(ElasticConv2d):
    def forward(self, x):
        weight, bias = active_parameters(self, x.shape[1])
        return self._conv_forward(x, weight * self.mask.view(-1, 1, 1, 1), bias)


def test_a_mask_in_front_of_a_batch_norm_would_be_found(net, monkeypatch):
    plan = net.mixing_plan
    moved = {path.replace("conv_pwl", "conv_pw"): width for path, width in plan.reads.items() if ".conv_pwl" in path}
    net.__dict__["mixing_plan"] = replace(plan, reads=moved)
    monkeypatch.setitem(swap.READERS, ElasticConv2d, _MasksItsOutput)
    assert {gene.role for gene in without_gradient(net)} == {"expand"}


def test_gradients_are_those_of_differences(net):
    """Of the weights of the choices, and of the network's own, some of which are made again in the backward pass."""
    net = net.double()
    weights = [torch.rand(len(gene.options), dtype=torch.float64).requires_grad_() for gene in net.space.genes]
    watched = [net.model.blocks[1][0].conv_pwl.weight, net.model.blocks[2][0].se.conv_reduce.weight]
    x = images(net.space).double()

    def loss():
        return net.forward_mixed(x, weights).square().sum()

    # The resolution is no choice of the network.
    inputs = [*weights[1:], *watched]
    for tensor, gradient in zip(inputs, torch.autograd.grad(loss(), inputs), strict=True):
        direction = torch.randn_like(tensor)
        with torch.no_grad():
            values = []
            for step in (1e-5, -2e-5):
                tensor += step * direction
                values.append(float(loss()))
            tensor += 1e-5 * direction
        expected = (values[0] - values[1]) / 2e-5
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_active_subnet_stays(net):
    x, smallest = images(net.space), net.space.smallest
    expected = net.activate(smallest)(x)
    net.forward_mixed(x, one_hot(net.space, raw_codes(net.space, 1)[0]))
    assert torch.equal(net(x), expected)


def test_the_network_is_whole_after_an_error(net):
    x, weights = images(net.space), one_hot(net.space, raw_codes(net.space, 1)[0])
    expected = net(x)
    with pytest.raises(RuntimeError):
        net.forward_mixed(x[:, :2], weights)
    assert torch.equal(net(x), expected)


def test_under_autocast(net):
    with torch.autocast("cpu", torch.bfloat16):
        logits = net.train().forward_mixed(images(net.space), [torch.ones(len(gene.options)) for gene in SMALL.genes])
    logits.float().sum().backward()
    assert logits.dtype == torch.bfloat16 and torch.isfinite(logits).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights[:-1], "weights of 10 genes; this space has 11"),
        (lambda weights: [*weights[:-1], torch.ones(3)], r"gene 10 have the shape \(3,\); it needs \(2,\)"),
    ],
)
def test_weights_of_other_genes_are_refused(net, change, message):
    weights = one_hot(net.space, raw_codes(net.space, 1)[0])
    with pytest.raises(ValueError, match=message):
        net.forward_mixed(images(net.space), change(weights))


def test_strides_are_refused():
    net = Supernet(SearchSpace.preset("mcu_32"), num_classes=5)
    with pytest.raises(ValueError, match=r"stride_0 of block 0 of stage 0 \[2, 1\] cannot .* one option, or search"):
        net.check_mixable()


def test_a_family_without_a_plan_is_refused(toy_family):
    net = Supernet(SearchSpace.preset("toy_small"), num_classes=5)
    with pytest.raises(ValueError, match="family toy cannot be relaxed"):
        net.check_mixable()


def test_a_layer_that_cannot_read_a_weighted_width_is_named(net, monkeypatch):
    monkeypatch.delitem(swap.READERS, ElasticConv2d)
    with pytest.raises(ValueError, match=r"expand of block 0 of stage 0 .*blocks.1.0.conv_pwl, a ElasticConv2d"):
        net.check_mixable()


def test_peak_memory_is_about_that_of_the_largest_subnet():
    torch.manual_seed(0)
    net = Supernet(SearchSpace.preset("tiny_mbv3"), num_classes=5).train()
    x, labels = torch.randn(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)
    weights = [torch.ones(len(gene.options), requires_grad=True) for gene in net.space.genes]

    def peak(forward):
        """Bytes that a step has more than there were before it, at its fullest."""
        nn.functional.cross_entropy(forward(x), labels).backward()  # gradients are there now
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
            nn.functional.cross_entropy(forward(x), labels).backward()
        events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
        held = fullest = 0
        for event in sorted(events, key=lambda event: event.start_ns()):
            held += event.nbytes()
            fullest = max(fullest, held)
        return fullest

    assert peak(lambda images: net.forward_mixed(images, weights)) < 1.2 * peak(net)
