"""Search against brute force on a space small enough to list, and its promises on a space that is not."""

from itertools import product

import numpy as np
import pytest

from ofa.errors import UserError
from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.strategies.limits import InfeasibleLimit, descend
from ofa.strategies.search import search
from ofa.supernet.space import SearchSpace

STAGE = {"stride": 2, "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3, 4]}
SMALL = SearchSpace.from_dict(
    {
        "resolutions": [16, 32],
        "stem": {"width": 8, "first_width": 8},
        "stages": [{"width": w, **STAGE} for w in (16, 24)],
    }
)
LARGE = SearchSpace.preset("ofa_mbv3")


def listed(space):
    rows = np.array(list(product(*map(range, space.num_options))), np.int8)
    return np.unique(space.canonical(rows), axis=0)


ALL = listed(SMALL)


class Linear:
    """A cost that adds up over the active genes, from made-up prices. ``twisted``: small options can be the dearer."""

    def __init__(self, space, name="latency", *, seed=0, twisted=False):
        self.name, self.unit, self.space = name, "ms", space
        rng = np.random.default_rng(seed)
        self.prices = [rng.uniform(1, 2, count) for count in space.num_options]
        if not twisted:
            self.prices = [np.sort(prices) for prices in self.prices]

    def predict(self, codes):
        live = self.space.active_genes(codes)
        columns = [prices[codes[:, gene]] for gene, prices in enumerate(self.prices)]
        return (np.stack(columns, axis=1) * live).sum(axis=1)


class Rugged:
    """An accuracy with interactions of neighbouring genes; keeps every code it is asked about."""

    def __init__(self, space, seed=0):
        self.gains = Linear(space, seed=seed)
        self.seed, self.asked = seed, []

    def predict(self, codes):
        self.asked.append(codes)
        weights = np.random.default_rng(self.seed).normal(0, 0.1, codes.shape[1] - 1)
        return 70 + self.gains.predict(codes) + (codes[:, 1:] * codes[:, :-1]) @ weights


@pytest.mark.parametrize("share", [1.0, 0.3, 0.02])
def test_finds_what_brute_force_finds(share):
    cost = Linear(SMALL, seed=1)
    limit = float(np.quantile(cost.predict(ALL), share))
    inside = ALL[cost.predict(ALL) <= limit]
    accuracy = Rugged(SMALL).predict(inside)
    results = [
        search(SMALL, Rugged(SMALL), limits={cost: limit}, seed=seed, population=40, generations=12)
        for seed in range(10)
    ]
    assert all(result.evaluated <= 40 + 12 * 30 < len(ALL) / 5 for result in results)
    regrets = np.array([accuracy.max() - result.accuracy for result in results])
    assert (regrets >= 0).all()
    assert (regrets < 1e-9).sum() >= 6
    assert regrets.max() < 0.05 * (accuracy.max() - accuracy.min())


@pytest.mark.parametrize("space", [SMALL, LARGE], ids=["small", "large"])
def test_no_limit_is_broken_and_no_network_is_asked_twice(space):
    latency, energy = Linear(space, seed=1), Linear(space, "energy", seed=2, twisted=True)
    sample = space.sample(4000, np.random.default_rng(0))
    limits = {cost: float(np.quantile(cost.predict(sample), 0.3)) for cost in (latency, energy)}
    predictor = Rugged(space)
    result = search(space, predictor, limits=limits, seed=4)
    asked = np.concatenate(predictor.asked)
    assert len(np.unique(asked, axis=0)) == len(asked) == result.evaluated
    assert np.array_equal(asked, space.canonical(asked))
    for cost, limit in limits.items():
        assert (cost.predict(asked) <= limit).all()
        assert result.costs[cost.name] == cost.predict(space.encode(result.best)[None])[0] <= limit
    scores = predictor.predict(asked)
    assert result.accuracy == scores.max() == predictor.predict(space.encode(result.best)[None])[0]
    _check_front(result, scores, latency.predict(asked))
    best = [row["accuracy"] for row in result.history]
    assert best == sorted(best) and best[-1] == result.accuracy
    assert result.history[-1]["evaluated"] == result.evaluated
    assert all(0 <= row["feasible"] <= 1 for row in result.history)


def _check_front(result, scores, costs):
    front = np.array([(row["costs"]["latency"], row["accuracy"]) for row in result.front])
    assert (np.diff(front, axis=0) > 0).all()
    for cost, score in zip(costs, scores, strict=True):
        assert ((front[:, 0] <= cost) & (front[:, 1] >= score)).any()
    assert result.front[-1]["accuracy"] == result.accuracy


def test_one_seed_one_result():
    cost = Linear(LARGE)
    limits = {cost: 60.0}
    runs = []
    for seed in (0, 0, 1):
        np.random.seed(len(runs))  # noqa: NPY002  (global state must not matter)
        predictor = Rugged(LARGE)
        runs.append((search(LARGE, predictor, limits=limits, seed=seed, generations=5), predictor.asked))
    assert runs[0][0] == runs[1][0]
    assert all(np.array_equal(*pair) for pair in zip(runs[0][1], runs[1][1], strict=True))
    assert not np.array_equal(runs[0][1][0], runs[2][1][0])


def test_limit_that_uniform_samples_never_meet():
    cost, predictor = Linear(LARGE, seed=3, twisted=True), Rugged(LARGE)
    cheapest, least = descend(LARGE, cost.predict, LARGE.sample(4, np.random.default_rng(0)))
    limit = 1.05 * least
    assert not (cost.predict(LARGE.sample(20000, np.random.default_rng(0))) <= limit).any()
    assert cost.predict(LARGE.encode(LARGE.smallest)[None])[0] > limit
    result = search(LARGE, predictor, limits={cost: limit}, seed=0)
    assert result.costs["latency"] <= limit
    assert len(predictor.asked[0]) > 50
    assert result.accuracy > predictor.predict(cheapest[None])[0] + 0.5


@pytest.mark.parametrize("seed", range(5))
def test_limit_that_one_network_meets_and_one_that_none_does(seed):
    cost = Linear(SMALL, seed=seed, twisted=True)
    costs = cost.predict(ALL)
    cheapest = SMALL.decode(ALL[costs.argmin()])
    assert search(SMALL, Rugged(SMALL), limits={cost: costs.min() + 1e-9}).best == cheapest
    with pytest.raises(InfeasibleLimit) as caught:
        search(SMALL, Rugged(SMALL), limits={Linear(SMALL, "macs"): 1e9, cost: 0.99 * costs.min()})
    for part in ("latency", f"{costs.min():.6g} ms", cheapest.id, cheapest.to_json()):
        assert part in str(caught.value)
    assert "macs" not in str(caught.value)
    assert isinstance(caught.value, UserError) and isinstance(caught.value, ValueError)


def test_limits_that_can_be_met_alone_but_not_together():
    latency, energy = Linear(SMALL), Linear(SMALL, "energy")
    # What is cheap in one is dear in the other, in the genes that are always there.
    for gene in (0, 1, 2):
        latency.prices[gene] = np.linspace(1, 9, SMALL.num_options[gene])
        energy.prices[gene] = latency.prices[gene][::-1]
    limits = {cost: 1.05 * cost.predict(ALL).min() for cost in (latency, energy)}
    together = np.all([cost.predict(ALL) <= limit for cost, limit in limits.items()], axis=0)
    assert not together.any()
    with pytest.raises(InfeasibleLimit, match=r"latency .* and energy .* alone.*together"):
        search(SMALL, Rugged(SMALL), limits=limits)
    # Just wide enough for one network: it is found.
    excess = np.max([cost.predict(ALL) / limit for cost, limit in limits.items()], axis=0)
    wider = {cost: limit * excess.min() * (1 + 1e-9) for cost, limit in limits.items()}
    assert search(SMALL, Rugged(SMALL), limits=wider).best == SMALL.decode(ALL[excess.argmin()])


def test_no_limits():
    result = search(SMALL, Rugged(SMALL), limits={})
    assert result.accuracy == Rugged(SMALL).predict(ALL).max()
    assert result.costs == {} and result.front == [{"subnet": result.best, "accuracy": result.accuracy, "costs": {}}]


def test_ends_when_the_space_is_exhausted():
    stage = {"width": 16, "depths": [1], "kernels": [3, 5], "expands": [2, 3]}
    space = SearchSpace.from_dict({"resolutions": [32], "stages": [stage]})
    result = search(space, Rugged(space), limits={}, population=10, generations=1000)
    assert result.evaluated == space.size == 4 and len(result.history) < 10
    assert result.accuracy == Rugged(space).predict(listed(space)).max()


def test_of_equally_accurate_networks_the_cheaper():
    class Constant:
        def predict(self, codes):
            return np.full(len(codes), 0.5)

    cost = Linear(SMALL, seed=2, twisted=True)
    result = search(SMALL, Constant(), limits={cost: 1e9})
    assert result.costs["latency"] == min(row["costs"]["latency"] for row in result.front)
    assert result.costs["latency"] <= np.quantile(cost.predict(ALL), 0.001)
    assert [row["subnet"] for row in result.front] == [result.best]


def test_beats_random_search_with_a_fitted_predictor():
    space = SearchSpace.preset("tiny_mbv3")
    codes = space.sample(100, np.random.default_rng(0))
    predictor = AccuracyPredictor(space).fit(codes, Rugged(space).predict(codes))
    cost = Linear(space, seed=1)
    limit = float(np.quantile(cost.predict(codes), 0.3))
    results = [search(space, predictor, limits={cost: limit}, seed=seed) for seed in range(3)]
    others = space.sample(20000, np.random.default_rng(1))
    others = others[cost.predict(others) <= limit]
    assert len(others) > 2 * max(result.evaluated for result in results)
    assert min(result.accuracy for result in results) > predictor.predict(others).max()


def test_cost_with_two_valleys():
    class Valleys(Linear):
        """Deep networks are the cheapest, but only when every stage is deep."""

        def predict(self, codes):
            return super().predict(codes) + 50 - 40 * (codes[:, 1:3] == 1).all(axis=1)

    cost = Valleys(SMALL)
    limit = cost.predict(ALL).min() + 1
    assert search(SMALL, Rugged(SMALL), limits={cost: limit}).costs["latency"] <= limit


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("limit latency is 0", {"limits": {Linear(SMALL): 0}}),
        ("limit latency is nan", {"limits": {Linear(SMALL): float("nan")}}),
        ("latency is given twice", {"limits": {Linear(SMALL): 50, Linear(SMALL): 60}}),
        ("population is 1", {"population": 1}),
        ("generations is -1", {"generations": -1}),
        ("parents is 1", {"parents": 1}),
        ("mutation is 1.5", {"mutation": 1.5}),
        ("crossover is nan", {"crossover": float("nan")}),
    ],
)
def test_arguments_out_of_range_are_named(message, arguments):
    with pytest.raises(UserError, match=message):
        search(SMALL, Rugged(SMALL), **{"limits": {}, **arguments})


def test_an_answer_that_is_not_finite_is_refused():
    class Broken(Rugged):
        def predict(self, codes):
            return np.where(codes[:, 0] == 1, np.nan, super().predict(codes))

    with pytest.raises(ValueError, match="not a finite number"):
        search(SMALL, Broken(SMALL), limits={})


def test_a_result_is_shown_in_a_line():
    cost = Linear(LARGE)
    options = {"objectives": [cost], "strategy": "nsga2", "population": 50, "generations": 4}
    result = search(LARGE, Rugged(LARGE), limits={cost: 60}, **options)
    shown = repr(result)
    assert len(result.front) > 3 and len(shown) < 250 and "\n" not in shown
    counts = f"front of {len(result.front)}, {result.evaluated} networks"
    for part in (result.best.id, f"{result.accuracy:.4g}", counts):
        assert part in shown
    assert f"latency {result.costs['latency']:.6g}" in shown
