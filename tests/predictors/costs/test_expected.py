"""Expected costs equal the mean over all networks of a space, and are differentiable."""

from itertools import product

import numpy as np
import pytest
import torch
from toy_costs import toy

from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.expected import expected_sum
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.supernet import families
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace


def random_probabilities(space, seed, *, shape=()):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.softmax(torch.randn(*shape, int(count), generator=generator, dtype=torch.float64), -1)
        for count in space.num_options
    ]


@pytest.mark.parametrize("combine", ["sum", "max"])
@pytest.mark.parametrize("seed", range(12))
def test_expected_is_the_mean_over_all_networks(seed, combine):
    rng = np.random.default_rng([seed, 1])
    space, parts = toy(rng, max_options=3)
    while space.size > 20_000:
        space, parts = toy(rng, max_options=3)
    table = Table(space, "made up", "", parts, slope=1.5, intercept=-2.0, combine=combine)
    probabilities = random_probabilities(space, seed)
    codes = np.array(list(product(*map(range, space.num_options))))
    weights = np.prod([values.numpy()[codes[:, gene]] for gene, values in enumerate(probabilities)], axis=0)
    assert weights.sum() == pytest.approx(1)
    assert float(table.expected(probabilities)) == pytest.approx(weights @ table.predict(codes), abs=1e-10)


@pytest.mark.parametrize("name", families.presets())
def test_expected_is_the_mean_of_sampled_networks(name):
    space = SearchSpace.preset(name)
    table = CostTable.macs(space, num_classes=10)
    probabilities = random_probabilities(space, 3)
    rng = np.random.default_rng(0)
    codes = np.stack([rng.choice(len(values), size=20_000, p=values.numpy()) for values in probabilities], axis=1)
    costs = table.predict(space.canonical(codes.astype(np.int8)))
    error = costs.std() / np.sqrt(len(costs))
    assert abs(float(table.expected(probabilities)) - costs.mean()) < 5 * error


@pytest.mark.parametrize("cost", [CostTable.params, CostTable.peak_memory])
@pytest.mark.parametrize("name", families.presets())
def test_certain_choices_cost_what_that_network_does(name, cost):
    space = SearchSpace.preset(name)
    table = cost(space, num_classes=10)
    codes = space.sample(8, np.random.default_rng(1))
    chosen = [
        torch.nn.functional.one_hot(torch.tensor(codes[:, gene], dtype=torch.long), int(count)).double()
        for gene, count in enumerate(space.num_options)
    ]
    assert table.expected(chosen).tolist() == table.predict(codes).tolist()  # one leading axis: eight networks at once
    assert table.expected([values[0].float() for values in chosen]).dtype == torch.float32


@pytest.mark.parametrize("combine", ["sum", "max"])
def test_gradients_are_those_of_finite_differences(combine):
    space, parts = toy(np.random.default_rng(5))
    logits = [torch.randn(int(count), dtype=torch.float64, requires_grad=True) for count in space.num_options]
    table = Table(space, "made up", "", parts, slope=0.7, intercept=1.0, combine=combine)

    def cost(*values):
        return table.expected([torch.softmax(each, -1) for each in values])

    assert torch.autograd.gradcheck(cost, logits)
    cost(*logits).backward()
    used = {gene for part in parts for gene in (*part.genes, *([] if part.depth_gene is None else [part.depth_gene]))}
    assert all((logits[gene].grad is not None) == (gene in used) for gene in range(space.num_genes))


@pytest.mark.parametrize("cost", [CostTable.macs, CostTable.peak_memory])
def test_descending_finds_the_cheapest_network(cost):
    space = SearchSpace.preset("tiny_mbv3")
    table = cost(space, num_classes=10)
    logits = [torch.zeros(int(count), requires_grad=True) for count in space.num_options]
    optimizer = torch.optim.Adam(logits, lr=0.3)
    for _ in range(150):
        optimizer.zero_grad()
        table.expected([torch.softmax(each, -1) for each in logits]).log().backward()
        optimizer.step()
    code = space.canonical(np.array([int(each.argmax()) for each in logits], np.int8)[None])
    assert table.predict(code) == table.predict(space.encode(space.smallest)[None])


@pytest.mark.parametrize("name", ["tiny_mbv3", "ofa_resnet50"])
def test_the_expected_maximum_is_above_the_maximum_of_the_parts_means(name):
    space = SearchSpace.preset(name)
    table = CostTable.peak_memory(space, num_classes=10)
    probabilities = random_probabilities(space, 4)
    rng = np.random.default_rng(1)
    codes = np.stack([rng.choice(len(values), size=20_000, p=values.numpy()) for values in probabilities], axis=1)
    costs = table.predict(space.canonical(codes.astype(np.int8)))
    expected = table.expected(probabilities)
    assert abs(expected - costs.mean()) < 5 * costs.std() / np.sqrt(len(costs))
    assert expected > max(expected_sum([part], probabilities) for part in table.parts) - 1e-6


def test_probabilities_that_do_not_fit():
    parts = (Part((0, 1), np.zeros((2, 3))),)
    space = CategoricalSpace([2, 3])
    with pytest.raises(ValueError, match="probabilities of 1 genes; gene 1 has none"):
        expected_sum(parts, [torch.ones(2)])
    with pytest.raises(ValueError, match=r"gene 1 have the shape \(2,\); it has 3 options"):
        Table(space, "a", "", parts).expected([torch.ones(2), torch.ones(2)])
