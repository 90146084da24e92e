"""What each strategy does that no other does."""

from itertools import pairwise

import numpy as np
import pytest
import torch

import ofa
from ofa.strategies import annealing
from ofa.strategies.bayesian import expected_improvement_batch
from ofa.strategies.controllers import Factorised, Recurrent
from ofa.strategies.table import STRATEGIES
from ofa.strategies.variation import change_one, neighbours
from ofa.supernet.categorical import CategoricalSpace

SPACE = ofa.SearchSpace.preset("tiny_mbv3")
MACS = ofa.CostTable.macs(SPACE, num_classes=10)
FLAT = CategoricalSpace([3, 1, 2, 4])


class Asked:
    """An accuracy of its own for every code; keeps the codes, a list entry a call."""

    def __init__(self, space=SPACE):
        self.asked, self.weights = [], np.random.default_rng(3).normal(1, 1, space.num_genes)

    def predict(self, codes):
        self.asked.append(codes)
        return np.sin((codes * self.weights).sum(axis=1))


def searched(strategy, space=SPACE, **settings):
    predictor = Asked(space)
    result = ofa.search(space, predictor, limits={}, strategy=strategy, **settings)
    return result, predictor.asked


def differing(space, code, other):
    """The genes that two networks choose differently where both choose."""
    both = space.active_genes(code[None])[0] & space.active_genes(other[None])[0]
    return np.flatnonzero((code != other) & both)


@pytest.mark.parametrize("space", [SPACE, FLAT], ids=["elastic", "flat"])
def test_a_change_is_one_gene_and_neighbours_are_all_changes(space):
    codes = space.sample(200, np.random.default_rng(0))
    changed = change_one(space, codes, np.random.default_rng(1))
    assert all(len(differing(space, one, other)) == 1 for one, other in zip(codes, changed, strict=True))
    assert np.array_equal(changed, space.canonical(changed))
    around = neighbours(space, codes[0], np.random.default_rng(2))
    others = around[(around != codes[0]).any(axis=1)]
    active = space.active_genes(codes[:1])[0]
    assert len(np.unique(others, axis=0)) == (space.num_options[active] - 1).sum()
    assert all(len(differing(space, codes[0], other)) == 1 for other in others)


def test_regularized_evolution_breeds_from_the_youngest_alone():
    _, asked = searched("regularized_evolution", population=5, generations=6, alive=5)
    for before, after in pairwise(asked):
        assert all(min(len(differing(SPACE, parent, child)) for parent in before) == 1 for child in after)


def test_one_shot_evaluates_a_whole_new_population_each_generation():
    _, asked = searched("one_shot", population=12, generations=4)
    assert [len(codes) for codes in asked] == [12] * 5


def test_local_search_ends_a_climb_on_a_summit_and_climbs_again():
    space = CategoricalSpace([4] * 5)
    result, asked = searched("local_search", space, population=8, generations=40)
    around = neighbours(space, np.array(result.best, np.int8), np.random.default_rng(0))
    assert Asked(space).predict(around).max() <= result.accuracy
    assert len(asked) == 41 and max(len(codes) for codes in asked) == 8


def test_annealing_goes_up_always_and_down_by_chance_and_temperature():
    current, values = np.zeros((1, 3), np.int8), np.array([1.0])
    steps = np.eye(3, dtype=np.int8)

    def walked(scores, temperature):
        rng = np.random.default_rng(0)
        return annealing._walked(current, values, steps, np.array(scores), temperature, rng)[1][0]

    assert walked([2.0, 0.5, 1.5], 0.0) == 2.0
    assert walked([0.9, 0.8, 0.7], 0.0) == 1.0
    assert walked([0.9, 0.8, 0.7], 1e9) == 0.7
    two = annealing._walked(
        np.array([[0, 0, 0], [3, 3, 3]]), np.zeros(2), np.array([[3, 3, 2]]), np.ones(1), 0.0, np.random
    )
    assert two[0].tolist() == [[0, 0, 0], [3, 3, 2]] and two[1].tolist() == [0, 1]


def test_progressive_opens_one_part_at_a_time():
    space = CategoricalSpace([3] * 4)
    _, asked = searched("progressive", space, population=6, generations=4, beam=2)
    base = asked[0][Asked(space).predict(asked[0]).argmax()]
    assert len(asked) == 5
    for opened, codes in enumerate(asked[1:], 1):
        assert (codes[:, opened:] == base[opened:]).all()


def test_a_batch_of_expected_improvement_spreads_over_what_is_not_known():
    mean, best = np.array([0.0, 0.0, -0.1, -9.0]), 0.5
    covariance = np.diag([1.0, 1.0, 1.0, 1.0])
    covariance[0, 1] = covariance[1, 0] = 0.999  # the second says what the first does
    assert expected_improvement_batch(mean, covariance, 1e-6, best, 2).tolist() == [0, 2]
    assert expected_improvement_batch(mean, covariance, 1e-6, best, 9)[:2].tolist() == [0, 2]
    # A batch is what conditioning on the predicted score of each choice gives.
    left = covariance - np.outer(covariance[0], covariance[0]) / (1 + 1e-6)
    assert expected_improvement_batch(mean[1:], left[1:, 1:], 1e-6, best, 1).tolist() == [1]


@pytest.mark.parametrize("units", [None, 8])
def test_reinforce_learns_what_pays_and_leaves_global_draws_alone(units):
    class First:
        def predict(self, codes):
            return (codes[:, 0] == 2) + 1e-3 * codes.sum(axis=1)

    torch.manual_seed(5)
    settings = {"controller_units": units, "controller_lr": 0.05 if units else 0.3}
    space, predictor = CategoricalSpace([3] * 7), Asked(CategoricalSpace([3] * 7))
    predictor.predict = lambda codes: predictor.asked.append(codes) or First().predict(codes)
    ofa.search(space, predictor, limits={}, strategy="reinforce", population=10, generations=15, **settings)
    assert (np.concatenate(predictor.asked[-4:])[:, 0] == 2).mean() > 0.6
    before = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(before, torch.rand(3))


@pytest.mark.parametrize("units", [None, 6])
def test_controllers_know_the_probabilities_of_what_they_draw(units):
    generator = torch.Generator().manual_seed(0)
    controller = Recurrent([2, 3], units, generator) if units else Factorised([2, 3])
    with torch.no_grad():
        for parameter in controller.parameters():
            parameter.normal_(0, 1, generator=generator)
        drawn = controller.sample(4000, 1.0, generator)
        everything = torch.tensor([[one, other] for one in range(2) for other in range(3)])
        logs = controller.log_probabilities(everything).gather(2, everything[:, :, None]).sum(dim=(1, 2))
    assert logs.exp().sum() == pytest.approx(1, abs=1e-5)
    shares = np.array([(drawn == code).all(dim=1).float().mean() for code in everything])
    assert np.abs(shares - logs.exp().numpy()).max() < 0.03


def test_a_negative_exponent_rewards_cheaper_networks():
    limits = {MACS: float(MACS.predict(SPACE.encode(SPACE.largest)[None])[0])}

    class Alike:
        def predict(self, codes):
            self.last = codes
            return np.ones(len(codes))

    def late_costs(exponent):
        predictor = Alike()
        settings = {"population": 30, "generations": 8, "cost_exponent": exponent}
        ofa.search(SPACE, predictor, limits=limits, strategy="reinforce", **settings)
        return MACS.predict(predictor.last).mean()

    assert late_costs(-1.0) < 0.9 * late_costs(0.0)


def test_compound_scales_all_genes_of_a_role_alike_up_to_the_limit():
    limit = float(np.median(MACS.predict(SPACE.sample(500, np.random.default_rng(0)))))
    predictor = Asked()
    ofa.search(SPACE, predictor, limits={MACS: limit}, strategy="compound", population=10, generations=2)
    codes = np.concatenate(predictor.asked)
    active = SPACE.active_genes(codes)
    for role in {gene.role for gene in SPACE.genes}:
        columns = SPACE.genes_of(role)
        counts = SPACE.num_options[columns]
        if (counts == counts[0]).all():
            levels = np.where(active[:, columns], codes[:, columns], -1).max(axis=1)
            assert ((codes[:, columns] == levels[:, None]) | ~active[:, columns]).all()
    # One step more in every role breaks the limit.
    largest = SPACE.canonical(np.minimum(codes + 1, SPACE.num_options - 1).astype(np.int8))
    assert (MACS.predict(largest) > limit).mean() > 0.8


def test_halving_spends_whole_scores_on_what_cheap_ones_left():
    class Budgeted(Asked):
        """A cheap answer is as noisy as its budget is small."""

        def __init__(self):
            super().__init__(SPACE)
            self.cheap, self.rng = [], np.random.default_rng(0)

        def predict(self, codes, budget=1.0):
            if budget < 1:
                self.cheap.append((budget, codes))
                return np.sin((codes * self.weights).sum(axis=1)) + 0.01 / budget * self.rng.normal(size=len(codes))
            return super().predict(codes)

    settings = {"strategy": "halving", "population": 27, "generations": 3, "first_budget": 0.1, "halving_rate": 3}
    predictor = Budgeted()
    result = ofa.search(SPACE, predictor, limits={}, **settings)
    assert [(round(budget, 6), len(codes)) for budget, codes in predictor.cheap] == [(0.1, 27), (0.3, 9), (0.9, 3)] * 4
    assert [len(codes) for codes in predictor.asked] == [1] * 4 and result.evaluated == 4
    drawn = np.concatenate([codes for budget, codes in predictor.cheap if budget == 0.1])
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    assert result.accuracy >= np.quantile(Asked().predict(drawn), 0.9)

    predictor.predict = lambda codes, budget=1.0: np.full(len(codes), np.nan)
    with pytest.raises(ValueError, match="not a finite number"):
        ofa.search(SPACE, predictor, limits={}, **settings)


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_smallest_population_is_enough(strategy):
    result, _ = searched(strategy, CategoricalSpace([3] * 4), population=2, generations=3, objectives=[Sum()])
    assert result.evaluated >= 3


class Sum:
    name, unit = "sum", ""

    def predict(self, codes):
        return codes.sum(axis=1).astype(float)
