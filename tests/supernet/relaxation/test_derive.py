"""The most probable networks inside limits, compared with all networks of small spaces."""

from functools import cache

import numpy as np
import pytest
from shared_spaces import SMALL

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.relaxation import constrained_search
from ofa.supernet.relaxation.derive import most_probable
from ofa.supernet.space import SearchSpace

# Genes of two and three options, 11,340 networks.
SPACE = SearchSpace.from_dict(
    {
        "resolutions": [8, 12, 16],
        "stem": {"width": 8, "first_width": 8},
        "stages": [
            {"width": 8, "depths": [1, 2], "kernels": [3, 5, 7], "expands": [2, 3, 4]},
            {"width": 16, "stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 4, 6], "se": True},
        ],
        "head": {"width": 32, "features": 32},
    }
)
LIMITED = [("macs",), ("params",), ("peak_memory",), ("macs", "params"), ("macs", "params", "peak_memory")]


@cache
def tables():
    return {name: getattr(CostTable, name)(SPACE, num_classes=10) for name in LIMITED[-1]}


@cache
def everything():
    """All codes, and what each costs."""
    options = [np.arange(n) for n in SPACE.num_options]
    codes = np.stack(np.meshgrid(*options, indexing="ij"), axis=-1).reshape(-1, SPACE.num_genes).astype(np.int8)
    codes = np.unique(SPACE.canonical(codes), axis=0)
    assert len(codes) == SPACE.size
    return codes, {name: table.predict(codes) for name, table in tables().items()}


def regrets(probabilities, codes):
    """How much less probable a network's choices are than the best, written out."""
    active = SPACE.active_genes(codes)
    total = np.zeros(len(codes))
    for column, values in enumerate(probabilities):
        total += np.where(active[:, column], np.log(values.max() / values[codes[:, column]]), 0)
    return total


def drawn_problem(seed, names):
    rng = np.random.default_rng(seed)
    spread = rng.choice([0.3, 1, 5])
    probabilities = [rng.dirichlet(np.full(n, spread)) for n in SPACE.num_options]
    costs = everything()[1]
    limits = {tables()[name]: float(np.quantile(costs[name], rng.uniform(0.05, 0.6))) for name in names}
    return probabilities, limits


@pytest.mark.parametrize("names", LIMITED, ids="-".join)
@pytest.mark.parametrize("enumerated", [0, 10**6], ids=["searched", "enumerated"])
def test_it_is_the_best_of_all_networks_inside(names, enumerated, monkeypatch):
    monkeypatch.setattr(constrained_search, "MAX_ENUMERATED", enumerated)
    codes, costs = everything()
    for seed in range(2 if enumerated else 6):
        probabilities, limits = drawn_problem(seed, names)
        inside = np.all([costs[table.name] <= limit for table, limit in limits.items()], axis=0)
        best = np.sort(regrets(probabilities, codes[inside]))[:5]
        found = most_probable(SPACE, probabilities, limits=limits, count=5)
        assert all((table.predict(found) <= limit).all() for table, limit in limits.items())
        assert len(np.unique(found, axis=0)) == len(found) == len(best)
        np.testing.assert_allclose(regrets(probabilities, found), best, atol=1e-9)
        assert np.array_equal(most_probable(SPACE, probabilities, limits=limits, count=5), found)


def test_without_limits_it_is_each_genes_best_and_the_next_ones_follow():
    probabilities, _ = drawn_problem(0, ())
    found = most_probable(SPACE, probabilities, count=20)
    expected = np.array([values.argmax() for values in probabilities], np.int8)
    assert np.array_equal(found[0], SPACE.canonical(expected[None])[0])
    np.testing.assert_allclose(
        regrets(probabilities, found), np.sort(regrets(probabilities, everything()[0]))[:20], atol=1e-9
    )


def test_undecided_blocks_do_not_speak_against_depth():
    probabilities = [np.full(n, 1 / n) for n in SPACE.num_options]
    for column in SPACE.genes_of("depth"):
        probabilities[column] = np.array([0.4, 0.6])
    assert SPACE.decode(most_probable(SPACE, probabilities)[0]).depths == (2, 2)


def test_options_of_probability_0_are_never_chosen():
    probabilities = [np.full(n, 1 / n) for n in SPACE.num_options]
    for column in SPACE.genes_of("kernel"):
        probabilities[column][0] = 0
    found = most_probable(SPACE, probabilities, limits={tables()["macs"]: 1e5}, count=30)
    active = SPACE.active_genes(found)
    assert (found[:, SPACE.genes_of("kernel")] > 0)[active[:, SPACE.genes_of("kernel")]].all()


def least_possible_regret(space, macs, probabilities, limit):
    """A bound that no network of ``ofa_mbv3`` inside the limit can be below: the dual of the limit, for some prices.

    With a price on MACs every block chooses for itself, and each stage its depth, for each resolution.
    """
    regret = [np.log(values.max() / values) for values in probabilities]
    (resolution,), kernels, expands = (space.genes_of(role) for role in ("resolution", "kernel", "expand"))
    grid = [(r, k, e) for r in range(len(space.resolutions)) for k in range(3) for e in range(3)]
    codes = np.repeat(space.encode(space.largest)[None], len(grid), axis=0)
    codes[:, resolution] = [r for r, _, _ in grid]
    codes[:, kernels], codes[:, expands] = ([[pair[i]] for pair in grid] for i in (1, 2))
    parts = macs.predict_parts(codes).reshape(len(space.resolutions), 9, -1)
    of_block = [part.depth_gene is not None or len(part.genes) > 1 for part in macs.parts]
    own = np.stack([(regret[k][:, None] + regret[e]).ravel() for k, e in zip(kernels, expands, strict=True)], axis=1)
    bounds = []
    for price in np.geomspace(0.1, 100, 80) / limit:
        blocks = (own + price * parts[:, :, of_block]).min(axis=1)
        total = regret[resolution] + price * (parts[:, 0, np.logical_not(of_block)].sum(axis=1) - limit)
        for stage, column in enumerate(space.genes_of("depth")):
            inside = blocks[:, [block.stage == stage for block in space.blocks]]
            depths = [
                values + inside[:, :depth].sum(axis=1)
                for values, depth in zip(regret[column], space.genes[column].options, strict=True)
            ]
            total += np.min(depths, axis=0)
        bounds.append(total.min())
    return max(bounds)


def test_a_large_space_is_searched_close_to_a_bound_and_no_limit_is_exceeded():
    space = SearchSpace.preset("ofa_mbv3")
    macs = CostTable.macs(space, num_classes=1000)
    rng = np.random.default_rng(1)
    probabilities = [rng.dirichlet(np.ones(n)) for n in space.num_options]
    limit = 0.7 * float(macs.predict(most_probable(space, probabilities))[0])
    (found,) = most_probable(space, probabilities, limits={macs: limit})
    assert float(macs.predict(found[None])[0]) <= limit
    active = space.active_genes(found[None])[0]
    regret = sum(
        np.log(values.max() / values[option])
        for values, option, counts in zip(probabilities, found, active, strict=True)
        if counts
    )
    bound = least_possible_regret(space, macs, probabilities, limit)
    assert bound - 1e-9 < regret < bound + 0.35


@pytest.mark.parametrize("limit", [0, -1, float("nan"), float("inf"), True, "1", None])
def test_limits_that_are_none_are_refused(limit):
    with pytest.raises(ValueError, match=r"the limit of macs is .* finite number above 0"):
        most_probable(SPACE, [np.ones(n) for n in SPACE.num_options], limits={tables()["macs"]: limit})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"macs": 5}, r"no network has macs of at most 5: the cheapest found needs [\d,]+;"),
        ({"macs": 1e9, "params": 7}, r"no network has params of at most 7: the cheapest found needs [\d,]+;"),
    ],
)
def test_a_limit_that_nothing_meets_is_named(limits, message):
    with pytest.raises(ValueError, match=message):
        most_probable(
            SPACE,
            [np.ones(n) for n in SPACE.num_options],
            limits={tables()[name]: limit for name, limit in limits.items()},
        )


class _Opposed:
    """Grows with a gene, or falls."""

    unit, name = "things", "opposed"

    def __init__(self, sign):
        self.sign = sign

    def predict(self, codes):
        return 2.0 + self.sign * codes[:, 0]


def test_limits_that_nothing_meets_together_are_named():
    with pytest.raises(ValueError, match=r"no network meets all limits at once: .* opposed .* things, opposed"):
        most_probable(SPACE, [np.ones(n) for n in SPACE.num_options], limits={_Opposed(1): 2, _Opposed(-1): 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values[:-1], "probabilities of 10 genes; this space has 11"),
        (lambda values: [*values[:-1], np.zeros(3)], "give 3 numbers from 0, not all of them 0"),
        (lambda values: [*values[:-1], np.array([1, np.nan, 0])], "give 3 numbers from 0"),
        (lambda values: [*values[:-1], np.ones(4)], "give 3 numbers from 0"),
    ],
)
def test_probabilities_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        most_probable(SPACE, change([np.ones(n) for n in SPACE.num_options]))


def test_costs_of_another_space_are_refused():
    with pytest.raises(ValueError, match="macs is of another search space"):
        most_probable(SMALL, [np.ones(n) for n in SMALL.num_options], limits={tables()["macs"]: 1e9})
