"""What every strategy promises, and what a user may ask beside limits."""

import json
import re
import time

import numpy as np
import pytest

import ofa
from ofa.errors import UserError
from ofa.strategies.limits import InfeasibleLimit
from ofa.strategies.table import STRATEGIES
from ofa.supernet.categorical import CategoricalSpace

SPACE = ofa.SearchSpace.preset("tiny_mbv3")
MACS, PARAMS = ofa.CostTable.macs(SPACE, num_classes=10), ofa.CostTable.params(SPACE, num_classes=10)
ONE = ofa.SearchSpace.from_dict(
    {"resolutions": [32], "stages": [{"width": 16, "depths": [1], "kernels": [3, 5], "expands": [2, 3]}]}
)
every_strategy = pytest.mark.parametrize("strategy", list(STRATEGIES))


class Bumpy:
    """An accuracy that grows with size, with bumps; keeps every code that it is asked about."""

    def __init__(self, space=SPACE):
        self.asked = []
        self.weights = np.random.default_rng(0).normal(1, 1, space.num_genes)

    def predict(self, codes):
        self.asked.append(codes)
        sums = (codes * self.weights).sum(axis=1)  # a product of matrices may round a row by its place
        return sums + np.sin(7 * sums)


def codes_of(predictor):
    return np.concatenate(predictor.asked)


def quantile(cost, share):
    return float(np.quantile(cost.predict(SPACE.sample(2000, np.random.default_rng(9))), share))


def subnets(n, *, seed=1, limits=None):
    codes = SPACE.sample(500, np.random.default_rng(seed))
    for cost, limit in (limits or {}).items():
        codes = codes[cost.predict(codes) <= limit]
    return [SPACE.decode(code) for code in codes[:n]]


LIMITS = {MACS: quantile(MACS, 0.4), PARAMS: quantile(PARAMS, 0.5)}
SHORT = {"population": 30, "generations": 8}
FITTED = {"progressive", "bayesian", "bananas"}  # a model of the scores is fitted in each generation
ENDS_EARLY = {"compound"}  # there are few networks that are scaled alike in every block


def short(strategy):
    return {"population": 20, "generations": 1, "pool": 60} if strategy in FITTED else SHORT


@every_strategy
def test_limits_hold_no_network_twice_and_the_result_is_what_was_seen(strategy):
    predictor = Bumpy()
    result = ofa.search(SPACE, predictor, limits=LIMITS, strategy=strategy, **short(strategy))
    asked = codes_of(predictor)
    assert len(np.unique(asked, axis=0)) == len(asked) == result.evaluated
    assert np.array_equal(asked, SPACE.canonical(asked))
    assert all((cost.predict(asked) <= limit).all() for cost, limit in LIMITS.items())
    scores = Bumpy().predict(asked)
    assert result.accuracy == scores.max()
    assert np.array_equal(SPACE.encode(result.best), asked[scores.argmax()])
    assert result.costs == {cost.name: cost.predict(asked)[scores.argmax()] for cost in LIMITS}
    generations = len(result.history) if strategy in ENDS_EARLY else short(strategy)["generations"] + 1
    assert [row["generation"] for row in result.history] == list(range(generations))
    assert result.history[-1]["evaluated"] == result.evaluated and result.history[-1]["accuracy"] == result.accuracy
    assert all(0 < row["feasible"] <= 1 for row in result.history)
    json.dumps(result.history)


@every_strategy
def test_one_seed_one_answer_whatever_the_global_state(strategy):
    runs, settings = [], short(strategy)
    for number, seed in enumerate((3, 3, 4)):
        np.random.seed(number)  # noqa: NPY002
        predictor = Bumpy()
        runs.append((ofa.search(SPACE, predictor, limits=LIMITS, strategy=strategy, seed=seed, **settings), predictor))
    assert runs[0][0] == runs[1][0]
    assert np.array_equal(codes_of(runs[0][1]), codes_of(runs[1][1]))
    assert not np.array_equal(codes_of(runs[0][1]), codes_of(runs[2][1]))


@every_strategy
def test_included_networks_come_first_and_avoided_ones_never(strategy):
    include, settings = subnets(3, seed=2, limits=LIMITS), short(strategy)
    plain = ofa.search(SPACE, Bumpy(), limits=LIMITS, strategy=strategy, include=include, **settings)
    avoid = [plain.best, *(point["subnet"] for point in plain.front if point["subnet"] not in include), *subnets(5)]
    predictor = Bumpy()
    result = ofa.search(
        SPACE, predictor, limits=LIMITS, strategy=strategy, include=[*include, include[0]], avoid=avoid, **settings
    )
    asked = {SPACE.decode(code) for code in codes_of(predictor)}
    assert [SPACE.decode(code) for code in predictor.asked[0][:3]] == include
    assert not asked & set(avoid) and result.best not in avoid
    assert all(point["subnet"] not in avoid for point in result.front)


@every_strategy
def test_one_choice_is_tried_in_all_its_options(strategy):
    space = CategoricalSpace([5])
    objectives = [Sum()]
    result = ofa.search(space, Bumpy(space), limits={}, objectives=objectives, strategy=strategy, population=2)
    assert result.evaluated >= 4  # draws may miss one


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"random", "nsga2", "compound", "halving"}))
def test_finds_better_networks_than_random_draws_of_the_same_number(strategy):
    """Without an order ``compound`` has nothing to scale, and ``halving`` needs cheap scores."""
    space, seeds = CategoricalSpace([4] * 5), range(2 if strategy in FITTED else 10)

    def mean_best(strategy):
        settings = {"strategy": strategy, "population": 10, "generations": 5, "pool": 200, "parents": 0.1}
        return np.mean([ofa.search(space, Rough(), limits={}, seed=seed, **settings).accuracy for seed in seeds])

    assert mean_best(strategy) > mean_best("random")


class Rough:
    """An accuracy of single choices and of neighbouring ones together."""

    single = np.random.default_rng(1).normal(size=(5, 4))
    pairs = np.random.default_rng(2).normal(0, 0.5, size=(4, 4, 4))

    def predict(self, codes):
        singles = sum(self.single[gene, codes[:, gene]] for gene in range(5))
        return singles + sum(self.pairs[gene, codes[:, gene], codes[:, gene + 1]] for gene in range(4))


class Sum:
    name, unit = "sum", ""

    def predict(self, codes):
        return codes.sum(axis=1).astype(float)


def test_more_included_networks_than_a_population_are_all_evaluated():
    include = list(dict.fromkeys(subnets(25)))
    predictor = Bumpy()
    ofa.search(SPACE, predictor, limits={}, include=include, population=5, generations=0)
    assert [SPACE.decode(code) for code in predictor.asked[0]] == include


def test_a_good_included_network_is_a_parent():
    wanted = SPACE.sample(1, np.random.default_rng(5))[0]

    class ExportSpec(Bumpy):
        """There is one good network, and nothing around it says so."""

        def predict(self, codes):
            super().predict(codes)
            return (codes == wanted).all(axis=1).astype(float)

    def nearest(include):
        predictor = ExportSpec()
        ofa.search(SPACE, predictor, limits={}, include=include, population=20, generations=1, parents=0.01)
        return (predictor.asked[1] != wanted).sum(axis=1).min()

    assert nearest([SPACE.decode(wanted)]) == 1
    assert nearest([]) > 4


@every_strategy
def test_avoiding_all_but_one_of_the_feasible_networks_leaves_that_one(strategy):
    everything = ofa.search(ONE, Bumpy(ONE), limits={}, objectives=[ofa.CostTable.macs(ONE, num_classes=2)]).evaluated
    assert everything == ONE.size == 4
    networks = [ONE.decode(np.array([0, 0, kernel, expand], np.int8)) for kernel in (0, 1) for expand in (0, 1)]
    settings = {"objectives": [ofa.CostTable.macs(ONE, num_classes=2)], "strategy": strategy}
    for left in networks:
        avoid = [network for network in networks if network != left]
        result = ofa.search(ONE, Bumpy(ONE), limits={}, avoid=avoid, **settings)
        assert result.best == left and result.evaluated == 1
    with pytest.raises(InfeasibleLimit, match="avoid fewer"):
        ofa.search(ONE, Bumpy(ONE), limits={}, avoid=networks, **settings)


def test_when_the_cheapest_network_is_avoided_its_neighbours_are_found():
    costs = MACS.predict(np.stack([SPACE.encode(subnet) for subnet in mutate(SPACE.smallest)]))
    limits = {MACS: float(costs.min())}
    predictor = Bumpy()
    result = ofa.search(SPACE, predictor, limits=limits, avoid=[SPACE.smallest], generations=2)
    assert result.costs["macs"] == limits[MACS] and result.evaluated == (costs == costs.min()).sum()


def mutate(subnet):
    code = SPACE.encode(subnet)
    changed = []
    for gene in range(SPACE.num_genes):
        other = code.copy()
        other[gene] += 1
        if not np.array_equal(SPACE.canonical(other[None])[0], code):
            changed.append(SPACE.decode(other))
    return changed


class Flat:
    def predict(self, codes):
        return np.zeros(len(codes))


@every_strategy
def test_patience_ends_a_search_that_improves_nothing(strategy):
    # The smallest network comes first, and no other one is as good and as cheap.
    options = {"limits": {}, "objectives": [MACS], "strategy": strategy, "population": 10, "generations": 2000}
    assert len(ofa.search(SPACE, Flat(), patience=4, **options).history) == 5

    space = ofa.SearchSpace.from_dict(SPACE.to_dict() | {"stages": SPACE.to_dict()["stages"][:1]})
    macs, predictor = ofa.CostTable.macs(space, num_classes=10), Bumpy(space)
    result = ofa.search(space, predictor, patience=4, **options | {"objectives": [macs]})
    assert len(result.history) == len(predictor.asked) and 10 < result.evaluated < space.size
    improved, before = [], np.empty((0, 2))
    for codes in predictor.asked:
        new = np.column_stack([-Bumpy(space).predict(codes), macs.predict(codes)])
        if strategy == "nsga2":
            lost = (before[:, None] <= new).all(axis=2).any(axis=0)
        else:
            lost = new[:, 0] >= before[:, 0].min(initial=np.inf)
        improved.append(not lost.all())
        before = np.concatenate([before, new])
    rests = [not any(improved[i : i + 4]) for i in range(len(improved) - 3)]
    assert rests.index(True) == len(improved) - 4


def test_nsga2_goes_on_while_its_front_grows_though_the_best_stays():
    class Grows:
        def predict(self, codes):
            return codes.sum(axis=1).astype(float)

    options = {"limits": {}, "objectives": [MACS], "generations": 60, "patience": 3, "include": [SPACE.largest]}
    assert len(ofa.search(SPACE, Grows(), strategy="evolution", **options).history) == 4
    assert len(ofa.search(SPACE, Grows(), strategy="nsga2", **options).history) > 20


@every_strategy
def test_a_time_budget_ends_between_generations(strategy):
    class Slow(Bumpy):
        def predict(self, codes):
            time.sleep(0.05)
            return super().predict(codes)

    ofa.search(
        SPACE, Slow(), limits=LIMITS, strategy=strategy, population=2, generations=1
    )  # what it imports takes time
    started = time.monotonic()
    result = ofa.search(SPACE, Slow(), limits=LIMITS, strategy=strategy, population=10, generations=10_000, seconds=0.3)
    assert time.monotonic() - started < 5
    assert 1 < len(result.history) <= 7
    assert len(ofa.search(SPACE, Slow(), limits=LIMITS, strategy=strategy, seconds=1e-9).history) == 1


@every_strategy
def test_front_is_what_no_evaluated_network_beats(strategy):
    predictor = Bumpy()
    objectives = [PARAMS, MACS]
    result = ofa.search(
        SPACE, predictor, limits={MACS: LIMITS[MACS]}, objectives=objectives, strategy=strategy, **short(strategy)
    )
    asked = codes_of(predictor)
    values = np.column_stack([*(cost.predict(asked) for cost in objectives), -Bumpy().predict(asked)])
    found = np.array([[point["costs"]["params"], point["costs"]["macs"], -point["accuracy"]] for point in result.front])
    beaten = [((values <= row).all(axis=1) & (values < row).any(axis=1)).any() for row in values]
    assert {tuple(row) for row in found} == {tuple(row) for row, lost in zip(values, beaten, strict=True) if not lost}
    assert (np.diff(found[:, 0]) >= 0).all() and len(found) > 3
    assert result.costs.keys() == {"params", "macs"}
    for point in result.front:
        code = SPACE.encode(point["subnet"])[None]
        assert point["costs"] == {cost.name: cost.predict(code)[0] for cost in objectives}


def test_objectives_by_default():
    def named(**options):
        point = ofa.search(SPACE, Bumpy(), limits=LIMITS, **SHORT, **options)
        return [(one["costs"]["macs"], one["accuracy"]) for one in point.front]

    assert named() == named(objectives=[MACS]) != named(objectives=[PARAMS])
    assert named(strategy="nsga2") == named(strategy="nsga2", objectives=list(LIMITS))
    assert named(strategy="nsga2") != named(strategy="nsga2", objectives=[MACS])


def test_categorical_space():
    space = CategoricalSpace([3] * 8)
    codes = np.array(np.meshgrid(*[range(3)] * 8)).reshape(8, -1).T.astype(np.int8)

    class Ones:
        name, unit = "ones", ""

        def predict(self, codes):
            return (codes == 1).sum(axis=1).astype(float)

    class Twisted(Bumpy):
        def predict(self, codes):
            return super().predict((codes * 2) % 3)

    ones = Ones()
    scores = Twisted(space).predict(codes[ones.predict(codes) <= 2])
    for strategy in STRATEGIES:
        settings = {"generations": 2, "pool": 200} if strategy in FITTED else {}
        include = [(1, 1, 0, 0, 2, 2, 0, 0)]
        result = ofa.search(space, Twisted(space), limits={ones: 2}, strategy=strategy, include=include, **settings)
        assert result.best.count(1) <= 2
        assert result.accuracy >= np.quantile(scores, 0.95 if strategy in FITTED else 0.995)
    with pytest.raises(InfeasibleLimit, match=re.escape("network (0, 0")):
        ofa.search(space, Twisted(space), limits={Least(): 5})


class Least(Flat):
    name, unit = "flat", "ms"

    def predict(self, codes):
        return np.full(len(codes), 7.0)


OTHER = ofa.SearchSpace.preset("ofa_mbv3")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("strategy is 'best'; there are evolution, random, nsga2", {"strategy": "best"}),
        ("nsga2 trades accuracy against costs.*give limits or objectives", {"strategy": "nsga2"}),
        ("patience is 0; it must be from 1", {"patience": 0}),
        ("seconds is 0; it must be from", {"seconds": 0}),
        ("no strategy has the setting populations; there are population, ", {"populations": 5}),
        ("seconds is nan", {"seconds": float("nan")}),
        (r"include\[1\] is no network of this space: .*depths", {"include": [SPACE.smallest, OTHER.smallest]}),
        (r"avoid\[0\] is no network of this space", {"avoid": ["largest"]}),
        (r"include\[0\] is the same network as avoid\[1\]", {"include": subnets(2)[1:], "avoid": subnets(2)}),
        (
            rf"include\[0\] needs macs \S+, and the limit is macs 1.08934e.06 \(subnet {SPACE.largest.id}",
            {"include": [SPACE.largest], "limits": LIMITS},
        ),
        ("cost macs is of another search space", {"limits": {ofa.CostTable.macs(OTHER, num_classes=10): 1e9}}),
        ("cost params is of another", {"objectives": [ofa.CostTable.params(OTHER, num_classes=10)]}),
        (
            "two different costs are called macs",
            {"limits": LIMITS, "objectives": [ofa.CostTable.macs(SPACE, num_classes=10)]},
        ),
    ],
)
def test_what_contradicts_is_named(message, arguments):
    predictor = Bumpy()
    with pytest.raises(UserError, match=message):
        ofa.search(SPACE, predictor, **{"limits": {}, **arguments})
    assert not predictor.asked
