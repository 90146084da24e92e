"""What samples, offspring, repaired codes and descents are made of."""

import numpy as np
import pytest

from ofa.strategies.limits import descend
from ofa.strategies.variation import repair, sample, vary
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.genome import DTYPE
from ofa.supernet.space import SearchSpace

LARGE = SearchSpace.preset("ofa_mbv3")


class Linear:
    """A cost that adds up over the active genes, from made-up prices."""

    def __init__(self, space, *, seed=0):
        self.space = space
        rng = np.random.default_rng(seed)
        self.prices = [np.sort(rng.uniform(1, 2, count)) for count in space.num_options]

    def predict(self, codes):
        live = self.space.active_genes(codes)
        columns = [prices[codes[:, gene]] for gene, prices in enumerate(self.prices)]
        return (np.stack(columns, axis=1) * live).sum(axis=1)


def test_descent_sweeps_until_nothing_is_lower():
    def objective(codes):
        """Gene 5 helps at once, gene 4 once gene 5 is set, and so on: each sweep can set one."""
        return -np.cumprod(codes[:, 5::-1] > 0, axis=1).sum(axis=1).astype(float)

    assert descend(LARGE, objective, LARGE.encode(LARGE.smallest)[None])[1] == -6


def test_offspring_by_crossover_take_genes_of_their_parents():
    rng = np.random.default_rng(0)
    parents = np.stack([np.zeros(LARGE.num_genes), LARGE.num_options - 1]).astype(np.int8)
    # A deepest network has no inactive blocks, so its genes mix with nothing but the other parent's.
    parents[0, LARGE.genes_of("depth")] = 2
    offspring = vary(LARGE, parents, 500, rng, mutation=1, crossover=1)
    assert ((offspring == parents[0]) | (offspring == parents[1])).all()
    share = (offspring == parents[1])[:, LARGE.genes_of("kernel")].mean()
    assert 0.4 < share < 0.6


def test_offspring_by_mutation_differ_from_their_parent_as_often_as_asked():
    rng = np.random.default_rng(0)
    parent = LARGE.encode(LARGE.largest)[None]
    assert (vary(LARGE, parent, 50, rng, mutation=0, crossover=0) == parent).all()
    depths = LARGE.genes_of("depth")
    offspring = vary(LARGE, parent, 3000, rng, mutation=0.2, crossover=0)
    # Of three options, a redraw gives another two times in three; from the last one, every other step leads away.
    share = 0.5 * 2 / 3 + 0.5 * 1 / 2
    assert (offspring[:, depths] != parent[:, depths]).mean() == pytest.approx(0.2 * share, abs=0.01)
    # One in three redraws, and no step, goes from the last to the first option: steps are to neighbours.
    assert (offspring[:, depths] == 0).mean() == pytest.approx(0.2 * 0.5 / 3, abs=0.01)


def test_blocks_that_a_child_switches_on_get_any_option():
    rng = np.random.default_rng(0)
    offspring = vary(LARGE, LARGE.encode(LARGE.smallest)[None], 4000, rng, mutation=0.1, crossover=0)
    last_of_stage = [number for number, slot in enumerate(LARGE.blocks) if slot.index == 3]
    on = LARGE.active(offspring)[:, last_of_stage]
    kernels = offspring[:, LARGE.genes_of("kernel")][:, last_of_stage][on]
    assert on.any() and (np.bincount(kernels, minlength=3) / len(kernels) > 0.25).all()


def test_draws_reach_every_option_and_small_networks():
    codes = sample(LARGE, 4000, np.random.default_rng(0))
    assert np.array_equal(codes, LARGE.canonical(codes)) and codes.dtype == DTYPE
    assert (codes.max(axis=0) == LARGE.num_options - 1).all() and (codes.min(axis=0) == 0).all()
    uniform = LARGE.sample(4000, np.random.default_rng(0))
    cost = Linear(LARGE)
    assert cost.predict(codes).min() < cost.predict(uniform).min() - 5


def test_repaired_codes_are_feasible_and_near_the_limit():
    rng = np.random.default_rng(0)
    cost = Linear(LARGE, seed=5)
    codes = LARGE.sample(200, rng)
    limit = float(np.quantile(cost.predict(codes), 0.01))
    codes = codes[cost.predict(codes) > limit]
    smallest = np.repeat(LARGE.encode(LARGE.smallest)[None], len(codes), axis=0)
    repaired = repair(LARGE, codes, smallest, lambda some: cost.predict(some) <= limit, rng)
    after = cost.predict(repaired)
    assert (after <= limit).all()
    assert np.median(after) > cost.predict(smallest)[0] + 0.8 * (limit - cost.predict(smallest)[0])
    assert len(np.unique(repaired, axis=0)) > 0.9 * len(codes)


def test_options_without_an_order_are_drawn_uniformly_and_bred():
    space = CategoricalSpace([3, 5, 2])
    rng = np.random.default_rng(0)
    codes = sample(space, 6000, rng)
    for gene, count in enumerate(space.num_options):
        assert np.bincount(codes[:, gene], minlength=count) / len(codes) == pytest.approx(1 / count, abs=0.03)
    offspring = vary(space, codes[:2], 2000, rng, mutation=0.5, crossover=0)
    assert (offspring < space.num_options).all() and (offspring >= 0).all()
    assert len(np.unique(offspring, axis=0)) > 20
    assert (vary(space, codes[:1], 50, rng, mutation=0, crossover=0.5) == codes[0]).all()
