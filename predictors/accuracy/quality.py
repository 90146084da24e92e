"""How good a predictor is, told before anybody trusts it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ofa.predictors.accuracy.predictor import AccuracyPredictor
from ofa.predictors.accuracy.proxy_line import ScoredNetworks
from ofa.predictors.accuracy.targets import rows_measured
from ofa.predictors.metrics import kendall_tau, networks_of
from ofa.supernet.genome import Genome
from ofa.supernet.integers import ceil_div


def quality(
    space: Genome,
    codes: np.ndarray,
    accuracy: np.ndarray,
    *,
    signal: np.ndarray | None = None,
    kind: str = "gp",
    loss: str = "squares",
    model: Any = None,
    seed: int = 0,
    proxies: ScoredNetworks | None = None,
) -> dict[str, Any]:
    """How well ``kind`` predicts networks it has not seen: fitted on four fifths of the networks, judged on the others.

    Judged by accuracy, also where it learns from a ``signal`` (``AccuracyPredictor.fit``). The ``proxies`` may be of
    networks held out, too: they need no training.

    Floats: ``kendall_tau`` (0 where either side is constant), ``rmse`` and ``mae`` in the unit of accuracy,
    ``calibration`` (share of measurements within one predicted standard deviation; 0.68 is ideal), and ``rows_fitted``
    and ``rows_held_out``. ``held_out`` lists ``[predicted, standard deviation, measured]`` of each row held out. With
    ``kind="auto"`` also ``kind``, what was chosen without a look at the rows held out, and ``scores``, the
    cross-validated tau of each kind that was compared. Repeated rows of one network stay on one side. Raises
    ``ValueError`` below ten rows or three networks.
    """
    codes, accuracy = np.asarray(codes), np.asarray(accuracy, float)
    measured = rows_measured(accuracy, signal)
    codes, accuracy = codes[measured], accuracy[measured]
    signal = None if signal is None else np.asarray(signal, float)[measured]
    networks = networks_of(codes)
    count = len(set(networks))
    if len(codes) < 10 or count < 3:
        raise ValueError(
            f"{len(codes)} measured rows of {count} networks are too few to judge a predictor; measure at least 10"
        )
    held_out = np.isin(networks, np.random.default_rng(seed).permutation(count)[: ceil_div(count, 5)])
    predictor = AccuracyPredictor(space, kind=kind, loss=loss, model=model, seed=seed)
    known = {"signal": None if signal is None else signal[~held_out], "proxies": proxies}
    predictor.fit(codes[~held_out], accuracy[~held_out], **known)
    mean, std = predictor.predict(codes[held_out], return_std=True)
    errors = np.abs(mean - accuracy[held_out])
    figures: dict[str, Any] = {
        "kendall_tau": kendall_tau(mean, accuracy[held_out]),
        "rmse": float(np.sqrt(np.mean(errors**2))),
        "mae": float(errors.mean()),
        "calibration": float(np.mean(errors <= std)),
        "rows_fitted": float((~held_out).sum()),
        "rows_held_out": float(held_out.sum()),
        "held_out": np.column_stack([mean, std, accuracy[held_out]]).tolist(),
        "rows_dropped": float((~measured).sum()),
    }
    if kind == "auto" and model is None:
        figures |= {"kind": predictor.kind_, "scores": predictor.scores_}
    return figures
