"""Costs in the loss: the published formulas, and a gradient in every architecture parameter."""

import math

import numpy as np
import pytest
import torch

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.relaxation.architecture import Architecture
from ofa.supernet.relaxation.objectives import COST_TERMS, Cost, TermSettings, expected_costs, reference
from ofa.supernet.relaxation.relaxations import RELAXATIONS
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
TABLES = (CostTable.macs(SPACE, num_classes=10), CostTable.peak_memory(SPACE, num_classes=10))
LOSS = torch.tensor(2.0)


def cost(expected, reference, *, limited=True, unit=""):
    return Cost(torch.tensor(expected), reference, limited, "latency", unit)


def apply(name, costs, settings=None, progress=1.0):
    term = COST_TERMS[name]
    return float(term.apply(LOSS, costs, settings or term.settings, progress))


def test_fbnet_takes_the_power_of_the_logarithm_and_not_the_logarithm_of_the_power():
    expected = 2 * 0.2 * math.log(9000) ** 0.6
    assert apply("fbnet", [cost(9000.0, 1.0, unit="us")]) == pytest.approx(expected)
    assert apply("fbnet", [cost(9.0, 1.0, unit="ms")]) == pytest.approx(expected)  # the paper's are in microseconds
    assert expected != pytest.approx(2 * 0.2 * math.log(9000**0.6))


def test_fbnet_refuses_a_cost_that_has_no_power_of_its_logarithm():
    with pytest.raises(
        ValueError, match=r"'fbnet' takes a power of the logarithm of latency, which is 0.5; it must be"
    ):
        apply("fbnet", [cost(0.5, 1.0)])


def test_proxyless_adds_and_mnasnet_multiplies():
    costs = [cost(30.0, 20.0), cost(5.0, 10.0, limited=False)]
    settings = TermSettings(weight=0.3, exponent=0.1)
    assert apply("proxyless", costs, settings) == pytest.approx(2 + 0.3 * 1.5 + 0.3 * 0.5)
    assert apply("mnasnet", costs, settings) == pytest.approx(2 * 1.5**0.1 * 0.5**0.1)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_the_hinge_is_each_limits_relative_excess_and_rises(progress):
    costs = [cost(30.0, 20.0), cost(9.0, 10.0), cost(99.0, 10.0, limited=False)]
    assert apply("hinge", costs, TermSettings(weight=4.0), progress) == pytest.approx(2 + 4 * progress * 0.5)


@pytest.mark.parametrize("relaxation", RELAXATIONS)
@pytest.mark.parametrize("term", COST_TERMS)
def test_every_parameter_has_a_gradient_of_the_cost(relaxation, term):
    architecture = Architecture(SPACE.genes, relaxation=relaxation, seed=4)
    uniform = tuple(reference(table, SPACE.num_options) for table in TABLES)
    references = tuple(0.1 * each for each in uniform)
    costs = expected_costs(TABLES, architecture.probabilities(), references=references, limited=(True, True))
    COST_TERMS[term].apply(LOSS, costs, COST_TERMS[term].settings, 1.0).backward()
    for name, alpha in zip(architecture.names, architecture.alphas, strict=True):
        assert alpha.grad is not None and alpha.grad.abs().max() > 0, name


def test_the_reference_is_the_mean_of_networks_drawn_uniformly():
    costs = TABLES[0].predict(SPACE.sample(20_000, np.random.default_rng(0)))
    assert reference(TABLES[0], SPACE.num_options) == pytest.approx(costs.mean(), rel=0.02)


def test_a_table_without_gradient_is_refused_by_name():
    class Floats:  # as NNI's penalty, which was told from exported probabilities
        name, unit = "latency", "ms"

        def expected(self, probabilities):
            return torch.tensor(sum(each[-1].item() for each in probabilities))

    with pytest.raises(ValueError, match=r"^latency is a cost table without gradient: .*limit of the derived network"):
        reference(Floats(), SPACE.num_options)


def test_a_cost_of_nothing_is_refused():
    class Free:
        name, unit = "energy", "mJ"

        def expected(self, probabilities):
            return 0 * probabilities[0].sum()

    with pytest.raises(ValueError, match=r"^energy is 0\.0 for a network drawn uniformly; costs must be above 0"):
        reference(Free(), SPACE.num_options)
