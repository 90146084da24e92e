"""Regret: how far the best network of a search lies below the best one that there is, query by query."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ofa.benchmarking.runs import Run

_RESAMPLES = 1000  # of the bootstrap
_LEVEL = 0.95


class Curve(NamedTuple):
    """One strategy over its seeds; every array is ``(queries,)``, in points of accuracy, for 1 query, 2 and so on.

    Attributes:
        mean, median: over seeds.
        low, high: of a 95 % interval of the mean, by bootstrap over seeds.
        found: the share of seeds that have found the best network.
        seconds: of a run, the median.
    """

    strategy: str
    seeds: int
    mean: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    found: np.ndarray
    seconds: float


def curves(runs: Sequence[Run], *, best: float | None, queries: int) -> list[Curve]:
    """A curve for each strategy, the lowest mean regret first; without ``best``, the best of all runs counts for it."""
    if best is None:
        best = max(run.best[-1][1] for run in runs)
    found = []
    for strategy in dict.fromkeys(run.strategy for run in runs):
        own = sorted((run for run in runs if run.strategy == strategy), key=lambda run: run.seed)
        regrets = best - np.stack([_best_so_far(run, queries) for run in own])
        # The same seeds are drawn for all queries, so that the band is of whole curves.
        draws = np.random.default_rng(0).integers(len(own), size=(_RESAMPLES, len(own)))
        low, high = np.quantile(regrets[draws].mean(axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2], axis=0)
        found.append(
            Curve(
                strategy,
                len(own),
                regrets.mean(axis=0),
                np.median(regrets, axis=0),
                low,
                high,
                (regrets <= 0).mean(axis=0),
                float(np.median([run.seconds for run in own])),
            )
        )
    return sorted(found, key=lambda curve: curve.mean[-1])


def marks(queries: int) -> list[int]:
    """The numbers of queries that tables show."""
    return [*(mark for mark in (25, 50, 100, 200, 500, 1000) if mark < queries), queries]


def as_csv(found: Sequence[Curve]) -> str:
    """Every curve at every query, a row each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["strategy", "queries", "mean_regret", "low", "high", "median_regret", "share_found", "seeds", "seconds"]
    )
    for curve in found:
        columns = (curve.mean, curve.low, curve.high, curve.median, curve.found)
        for query, values in enumerate(zip(*columns, strict=True), start=1):
            numbers = [f"{value:.6g}" for value in values]
            writer.writerow([curve.strategy, query, *numbers, curve.seeds, f"{curve.seconds:.4g}"])
    return text.getvalue()


def _best_so_far(run: Run, queries: int) -> np.ndarray:
    """The best accuracy ``(queries,)`` after each query; a search that ended keeps what it had."""
    values = np.empty(queries)
    for query, accuracy in run.best:
        values[query - 1 :] = accuracy
    return values
