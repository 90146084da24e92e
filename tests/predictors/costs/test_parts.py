"""Parts over any genes: random spaces, held to a loop over their networks."""

from dataclasses import replace

import numpy as np
import pytest
from toy_costs import toy

from ofa.predictors.costs.parts import MAX_EXACT_FLOAT32, Part, PartLookup
from ofa.predictors.costs.table import Table
from ofa.supernet.categorical import CategoricalSpace

COMBINED = {"sum": sum, "max": max}


def by_loop(table, code):
    """The cost of one network, part by part."""
    costs = []
    for part in table.parts:
        if part.depth_gene is None or code[part.depth_gene] >= part.min_option:
            costs.append(part.costs[tuple(code[gene] for gene in part.genes)])
    return table.intercept + table.slope * COMBINED[table.combine](costs)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("combine", COMBINED)
def test_any_space_costs_what_its_parts_do(seed, combine):
    rng = np.random.default_rng([seed, 7])
    space, parts = toy(rng)
    table = Table(
        space, "made up", "", parts, slope=float(rng.normal()), intercept=float(rng.normal()), combine=combine
    )
    codes = space.sample(50, rng)
    assert table.predict(codes) == pytest.approx([by_loop(table, code) for code in codes], rel=1e-12, abs=1e-12)
    alone = [table.predict(code[None])[0] for code in codes]
    assert table.predict(codes).tolist() == alone, "a network's cost depends on those beside it"
    assert table.predict(codes[:0]).shape == (0,)


@pytest.mark.parametrize("seed", range(10))
def test_any_space_is_saved_exactly(seed, tmp_path):
    rng = np.random.default_rng([seed, 8])
    space, parts = toy(rng)
    table = Table(space, "made up", "J", parts, slope=1 / 3, intercept=0.1, info={"a": [1]}, floor=0.2)
    table.save(tmp_path / "table.json")
    again = Table.load(tmp_path / "table.json")
    codes = space.sample(200, rng)
    assert np.array_equal(again.predict(codes), table.predict(codes)) and again.space == space
    assert (again.name, again.unit, again.info) == ("made up", "J", {"a": [1]})


@pytest.mark.parametrize("seed", range(10))
def test_each_part_alone_adds_what_it_has(seed):
    rng = np.random.default_rng([seed, 9])
    space, parts = toy(rng)
    table = Table(space, "made up", "", parts)
    codes = space.sample(100, rng)
    each = table.predict_parts(codes)
    for column, part in enumerate(parts):
        assert np.array_equal(each[:, column], np.where(part.runs(codes), part.costs[part.options(codes)], 0.0))
    assert each.sum(axis=1) == pytest.approx(table.predict(codes))


def test_large_tables_are_indexed_exactly():
    """More entries than float32 can count: the last entries must not run into each other."""
    counts = [127, 127, 127, 9]
    assert np.prod(counts) > MAX_EXACT_FLOAT32
    costs = np.arange(np.prod(counts), dtype=np.float64).reshape(counts)
    lookup = PartLookup([Part((0, 1, 2, 3), costs)], counts, off=0.0)
    rng = np.random.default_rng(0)
    codes = np.array(counts) - 1 - rng.integers(0, 3, size=(500, 4))
    assert np.array_equal(lookup.costs(codes.astype(np.int8))[:, 0], costs[tuple(codes.T)])


def test_one_part_is_a_table():
    space = CategoricalSpace([3])
    for combine in COMBINED:
        table = Table(space, "one", "", (Part((0,), np.array([1.0, -2.0, 3.0])),), combine=combine)
        assert table.predict(np.array([[0], [1], [2]])).tolist() == [1.0, -2.0, 3.0]


@pytest.mark.parametrize(
    ("genes", "costs", "words"),
    [
        ((0,), np.zeros((2, 2)), "one axis a gene"),
        ((1, 1), np.zeros((2, 2)), "one axis a gene"),
        ((0,), [1.0, np.nan], "no finite number"),
        ((0,), [1.0, np.inf], "no finite number"),
    ],
)
def test_what_is_no_part(genes, costs, words):
    with pytest.raises(ValueError, match=words):
        Part(genes, costs)


def test_parts_that_do_not_fit_the_space():
    space = CategoricalSpace([2, 3])
    good = Table(space, "a", "", (Part((0, 1), np.zeros((2, 3))),))
    for part, words in (
        (Part((0, 1), np.zeros((2, 4))), r"part 0 has costs of shape \(2, 4\); its genes have \(2, 3\) options"),
        (Part((2,), np.zeros(2)), r"part 0 has the genes \(2,\); this space has 2"),
        (Part((0,), np.zeros(2), depth_gene=5), "this space has 2"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(good, parts=(part,))
    with pytest.raises(ValueError, match="has no parts"):
        replace(good, parts=())
