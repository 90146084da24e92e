"""The correction from sums of parts to whole networks, on made-up times."""

import numpy as np
import pytest

from ofa.predictors.costs.latency.correction import cold_caches, corrected_table, correction, mixed
from ofa.predictors.costs.memory import flash
from ofa.predictors.costs.part_genes import end_genes, ends_alike, part_genes, parts_of
from ofa.predictors.costs.table import Table
from ofa.predictors.metrics import mape
from ofa.predictors.sampling import stratified_sample
from ofa.supernet.space import SearchSpace


def made_up(n, seed=0, groups=7):
    return np.random.default_rng(seed).uniform(0.2, 2.0, size=(n, groups))


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.8, 0.3), (1.5, -0.1)])
def test_a_straight_line_is_found_exactly(slope, intercept):
    groups = made_up(16)
    factors, found = correction(groups, slope * groups.sum(axis=1) + intercept)
    assert factors == pytest.approx(np.full(7, slope)) and found == pytest.approx(intercept)


def test_groups_that_differ_are_told_apart():
    groups, others = made_up(24), made_up(200, seed=1)
    truth = np.array([0.7, 1.6, 1.0, 1.0, 0.9, 1.3, 1.0])
    factors, intercept = correction(groups, groups @ truth + 0.5)
    wanted = others @ truth + 0.5
    line = np.polyfit(groups.sum(axis=1), groups @ truth + 0.5, 1)
    ours, plain = (
        mape(found, wanted) for found in (others @ factors + intercept, np.polyval(line, others.sum(axis=1)))
    )
    assert ours < 0.4 * plain


def test_without_spread_it_is_a_factor():
    for groups, measured, factor in (([[2.0], [2.0]], [3.0, 3.0], 1.5), ([[2.0]], [1.0], 0.5)):
        factors, intercept = correction(np.array(groups), np.array(measured))
        assert factors == pytest.approx([factor]) and intercept == pytest.approx(0, abs=1e-9)


def test_noise_makes_no_negative_factors():
    for seed in range(20):
        groups = made_up(5, seed=seed)
        measured = np.random.default_rng(seed + 100).uniform(1, 5, size=5)
        factors, intercept = correction(groups, measured)
        assert (factors >= 0).all() and intercept >= -measured.min() / 2 - 1e-9


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_cold_and_warm_are_told_apart(share):
    cold, warm, weights = made_up(12), made_up(12, seed=1), made_up(12, seed=2, groups=1)[:, 0]
    measured = 1.1 * (share * cold + (1 - share) * warm).sum(axis=1)
    assert cold_caches(cold, warm, weights, measured) == (share, 0.0)


def networks(n, seed):
    """Times of parts of ``n`` networks whose weights are 2 to 48 MB: cold, warm ``(n, groups)``, bytes ``(n,)``."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(2e6, 48e6, n)
    warm = rng.uniform(0.1, 0.4, (n, 4)) * rng.choice([1, 2], n)[:, None]  # of two resolutions
    return warm + weights[:, None] * rng.uniform(2e-9, 4e-9, (n, 4)), warm, weights


@pytest.mark.parametrize("kept", [14e6, 25e6])
def test_networks_that_outgrow_the_caches_are_told_from_those_that_do_not(kept):
    """Small networks run warm, and the larger one is, the more of its weights it reads anew."""
    cold, warm, weights = networks(56, 0)
    measured = 0.02 + 1.05 * mixed(cold, warm, weights, fraction=0.8, kept=kept).sum(axis=1)
    fit, test = slice(16), slice(16, None)

    def error(fraction, found):
        groups = mixed(cold, warm, weights, fraction=fraction, kept=found)
        factors, intercept = correction(groups[fit], measured[fit])
        return mape(groups[test] @ factors + intercept, measured[test])

    fraction, found = cold_caches(cold[fit], warm[fit], weights[fit], measured[fit])
    assert 0.5 * kept < found < 2 * kept and fraction > 0
    plain = min(error(one, 0.0) for one in (0.0, 0.25, 0.5, 0.75, 1.0))
    assert error(fraction, found) < 0.02 and error(fraction, found) < 0.5 * plain


def test_one_fraction_stays_where_all_networks_run_alike():
    """With noise of two percent, caches of some size explain a few networks better, but seldom much better."""
    kept = []
    for seed in range(5):
        cold, warm, weights = networks(16, seed)
        noise = np.random.default_rng(seed).normal(1, 0.02, 16)
        kept.append(cold_caches(cold, warm, weights, noise * (0.5 * cold + 0.5 * warm).sum(axis=1))[1])
    assert kept.count(0.0) >= 4, kept


def test_few_networks_say_nothing_of_caches():
    cold, warm, weights = networks(7, 0)
    measured = mixed(cold, warm, weights, fraction=1.0, kept=20e6).sum(axis=1)
    assert cold_caches(cold, warm, weights, measured)[1] == 0.0
    assert cold_caches(cold[:2], warm[:2], weights[:2], measured[:2]) == (0.5, 0.0)


def test_mixed_is_between_cold_and_warm():
    cold, warm = np.full((3, 2), 5.0), np.full((3, 2), 1.0)
    weights = np.array([10.0, 40.0, 160.0])
    assert mixed(cold, warm, weights, fraction=1.0, kept=40.0)[:, 0].tolist() == [1.0, 1.0, 4.0]
    assert mixed(cold, warm, weights, fraction=0.5, kept=40.0)[:, 0].tolist() == [1.0, 1.0, 2.5]
    assert mixed(cold, warm, weights, fraction=0.5, kept=0.0)[:, 0].tolist() == [3.0, 3.0, 3.0]


def test_a_table_of_networks_that_outgrow_the_caches():
    """Made-up parts of a real space, networks timed by the rule itself: the table finds those it has not seen."""
    space, rng = SearchSpace.preset("tiny_mbv3"), np.random.default_rng(3)
    weights = flash(space, num_classes=10)
    shapes = [tuple(space.num_options[list(row.genes)]) for row in (*end_genes(space), *part_genes(space)[1:])]
    warm = [rng.uniform(0.05, 0.1, shape) for shape in shapes]
    ends = [np.zeros(shapes[0]), np.zeros(shapes[1])]
    cold = [
        one + more for one, more in zip(warm, [*ends, *(1e-5 * part.costs for part in weights.parts[1:])], strict=True)
    ]
    plain = [
        Table(space, "latency", "ms", parts_of(space, sum(ends_alike(space, *costs[:2])), costs[2:]))
        for costs in (cold, warm)
    ]
    codes = stratified_sample(space, 90, weights, rng)
    slow, fast = (table.predict(codes) for table in plain)
    size = weights.predict(codes)
    kept = float(np.median(size))
    measured = fast + np.maximum(0, 1 - kept / size) * (slow - fast)
    chosen = rng.permutation(90)
    fit, test = chosen[:24], chosen[24:]
    table = corrected_table(space, cold, warm, weights, codes[fit], measured[fit])
    assert 0.5 * kept < table.info["kept_bytes"] == table.caches.kept < 1.5 * kept
    assert mape(table.predict(codes[test]), measured[test]) < 0.02
