"""Which whole networks are timed: those that a table is corrected with, and those that it is judged on."""

from __future__ import annotations

import numpy as np

from ofa.predictors.costs.table import Table
from ofa.predictors.sampling import fit_and_test, stratified_sample
from ofa.supernet.space import SearchSpace


def timed_networks(
    space: SearchSpace, macs: Table, weights: Table, *, fit: int, test: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct codes ``(fit, genes)`` to correct a table with, and ``(test, genes)`` to judge it on.

    Those of the test are spread over MACs. So is half of the fit; the other half is spread over the bytes of weights:
    whether a network runs from the caches depends on them, and networks spread over MACs are mostly of the largest
    resolution. A space with few networks is shared as by ``fit_and_test``.
    """
    fitted, tested = fit_and_test(space, macs, fit=fit, test=test, rng=rng)
    if len(fitted) < 2:
        return fitted, tested
    known = {code.tobytes() for code in (*fitted, *tested)}
    spread = stratified_sample(space, len(fitted) // 2, weights, rng)
    others = [code for code in spread if code.tobytes() not in known]
    return np.stack([*fitted[: len(fitted) - len(others)], *others]), tested
