"""A relaxed network: its parameters, its expected costs, and the network that it means."""

import copy

import numpy as np
import pytest
import torch
from shared_networks import images, scramble
from shared_spaces import SMALL

import ofa
from ofa.supernet.space import SearchSpace


@pytest.fixture
def relaxed():
    torch.manual_seed(0)
    return ofa.Relaxed(scramble(ofa.Supernet(SMALL, num_classes=5)), seed=3)


@pytest.mark.parametrize("cost", ["macs", "params"])
def test_expected_cost_has_a_gradient_on_every_choice_that_it_depends_on(relaxed, cost):
    table = getattr(ofa.CostTable, cost)(SMALL, num_classes=5)
    expected = relaxed.expected_cost(table)
    expected.backward()
    codes = SMALL.sample(50_000, np.random.default_rng(0))
    assert float(expected.detach()) == pytest.approx(table.predict(codes).mean(), rel=0.01)
    for gene, alpha in zip(SMALL.genes, relaxed.alphas, strict=True):
        reached = alpha.grad is not None and bool((alpha.grad.abs() > 1e-6 * expected.detach()).any())
        assert reached == (cost == "macs" or gene.role != "resolution"), gene


def test_costs_of_another_space_are_refused(relaxed):
    table = ofa.CostTable.macs(SearchSpace.preset("tiny_mbv3"), num_classes=5)
    for use in (relaxed.expected_cost, lambda one: relaxed.derive(limits={one: 1e9})):
        with pytest.raises(ValueError, match="macs is of another search space"):
            use(table)


def test_its_parameters_are_apart_from_the_networks_and_saved_with_them(relaxed):
    own = {id(parameter) for parameter in relaxed.net.parameters()}
    assert not own & {id(alpha) for alpha in relaxed.alphas}
    assert len(list(relaxed.parameters())) == len(own) + len(relaxed.alphas)
    with torch.no_grad():
        relaxed.alphas[3].fill_(7.0)
    other = ofa.Relaxed(ofa.Supernet(SMALL, num_classes=5), seed=0)
    other.load_state_dict(relaxed.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(relaxed.alphas, other.alphas, strict=True))
    x = images(SMALL)
    assert torch.equal(relaxed.eval()(x), other.eval()(x))


def test_a_copy_and_a_moved_one_run(relaxed):
    x = images(SMALL)
    expected = relaxed.eval()(x)
    moved = copy.deepcopy(relaxed).to(torch.float64)
    assert torch.equal(copy.deepcopy(relaxed)(x), expected)
    torch.testing.assert_close(moved(x.double()), expected.double(), rtol=1e-4, atol=1e-4)


def test_it_derives_what_its_parameters_say(relaxed):
    code = SMALL.sample(1, np.random.default_rng(1))[0]
    with torch.no_grad():
        for alpha, option in zip(relaxed.alphas, code.tolist(), strict=True):
            alpha[option] += 4.0
    subnet, x = SMALL.decode(code), images(SMALL)
    assert relaxed.derive() == relaxed.top(3)[0] == subnet and relaxed.resolution() == subnet.resolution
    macs = ofa.CostTable.macs(SMALL, num_classes=5)
    limit = 0.7 * float(macs.predict(code[None])[0])
    smaller = relaxed.derive(limits={macs: limit})
    assert 0 < float(macs.predict(SMALL.encode(smaller)[None])[0]) <= limit
    # With alphas that are sure the relaxed network is that subnet.
    with torch.no_grad():
        for alpha in relaxed.alphas:
            alpha.mul_(100)
    torch.testing.assert_close(relaxed.eval()(x), relaxed.net.activate(subnet)(x), rtol=1e-4, atol=1e-4)


def test_options_that_were_pruned_are_not_derived(relaxed):
    column = int(SMALL.genes_of("kernel")[0])
    with torch.no_grad():
        relaxed.alphas[column][0] += 9.0
        relaxed.architecture.open[column][0] = False
    assert relaxed.derive().kernels[0] == SMALL.genes[column].options[1]


def test_a_space_that_cannot_be_relaxed_is_refused_when_it_is_wrapped():
    with pytest.raises(ValueError, match=r"stride_0 .* cannot be weighted"):
        ofa.Relaxed(ofa.Supernet(SearchSpace.preset("mcu_32"), num_classes=5))


def test_an_unknown_relaxation_is_refused():
    with pytest.raises(ValueError, match="relaxation is 'hardest'; there are softmax"):
        ofa.Relaxed(ofa.Supernet(SMALL, num_classes=5), relaxation="hardest")
