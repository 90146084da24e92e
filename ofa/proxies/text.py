"""What ``ofa proxies`` prints: a line a proxy, why values are missing, and the networks that rank first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from scipy.stats import spearmanr

from ofa.predictors.metrics import kendall_tau
from ofa.predictors.proxies.aggregate import aggregate
from ofa.predictors.proxies.table import AGGREGATES, PROXIES
from ofa.proxies.scoring import Scored
from ofa.report.console import aligned, wrapped
from ofa.report.units import short
from ofa.supernet.space import SearchSpace

_BEST = 5
_FEWEST = 5  # networks with an accuracy, of which a rank correlation tells something


def lines(
    space: SearchSpace, codes: np.ndarray, scored: Scored, accuracy: np.ndarray, macs: np.ndarray
) -> Iterator[str]:
    """Lines of the table and below it. ``accuracy`` ``(n,)`` is NaN for subnets that were not measured."""
    values = dict(scored.values)
    for name, members in AGGREGATES.items():
        if len(codes) > 1 and all(member in values for member in members):
            values[name] = aggregate({member: values[member] for member in members})
    measured = np.isfinite(accuracy)
    compared = int(measured.sum()) >= _FEWEST
    against = f"with {measured.sum()} accuracies" if compared else "with accuracy"
    columns = ["proxy", f"Spearman\n{against}", "Kendall\ntau", "Spearman\nwith MACs", "NaN", "ms a\nsubnet", "what"]
    yield from aligned(columns, [_row(name, values[name], scored, accuracy, measured, macs) for name in values])
    if not compared:
        yield wrapped("No accuracies to compare with: `ofa collect` measures them.")
    for name, reason in scored.undefined.items():
        yield wrapped(f"{name} is left out: {reason}")
    for name, reasons in scored.reasons.items():
        for reason, count in Counter(reasons).items():
            yield wrapped(f"{name} is NaN for {count} subnets: {reason}")
    for name in AGGREGATES:
        if name in values:
            yield from _best(name, space, codes, values[name], accuracy, macs)


def _row(
    name: str, values: np.ndarray, scored: Scored, accuracy: np.ndarray, measured: np.ndarray, macs: np.ndarray
) -> list[str]:
    # A network without a value ranks last, as in an aggregate.
    ranked = np.nan_to_num(values, nan=-np.inf)
    correlation, tau = "-", "-"
    if measured.sum() >= _FEWEST:
        correlation = _spearman(ranked[measured], accuracy[measured])
        tau = f"{kendall_tau(_ranks(ranked[measured]), accuracy[measured]):.2f}"
    times = scored.milliseconds.get(name)
    what = PROXIES[name].help if name in PROXIES else f"ranks of {', '.join(AGGREGATES[name])}"
    missing = str(int(np.isnan(values).sum())) if name in PROXIES else ""
    return [name, correlation, tau, _spearman(ranked, macs), missing, f"{np.median(times):.0f}" if times else "-", what]


def _spearman(one: np.ndarray, other: np.ndarray) -> str:
    if np.unique(one).size < 2 or np.unique(other).size < 2:
        return "-"
    return f"{spearmanr(one, other).statistic:.2f}"


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.unique(values, return_inverse=True)[1].astype(float)


def _best(
    name: str, space: SearchSpace, codes: np.ndarray, ranks: np.ndarray, accuracy: np.ndarray, macs: np.ndarray
) -> Iterator[str]:
    yield f"First by {name}:"
    for row in np.argsort(-ranks, kind="stable")[:_BEST]:
        subnet = space.decode(codes[row])
        known = f", accuracy {accuracy[row]:.1%}" if np.isfinite(accuracy[row]) else ""
        yield f"  {subnet.id}  {short(macs[row])} MACs at {subnet.resolution} px{known}"
