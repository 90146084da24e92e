"""Active collection: spread, new networks only, better fronts than random ones, and an end."""

import numpy as np
import pytest

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.active import best_under_budget, candidates, converged, expected_improvement, next_batch
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.sampling import mutate
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

SPACE = CategoricalSpace([3] * 7, roles=["layer"] * 7)
POOL = np.stack(np.unravel_index(np.arange(SPACE.size), SPACE.num_options), axis=1).astype(np.int8)
COSTS = 1.0 + POOL @ np.array([1.0, 2, 1, 3, 1, 2, 1])
GAINS = np.random.default_rng(5).uniform(0, 3, (7, 3))
TRUTH = GAINS[np.arange(7), POOL].sum(axis=1) + 0.5 * (POOL[:, 0] == 2) * (POOL[:, 6] == 2)


def test_batches_are_new_spread_and_repeatable():
    rows = np.random.default_rng(0).permutation(len(POOL))[:30]
    pool = np.concatenate([POOL[rows], POOL[:400], POOL[:400]])
    pool_costs = np.concatenate([COSTS[rows], COSTS[:400], COSTS[:400]])
    arguments = {"pool": pool, "pool_costs": pool_costs, "n": 12}
    chosen = next_batch(SPACE, POOL[rows], TRUTH[rows], COSTS[rows], **arguments)
    assert np.array_equal(chosen, next_batch(SPACE, POOL[rows], TRUTH[rows], COSTS[rows], **arguments))
    found = {code.tobytes() for code in pool[chosen]}
    assert len(found) == len(chosen) == 12 and not found & {code.tobytes() for code in POOL[rows]}
    assert (np.diff(pool_costs[chosen]) >= 0).all()
    # Each twelfth of the pool by cost has one.
    ranks = np.searchsorted(np.sort(COSTS[:400]), pool_costs[chosen], side="left") / 400
    assert np.abs(ranks - np.arange(12) / 12).max() < 0.15


def test_finds_a_better_front_than_random_rows():
    limits = np.linspace(np.quantile(COSTS, 0.05), COSTS.max(), 20)
    truth = best_under_budget(limits, COSTS, TRUTH)
    regrets = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(POOL))
        rows = order[:20]
        for step in range(4):
            chosen = next_batch(
                SPACE, POOL[rows], TRUTH[rows], COSTS[rows], pool=POOL, pool_costs=COSTS, n=10, seed=step
            )
            rows = np.concatenate([rows, chosen])
        assert len(set(rows)) == 60
        regrets.append(
            [np.mean(truth - best_under_budget(limits, COSTS[some], TRUTH[some])) for some in (rows, order[:60])]
        )
    active, random = np.mean(regrets, axis=0)
    assert active < 0.5 * random


def test_a_small_pool_is_taken_whole():
    rows = np.arange(0, 2000, 100)
    pool = np.concatenate([POOL[:3], POOL[1:3]])
    chosen = next_batch(
        SPACE, POOL[rows], TRUTH[rows], COSTS[rows], pool=pool, pool_costs=np.array([4.0, 2, 3, 2, 3]), n=9
    )
    assert chosen.tolist() == [1, 2]  # network 0 is measured; the others are there twice
    none = next_batch(SPACE, POOL[rows], TRUTH[rows], COSTS[rows], pool=POOL[rows], pool_costs=COSTS[rows], n=9)
    assert none.shape == (0,)


def test_expected_improvement_is_of_the_front_at_the_same_cost():
    rows = np.arange(0, 2187, 20)
    predictor = AccuracyPredictor(SPACE).fit(POOL[rows], TRUTH[rows])
    asked = np.repeat(POOL[[TRUTH.argmax()]], 2, axis=0)
    cheap, dear = expected_improvement(predictor, asked, np.array([COSTS.min(), COSTS.max()]), POOL[rows], COSTS[rows])
    assert cheap > dear >= 0


def test_front():
    found = best_under_budget(np.array([0.5, 1, 2.5, 9]), np.array([2.0, 1, 3]), np.array([0.9, 0.5, 0.7]))
    assert found.tolist() == [0.5, 0.5, 0.9, 0.9]


def test_settled_when_the_front_stands_still():
    costs = np.array([1.0, 2, 3, 1.5, 2.5])
    assert converged(np.array([0.5, 0.6, 0.7, 0.5, 0.6]), costs, newest=2)
    assert not converged(np.array([0.5, 0.6, 0.7, 0.65, 0.6]), costs, newest=2)
    assert converged(np.array([0.5, 0.6, 0.7, 0.65, 0.6]), costs, newest=2, tolerance=0.5)
    for newest in (0, 5):
        with pytest.raises(ValueError, match="newest"):
            converged(np.ones(5), costs, newest=newest)


@pytest.mark.parametrize(
    ("wrong", "message"), [({"pool_costs": COSTS[:5]}, r"\(5,\)"), ({"n": 0}, "n is 0"), ({"costs": COSTS}, "one each")]
)
def test_bad_input_is_named(wrong, message):
    rows = np.arange(10)
    arguments = {"costs": COSTS[rows], "pool": POOL, "pool_costs": COSTS, "n": 3, **wrong}
    with pytest.raises(ValueError, match=message):
        next_batch(SPACE, POOL[rows], TRUTH[rows], **arguments)


def test_candidates_are_spread_and_near_the_front():
    space = SearchSpace.preset("tiny_mbv3")
    cost = CostTable.macs(space, num_classes=10, in_chans=3)
    rng = np.random.default_rng(0)
    codes = space.sample(40, rng)
    costs = cost.predict(codes)
    accuracy = np.where(costs == costs.min(), 1.0, 0.5)  # the cheapest is the whole front
    pool = candidates(space, codes, accuracy, cost=cost, n=400, rng=np.random.default_rng(1))
    assert 200 < len(pool) <= 400 and len(np.unique(space.canonical(pool), axis=0)) == len(pool)
    inside = np.histogram(cost.predict(pool), 8, (costs.min(), costs.max()))[0]
    assert inside.min() >= 10
    chosen = next_batch(space, codes, accuracy, costs, pool=pool, pool_costs=cost.predict(pool), n=8)
    assert len(chosen) == 8
    front = codes[[costs.argmin()]]
    assert ((pool != front).sum(axis=1) <= 6).sum() > 50


def test_neighbours_are_canonical_and_near():
    space = SearchSpace.preset("ofa_mbv3")
    parent = space.sample(1, np.random.default_rng(0))
    found = mutate(space, parent, 200, np.random.default_rng(1))
    assert np.array_equal(found, space.canonical(found)) and found.dtype == parent.dtype
    changed = (found != parent).sum(axis=1)
    assert 0.5 < np.median(changed) <= 4 and len(np.unique(found, axis=0)) > 50
