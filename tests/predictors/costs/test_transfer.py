"""A new device from a few timed networks: sums of known tables are found, the result is a table, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ofa.predictors.costs.caches import Caches
from ofa.predictors.costs.cost_table import CostTable
from ofa.predictors.costs.counts import macs_table, params_table
from ofa.predictors.costs.memory import peak_memory
from ofa.predictors.costs.parts import Part
from ofa.predictors.costs.table import Table
from ofa.predictors.costs.transfer import networks_to_time, transfer_latency
from ofa.predictors.metrics import kendall_tau, mape
from ofa.supernet.categorical import CategoricalSpace
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("tiny_mbv3")
HEAD = {"num_classes": 10, "in_chans": 3}


def device(seed: int, *, intercept: float = 0.5) -> Table:
    """Of counted work in random proportions and random per part: a device like no other."""
    rng = np.random.default_rng(seed)
    macs, params = macs_table(SPACE, **HEAD), params_table(SPACE, **HEAD)
    parts = tuple(
        Part(one.genes, rng.uniform(0.5, 2) * one.costs / 1e6 + rng.uniform(0, 0.3), one.depth_gene, one.min_option)
        for one, other in zip(macs.parts, params.parts, strict=True)
    )
    return Table(SPACE, "latency", "ms", parts, intercept=intercept, info={"device": f"board {seed}"})


KNOWN = [device(seed) for seed in range(3)]
CODES = SPACE.sample(300, np.random.default_rng(9))


def test_a_weighted_sum_of_known_devices_is_found():
    timed = networks_to_time(KNOWN, 10)
    truth = lambda codes: 0.2 + 3 * KNOWN[0].predict(codes) + 0.5 * KNOWN[2].predict(codes)  # noqa: E731
    table = transfer_latency(KNOWN, timed, truth(timed))
    assert isinstance(table, CostTable)
    assert mape(table.predict(CODES), truth(CODES)) < 0.01
    assert (table.name, table.unit, table.info["quality"]["test_subnets"]) == ("latency", "ms", 10)
    assert table.info["quality"]["mape"] < 0.05
    assert table.info["known"] == ["latency of board 0", "latency of board 1", "latency of board 2"]


def test_ten_noisy_networks_of_a_device_like_no_other_rank_the_space():
    truth, timed = device(7, intercept=2.0), networks_to_time(KNOWN[0], 10, seed=1)
    noise = np.random.default_rng(0).normal(1, 0.02, 10)
    table = transfer_latency(KNOWN[0], [SPACE.decode(code) for code in timed], truth.predict(timed) * noise)
    assert kendall_tau(table.predict(CODES), truth.predict(CODES)) > 0.85


def test_the_result_is_a_table_like_any_other(tmp_path):
    table = transfer_latency(KNOWN, CODES[:12], 2 * KNOWN[1].predict(CODES[:12]))
    assert len(table.parts) == len(KNOWN[0].parts)  # parts of the same genes are one
    certain = [
        torch.eye(len(gene.options), dtype=torch.float64)[value]
        for gene, value in zip(SPACE.genes, CODES[0].tolist(), strict=True)
    ]
    assert float(table.expected(certain)) == pytest.approx(table.predict(CODES[:1])[0], rel=1e-6)
    table.save(tmp_path / "table.json")
    assert (CostTable.load(tmp_path / "table.json").predict(CODES) == table.predict(CODES)).all()


def test_warm_and_cold_caches_have_a_weight_each():
    parts = KNOWN[0].parts
    extra = tuple(0.3 * part.costs for part in parts)
    caches = Caches(1e4, extra, tuple(part.costs for part in params_table(SPACE, **HEAD).parts))
    cold = replace(
        KNOWN[0], parts=tuple(replace(part, costs=part.costs + more) for part, more in zip(parts, extra, strict=True))
    )
    table = transfer_latency(replace(KNOWN[0], caches=caches), CODES[:10], cold.predict(CODES[:10]))
    assert table.caches is None
    assert mape(table.predict(CODES), cold.predict(CODES)) < 0.02


def test_a_space_without_counts():
    space = CategoricalSpace([3, 4])
    known = Table(space, "latency", "ms", (Part((0,), [1.0, 2, 4]), Part((1,), [0.0, 1, 2, 3])))
    codes = networks_to_time(known, 8)
    assert len(np.unique(codes, axis=0)) == 8
    table = transfer_latency(known, codes, 5 * known.predict(codes))
    assert table.predict(space.sample(20, np.random.default_rng(0))) == pytest.approx(
        5 * known.predict(space.sample(20, np.random.default_rng(0))), rel=0.02
    )
    with pytest.raises(ValueError, match="12 different ones were found"):
        networks_to_time(known, 13)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([], CODES[:9], np.ones(9)), "no known table"),
        ((KNOWN, CODES[:9], np.ones(8)), "one of each"),
        ((KNOWN, CODES[:9], -np.ones(9)), "positive"),
        ((KNOWN, CODES[:9], np.full(9, np.nan)), "positive"),
        ((KNOWN, CODES[:4], np.ones(4)), "4 different networks are too few; time at least 5"),
        ((KNOWN, CODES[[0] * 9], np.ones(9)), "1 different networks are too few"),
        ((KNOWN, CODES[:0], np.ones(0)), "0 different networks"),
        (([peak_memory(SPACE, **HEAD)], CODES[:9], np.ones(9)), "only sums over parts"),
        (
            ([KNOWN[0], Table(CategoricalSpace([2]), "latency", "ms", (Part((0,), [1, 2]),))], CODES[:9], np.ones(9)),
            "different search spaces",
        ),
        ((KNOWN, ["no subnet"] * 9, np.ones(9)), "not of the known tables' space"),
    ],
)
def test_bad_input_is_one_sentence(arguments, said):
    with pytest.raises(ValueError, match=said):
        transfer_latency(*arguments)
