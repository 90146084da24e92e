"""Zero-cost proxies as features of an accuracy predictor: a straight line of them, which the predictor corrects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata
from sklearn.linear_model import RidgeCV

from ofa.predictors.accuracy.kinds import KINDS
from ofa.predictors.metrics import networks_of
from ofa.supernet.genome import Genome

Arrays = dict[str, np.ndarray]

_PENALTIES = np.logspace(-2, 3, 11)


class ScoredNetworks(NamedTuple):
    """Canonical codes ``(m, genes)`` of networks, and their values ``(m,)`` by each proxy; NaN ranks last."""

    codes: np.ndarray
    values: Mapping[str, np.ndarray]


class ProxyLine:
    """Ridge regression on proxies, as Gaussian processes tell them from a code.

    A search asks for thousands of networks, whose proxies nobody has computed. So the line is fitted, too, to what the
    processes say, which have learnt the ranks of the proxies from more networks than have an accuracy: that is where
    the gain comes from. ``spread`` is the standard deviation of what the line leaves to be learnt.
    """

    def __init__(self, space: Genome, arrays: Arrays) -> None:
        self._arrays, self._weights, self._offset = arrays, arrays["weights"], float(arrays["offset"])
        self.spread = float(arrays["spread"])
        parts = [_part(arrays, number) for number in range(len(self._weights))]
        self._surrogates = [KINDS["gp"].load()(space, part) for part in parts]

    @classmethod
    def fit(
        cls, space: Genome, scored: ScoredNetworks, inputs: np.ndarray, targets: np.ndarray, seed: int
    ) -> ProxyLine:
        """Of what an accuracy predictor learns from: ``features`` ``(n, columns)`` and targets ``(n,)``.

        Raises ``ValueError`` when no proxy is given, or shapes disagree.
        """
        sizes = {name: np.shape(values) for name, values in scored.values.items()}
        if not sizes or set(sizes.values()) != {(len(scored.codes),)}:
            raise ValueError(f"{len(scored.codes)} scored networks need a value each by every proxy; got {sizes}")
        networks, arrays, columns = networks_of(scored.codes), {}, []
        for number, values in enumerate(scored.values.values()):
            surrogate = KINDS["gp"].load().fit(space, scored.codes, _ranks(values), networks, seed)
            arrays |= {f"proxy{number}/{name}": array for name, array in surrogate.arrays().items()}
            columns.append(surrogate.predict(inputs, return_std=False)[0])
        line = RidgeCV(_PENALTIES).fit(np.column_stack(columns), targets)
        rest = targets - line.predict(np.column_stack(columns))
        spread = float(rest.std()) or 1.0
        return cls(space, {**arrays, "weights": line.coef_, "offset": np.array(line.intercept_), "spread": spread})

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Targets ``(n,)`` by the line, of ``features`` ``(n, columns)``."""
        columns = [surrogate.predict(inputs, return_std=False)[0] for surrogate in self._surrogates]
        return np.column_stack(columns) @ self._weights + self._offset

    def arrays(self) -> Arrays:
        return {name: np.asarray(array) for name, array in self._arrays.items()}


def _ranks(values: np.ndarray) -> np.ndarray:
    """Standardised, as proxies are meant to rank, and some span fifty orders of magnitude."""
    ranks = rankdata(np.nan_to_num(np.asarray(values, float), nan=-np.inf))
    return (ranks - ranks.mean()) / (ranks.std() or 1.0)


def _part(arrays: Arrays, number: int) -> Arrays:
    prefix = f"proxy{number}/"
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
