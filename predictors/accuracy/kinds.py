"""The kinds of accuracy predictors: the one table of them. It imports none, so that a recipe is checked at once.

``docs/extending.md`` says what a new one needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class PredictorKind:
    """A kind of accuracy predictor.

    Attributes:
        help: a few words, for the recipe's reference.
        load: gives its class, which has ``fit`` and is made of stored arrays: see ``gp.GaussianProcess``.
    """

    help: str
    load: Callable[[], type[Any]]


def _gp() -> type[Any]:
    from ofa.predictors.accuracy.gp import GaussianProcess

    return GaussianProcess


def _mlp() -> type[Any]:
    from ofa.predictors.accuracy.mlp import MLPEnsemble

    return MLPEnsemble


def _trees() -> type[Any]:
    from ofa.predictors.accuracy.trees import GradientBoostingEnsemble

    return GradientBoostingEnsemble


# Of equal scores, "auto" takes the first.
KINDS: dict[str, PredictorKind] = {
    "gp": PredictorKind(help="Gaussian process", load=_gp),
    "mlp": PredictorKind(help="neural networks", load=_mlp),
    "trees": PredictorKind(help="boosted trees", load=_trees),
}
AUTO = "auto"  # the kind of highest cross-validated Kendall tau
