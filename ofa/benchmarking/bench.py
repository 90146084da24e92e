"""What strategies are tried on: the known accuracies of a table, or a predictor fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ofa.errors import UserError
from ofa.predictors.benchmarks.benchmark import Benchmark
from ofa.supernet.genome import Genome

# Where a random network is in the table less often than this, a search would meet next to none that is.
ENOUGH_KNOWN = 0.05
_MOST_ROWS = 1500  # of a predictor's fit, whose time grows with their cube
_HELD_OUT = 0.2  # of these rows, to say how good it is


@dataclass(frozen=True, eq=False)
class Bench:
    """A space whose every allowed network has an accuracy.

    Attributes:
        score: accuracy in percent ``(n,)`` of codes ``(n, genes)``.
        best: the highest accuracy that there is; None where nobody knows it.
        limits: of the search, so that it stays among networks with an accuracy.
        cost: what strategies trade for accuracy, where they trade; None where no cost is known of all networks.
        about: sentences on what the accuracies are.
    """

    space: Genome
    score: Callable[[np.ndarray], np.ndarray]
    best: float | None
    limits: Mapping[Any, float]
    cost: Any
    about: tuple[str, ...]


class Known:
    """As a cost: 1 for a network whose accuracy the table has, 2 for another one."""

    name, unit = "unknown", ""

    def __init__(self, score: Callable[[np.ndarray], np.ndarray]) -> None:
        self._score = score

    def predict(self, codes: np.ndarray) -> np.ndarray:
        return 1.0 + np.isnan(self._score(codes))


def bench_of(benchmark: Benchmark, dataset: str) -> Bench:
    """A table that has all networks, or many, answers itself; to one with few of them a predictor is fitted."""
    values = benchmark.accuracies[dataset]
    cost = _cost(benchmark)
    name = f"{benchmark.name}, {dataset}"
    if benchmark.share_known < ENOUGH_KNOWN:
        return _fitted(benchmark, dataset, cost, name)

    def score(codes: np.ndarray) -> np.ndarray:
        return benchmark.accuracy(codes, dataset)

    whole = benchmark.share_known == 1 and not np.isnan(values).any()
    about = f"{name}: {len(values):,} networks trained by its authors, the best of {np.nanmax(values):.2f} %."
    if not whole:
        about += f" About {benchmark.share_known:.0%} of random codes are among them; a search stays there."
    return Bench(benchmark.space, score, float(np.nanmax(values)), {} if whole else {Known(score): 1.0}, cost, (about,))


def _fitted(benchmark: Benchmark, dataset: str, cost: Any, name: str) -> Bench:
    """Raises ``UserError`` when there are too few rows to fit anything."""
    from ofa.predictors.accuracy.predictor import AccuracyPredictor
    from ofa.predictors.metrics import kendall_tau

    values = benchmark.accuracies[dataset]
    rows = np.flatnonzero(~np.isnan(values))
    if len(rows) < 100:
        raise UserError(f"{name}: the file has {len(rows)} networks of a far larger space; 100 are needed to fit them")
    rows = np.random.default_rng(0).permutation(rows)[:_MOST_ROWS]
    held_out, fitted = np.split(rows, [round(_HELD_OUT * len(rows))])
    codes = benchmark.codes
    judged = AccuracyPredictor(benchmark.space).fit(codes[fitted], values[fitted])
    tau = kendall_tau(judged.predict(codes[held_out]), values[held_out])
    about = (
        f"{name}: the file has {len(values):,} networks of a space of {benchmark.space.size:.3g}, so a search asks a "
        f"Gaussian process fitted to {len(rows):,} of them (Kendall tau {tau:.2f} on networks held out). Regret is "
        "against the best that any of these searches found: the true best is not known."
    )
    # Without a limit the largest network would be the answer.
    limits = {} if cost is None else {cost: float(np.median(cost.predict(codes)))}
    for limit in limits.values():
        about += f" Searches stay below {limit:.4g} {cost.name}, the median of the file's networks."
    score = AccuracyPredictor(benchmark.space).fit(codes[rows], values[rows]).predict
    return Bench(benchmark.space, score, None, limits, cost, (about,))


def _cost(benchmark: Benchmark) -> Any:
    """The first cost that all networks have."""
    from ofa.predictors.costs.cost_table import CostTable
    from ofa.supernet.space import SearchSpace

    if isinstance(benchmark.space, SearchSpace):
        return CostTable.macs(benchmark.space, num_classes=1000)
    of_all = benchmark.costs if benchmark.share_known == 1 else benchmark.counted
    return of_all.get("macs") or next(iter(of_all.values()), None)
