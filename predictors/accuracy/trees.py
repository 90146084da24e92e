"""Gradient-boosted trees among the accuracy predictors: the best where options act by thresholds and interactions."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor

from ofa.predictors.accuracy.ensemble import Arrays, Ensemble

_DEPTH = 4
_INNER, _LEAVES = 2**_DEPTH - 1, 2**_DEPTH


class GradientBoostingEnsemble(Ensemble):
    """scikit-learn's gradient boosting, kept as complete binary trees: node ``i`` has the children 2i+1 and 2i+2.

    A member's arrays: ``column`` and ``threshold`` ``(trees, inner nodes)``, ``value`` ``(trees, leaves)``, ``base``.
    """

    @staticmethod
    def fit_member(inputs: np.ndarray, targets: np.ndarray, seed: int, loss: str = "squares") -> Arrays:
        # Splits can be equally good: rounding errors, which depend on the unit of accuracy, must not choose among them.
        model = GradientBoostingRegressor(
            n_estimators=150,
            learning_rate=0.1,
            max_depth=_DEPTH,
            subsample=0.7,
            max_features=0.3,
            min_samples_leaf=2,
            random_state=seed,
        ).fit(inputs, np.round(targets, 9))
        trees = [_complete(tree.tree_) for tree in model.estimators_[:, 0]]
        columns, thresholds, values = (np.stack(part) for part in zip(*trees, strict=True))
        base = float(model.init_.constant_.ravel()[0])
        return {
            "column": columns,
            "threshold": thresholds,
            "value": model.learning_rate * values,
            "base": np.array(base),
        }

    @staticmethod
    def predict_member(member: Arrays, inputs: np.ndarray) -> np.ndarray:
        columns, thresholds = member["column"].ravel(), member["threshold"].ravel()
        trees = len(member["column"])
        node = np.zeros((len(inputs), trees), np.int64)
        start, rows = _INNER * np.arange(trees), inputs.shape[1] * np.arange(len(inputs))[:, None]
        flat = inputs.ravel()
        for _ in range(_DEPTH):
            at = node + start
            right = flat.take(columns.take(at) + rows) > thresholds.take(at)
            node = 2 * node + 1 + right
        values = member["value"].ravel().take(node - _INNER + _LEAVES * np.arange(trees))
        return member["base"] + values.sum(axis=1)


def _complete(tree) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns, thresholds and leaves of a scikit-learn tree of at most ``_DEPTH``, early leaves repeated downwards."""
    columns, thresholds, values = np.zeros(_INNER, np.int64), np.full(_INNER, np.inf), np.empty(_LEAVES)
    places = [(0, 0)]
    for place, node in places:
        if place >= _INNER:
            values[place - _INNER] = tree.value[node, 0, 0]
            continue
        split = tree.children_left[node] >= 0
        if split:
            columns[place], thresholds[place] = tree.feature[node], tree.threshold[node]
        # A leaf above the last level sends everything left, to itself; its right side is never reached.
        places.append((2 * place + 1, tree.children_left[node] if split else node))
        places.append((2 * place + 2, tree.children_right[node] if split else node))
    return columns, thresholds, values
