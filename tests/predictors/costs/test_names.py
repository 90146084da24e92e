"""The table of costs is held to the tables that its makers make, and to the recipe's keys."""

import pytest

from ofa.config.target import LimitsConfig, Target
from ofa.export.runtimes import RUNTIMES
from ofa.predictors.costs.names import COSTS, counted_costs, limitable_on
from ofa.supernet.space import SearchSpace

SPACE = SearchSpace.preset("mcu_32")


@pytest.mark.parametrize("bits", [8, 32])
def test_counted_tables_have_the_name_and_unit_of_their_entry(bits):
    tables = counted_costs(SPACE, num_classes=10, in_chans=1, bits=bits)
    assert list(tables) == [name for name, cost in COSTS.items() if cost.count and cost.limits]
    for name, cost in COSTS.items():
        if cost.count:
            table = cost.count(SPACE, num_classes=10, in_chans=1, bits=bits)
            assert (table.name, table.unit) == (name, cost.unit)


def test_every_key_of_limits_is_one_cost_s_and_says_what_it_takes():
    keys = [key.name for cost in COSTS.values() for key in cost.limits]
    assert list(LimitsConfig.model_fields) == keys and len(set(keys)) == len(keys)
    for cost in COSTS.values():
        for key in cost.limits:
            assert cost.about.removesuffix(".") in LimitsConfig.model_fields[key.name].description


@pytest.mark.parametrize("cost", [name for name, cost in COSTS.items() if cost.limits])
def test_a_limit_becomes_the_table_s_unit(cost):
    for key in COSTS[cost].limits:
        if key.accepts != "fraction":
            (limit,) = Target.model_validate({"limits": {key.name: 3}}).limits
            assert (limit.cost, limit.value, limit.relative) == (cost, 3 * key.unit, False)
        if key.accepts != "amount":
            (limit,) = Target.model_validate({"limits": {key.name: "0.5x"}}).limits
            assert (limit.cost, limit.value, limit.relative) == (cost, 0.5, True)


def test_a_cost_can_be_limited_where_it_is_counted_or_measured():
    assert limitable_on("macs") == limitable_on("flash") == tuple(RUNTIMES)
    assert limitable_on("latency") == tuple(name for name, spec in RUNTIMES.items() if spec.has_latency)
    assert limitable_on("instructions") == ("cortex_m4", "cortex_m55")
    assert all(limitable_on(cost) for cost in COSTS)
