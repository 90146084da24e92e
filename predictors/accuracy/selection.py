"""Which kind of accuracy predictor suits some rows best."""

from __future__ import annotations

import numpy as np

from ofa.predictors.accuracy.features import inputs_of
from ofa.predictors.accuracy.kinds import KINDS
from ofa.predictors.metrics import folds_of, kendall_tau, networks_of
from ofa.supernet.genome import Genome

_FOLDS = 4
# Which kind is best changes slowly with more rows; the time to find out does not.
_ROWS = 500


def compare(
    space: Genome, codes: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares"
) -> dict[str, float]:
    """Kendall tau of each kind on rows of networks left out of its fit, in four folds of at most 500 rows.

    Kinds that ``auto`` compares and that know the ``loss``.

    The ensembles are smaller here than in a real fit, which costs each of them about as much tau.
    """
    rows = np.random.default_rng(seed).permutation(len(codes))[:_ROWS]
    codes, targets = codes[rows], targets[rows]
    networks = networks_of(codes)
    folds = folds_of(networks, _FOLDS, seed)
    scores: dict[str, float] = {}
    options = {} if loss == "squares" else {"loss": loss}
    for name, kind in KINDS.items():
        if not kind.compared or loss not in kind.losses:
            continue
        predicted = np.empty(len(targets))
        for fold in range(folds.max() + 1):
            out = folds == fold
            fitted = networks_of(codes[~out])
            model = kind.load().fit(space, codes[~out], targets[~out], fitted, seed, quick=True, **options)
            predicted[out], _ = model.predict(inputs_of(model, space, codes[out]), return_std=False)
        scores[name] = kendall_tau(predicted, targets)
    return scores
