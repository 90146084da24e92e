"""Targets with equal limits share them, and another process is told exactly the same."""

import numpy as np

from ofa.predictors.costs.cost_table import CostTable
from ofa.supernet.space import SearchSpace
from ofa.targets.limit_sets import limit_sets, of_json, to_json

SPACE = SearchSpace.preset("tiny_mbv3")


def macs():
    return CostTable.macs(SPACE, num_classes=10)


def test_equal_limits_are_one_set_and_others_are_not():
    params = CostTable.params(SPACE, num_classes=10)
    limits = {"a": {macs(): 1e6}, "b": {macs(): 1e6}, "c": {macs(): 2e6}, "d": {params: 1e6}, "e": {macs(): 1e6}}
    sets = limit_sets(limits)
    assert [one.targets for one in sets] == [("a", "b", "e"), ("c",), ("d",)]
    assert len({one.digest for one in sets}) == 3


def test_another_process_is_told_the_same():
    (one,) = limit_sets({"a": {macs(): 1e6}})
    (told,) = of_json(to_json([one]))
    assert told == one and told.digest == one.digest
    ((table, limit),) = told.by_table.items()
    codes = SPACE.sample(20, np.random.default_rng(0))
    assert limit == 1e6 and np.array_equal(table.predict(codes), macs().predict(codes))
