"""Fronts, ranks and crowding against their definitions, and NSGA-II against the whole of a space."""

from itertools import product

import numpy as np
import pytest

import ofa
from ofa.strategies.pareto import crowding_distance, front, nondominated_sort

# Few different values, so that there are ties and repeats.
CASES = [
    np.random.default_rng(n * 10 + m).integers(0, 5, (n, m)).astype(float) for n in (1, 2, 7, 80) for m in (1, 2, 3, 5)
]


def beats(one, two):
    return (one <= two).all() and (one < two).any()


@pytest.mark.parametrize("values", CASES, ids=lambda values: "x".join(map(str, values.shape)))
def test_front_and_ranks_are_what_their_definitions_say(values):
    found = front(values)
    unbeaten = [row for row, one in enumerate(values) if not any(beats(two, one) for two in values)]
    assert {tuple(values[row]) for row in found} == {tuple(values[row]) for row in unbeaten}
    assert [tuple(row) for row in values[found]] == sorted({tuple(row) for row in values[found]})
    assert all((values[:row] != values[row]).any(axis=1).all() for row in found)  # of equal rows the first

    left, expected, number = set(range(len(values))), np.empty(len(values)), 0
    while left:
        current = {row for row in left if not any(beats(values[other], values[row]) for other in left)}
        expected[list(current)] = number
        left, number = left - current, number + 1
    assert np.array_equal(nondominated_sort(values), expected)


def test_crowding_by_hand():
    values = np.array([[0, 8], [1, 4], [4, 0], [3, 3], [5, 5], [2, 9]], float)
    rank = nondominated_sort(values)
    assert rank.tolist() == [0, 0, 0, 0, 1, 1]
    apart = crowding_distance(values, rank)
    # (1, 4) lies between (0, 8) and (3, 3), (3, 3) between (1, 4) and (4, 0); the ranges are 4 and 8.
    assert apart[[1, 3]] == pytest.approx([3 / 4 + 5 / 8, 3 / 4 + 4 / 8])
    assert np.isinf(apart[[0, 2, 4, 5]]).all()


def test_crowding_of_equal_rows_is_no_error():
    values = np.ones((4, 2))
    assert not np.isnan(crowding_distance(values, nondominated_sort(values))).any()


STAGE = {"stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3, 4]}
SPACE = ofa.SearchSpace.from_dict(
    {"resolutions": [16, 32], "stages": [{"width": width, **STAGE} for width in (16, 24)]}
)
MACS, PARAMS = ofa.CostTable.macs(SPACE, num_classes=10), ofa.CostTable.params(SPACE, num_classes=10)


class Curved:
    def predict(self, codes):
        weights = np.random.default_rng(1).uniform(0.5, 1.5, codes.shape[1])
        return np.sqrt(codes @ weights) + 0.1 * np.sin(5 * (codes @ weights))


@pytest.mark.parametrize("costs", [[MACS], [MACS, PARAMS]], ids=["one cost", "two costs"])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_nsga2_finds_nearly_the_whole_front(costs, share):
    codes = SPACE.canonical(np.array(list(product(*map(range, SPACE.num_options))), np.int8))
    codes = np.unique(codes, axis=0)
    assert len(codes) == SPACE.size == 3528
    limits = {MACS: float(np.quantile(MACS.predict(codes), share))}
    codes = codes[MACS.predict(codes) <= limits[MACS]]
    values = np.column_stack([*(cost.predict(codes) for cost in costs), -Curved().predict(codes)])
    truth = {tuple(row) for row in values[front(values)]}

    def found(strategy, seed):
        settings = {"population": 80, "generations": 15, "seed": seed}
        result = ofa.search(SPACE, Curved(), limits=limits, objectives=costs, strategy=strategy, **settings)
        assert result.evaluated <= 80 * 16 < 3528 / 2
        points = {(*(point["costs"][cost.name] for cost in costs), -point["accuracy"]) for point in result.front}
        return len(points & truth) / len(truth)

    shares = [[found(strategy, seed) for seed in range(4)] for strategy in ("nsga2", "random")]
    assert np.mean(shares[0]) > 0.8
    assert np.mean(shares[0]) > np.mean(shares[1]) + 0.3
