"""Tables with a second sum, of what caches do not keep: held to a loop over networks, saved exactly, bad ones named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_costs import toy

from ofa.predictors.costs.caches import Caches, missed
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.table import Table
from ofa.supernet.space import SearchSpace


def with_caches(seed, kept=0.5):
    """A table of a random space; ``kept`` as a share of what the largest parts could weigh together."""
    rng = np.random.default_rng([seed, 11])
    space, parts = toy(rng)
    extra = tuple(rng.random(part.costs.shape) for part in parts)
    weights = tuple(rng.integers(0, 100_000, part.costs.shape).astype(float) for part in parts)
    most = sum(values.max() for values in weights)
    caches = Caches(kept * most, extra, weights)
    return Table(space, "latency", "ms", parts, slope=1.5, intercept=0.25, caches=caches), rng


def by_loop(table, code):
    total = extra = weights = 0.0
    for number, part in enumerate(table.parts):
        if part.depth_gene is None or code[part.depth_gene] >= part.min_option:
            place = tuple(code[gene] for gene in part.genes)
            total += part.costs[place]
            extra += table.caches.extra[number][place]
            weights += table.caches.weights[number][place]
    share = 1 - table.caches.kept / weights if weights > table.caches.kept else 0.0
    return table.intercept + table.slope * (total + share * extra)


@pytest.mark.parametrize("kept", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(10))
def test_a_network_adds_the_share_of_its_weights_that_no_cache_keeps(seed, kept):
    table, rng = with_caches(seed, kept)
    codes = table.space.sample(50, rng)
    predicted = table.predict(codes)
    assert predicted == pytest.approx([by_loop(table, code) for code in codes], rel=1e-12, abs=1e-12)
    assert predicted.tolist() == [table.predict(code[None])[0] for code in codes]
    assert table.intercept + table.slope * table.predict_parts(codes).sum(axis=1) == pytest.approx(predicted)
    if kept > 1:  # all networks run warm
        assert np.array_equal(predicted, replace(table, caches=None).predict(codes))
    assert table.predict(codes[:0]).shape == (0,)


@pytest.mark.parametrize("seed", range(5))
def test_saved_and_loaded_exactly(seed, tmp_path):
    table, rng = with_caches(seed)
    path = tmp_path / "table.json"
    CostTable.of(table).save(path)
    again, codes = CostTable.load(path), table.space.sample(200, rng)
    assert np.array_equal(again.predict(codes), table.predict(codes)) and again.caches.kept == table.caches.kept


@pytest.mark.parametrize("seed", range(5))
def test_expected_is_the_cost_of_a_network_where_genes_are_certain_and_has_gradients(seed):
    table, rng = with_caches(seed, kept=0.1)
    codes = table.space.sample(8, rng)
    chosen = [
        torch.nn.functional.one_hot(torch.tensor(codes[:, gene]).long(), int(count)).double().requires_grad_()
        for gene, count in enumerate(table.space.num_options)
    ]
    expected = table.expected(chosen)
    assert expected.tolist() == pytest.approx(table.predict(codes).tolist())
    expected.sum().backward()
    assert all(torch.isfinite(values.grad).all() for values in chosen if values.grad is not None)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_missed(make):
    assert missed(make([0.0, 5.0, 10.0, 20.0, 40.0]), 10.0).tolist() == [0.0, 0.0, 0.0, 0.5, 0.75]


@pytest.mark.parametrize("kept", [0, -1.0, float("nan"), float("inf"), "10", None, True])
def test_caches_keep_a_number_of_bytes(kept):
    with pytest.raises(ValueError, match=r"caches keep .* bytes; it must be a positive number"):
        Caches(kept, (), ())


def test_caches_that_do_not_fit_the_table():
    table, _ = with_caches(0)
    good = table.caches
    for bad, words in (
        (replace(good, extra=good.extra[1:]), "the extra of its caches has not the shapes of its parts"),
        (replace(good, weights=tuple(one[:0] for one in good.weights)), "the weights of its caches has not the shapes"),
        (replace(good, weights=tuple(one - 1e6 for one in good.weights)), "the weights of its caches are negative"),
        (replace(good, extra=tuple(one * np.nan for one in good.extra)), "no finite number"),
    ):
        with pytest.raises(ValueError, match=words):
            replace(table, caches=bad)
    with pytest.raises(ValueError, match="only a sum over parts can have caches"):
        replace(table, combine="max")


@pytest.mark.parametrize(
    "damage",
    [
        lambda caches: {**caches, "kept": 0},
        lambda caches: {**caches, "kept": "much"},
        lambda caches: {**caches, "kept": None},
        lambda caches: {"kept": caches["kept"]},
        lambda caches: {**caches, "surprise": 1},
        lambda caches: {**caches, "extra": caches["extra"][1:]},
        lambda caches: {**caches, "extra": 3},
        lambda caches: {**caches, "weights": ["a", "lot"]},
        lambda caches: {**caches, "weights": [None for _ in caches["weights"]]},
        lambda _caches: [1],
        lambda _caches: 7,
    ],
)
def test_damaged_caches_are_named(damage, tmp_path):
    table, path = with_caches(1)[0], tmp_path / "table.json"
    table.save(path)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "caches": damage(values["caches"])}))
    with pytest.raises(ValueError, match=r"table\.json is damaged"):
        Table.load(path)


def test_tables_of_format_2_have_no_caches(tmp_path):
    """Written by the version before: the same file without the key."""
    space, path = SearchSpace.preset("tiny_mbv3"), tmp_path / "table.json"
    table = CostTable.macs(space, num_classes=10)
    table.save(path)
    values = json.loads(path.read_text())
    assert values.pop("caches") is None
    path.write_text(json.dumps({**values, "format": 2}))
    again, codes = CostTable.load(path), space.sample(100, np.random.default_rng(0))
    assert again.caches is None and np.array_equal(again.predict(codes), table.predict(codes))
