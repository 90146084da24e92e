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
        losses: the keys of ``LOSSES`` that it can be fitted by.
        compared: whether "auto" tries it.
    """

    help: str
    load: Callable[[], type[Any]]
    losses: tuple[str, ...] = ("squares",)
    compared: bool = True


def _gp() -> type[Any]:
    from ofa.predictors.accuracy.gp import GaussianProcess

    return GaussianProcess


def _mlp() -> type[Any]:
    from ofa.predictors.accuracy.mlp import MLPEnsemble

    return MLPEnsemble


def _graph() -> type[Any]:
    from ofa.predictors.accuracy.graph import GraphEnsemble

    return GraphEnsemble


def _trees() -> type[Any]:
    from ofa.predictors.accuracy.trees import GradientBoostingEnsemble

    return GradientBoostingEnsemble


# What a fit makes small, and a few words for the recipe's reference.
LOSSES: dict[str, str] = {"squares": "errors of the accuracy", "ranking": "pairs of subnets in the wrong order"}

# Of equal scores, "auto" takes the first.
KINDS: dict[str, PredictorKind] = {
    "gp": PredictorKind(help="Gaussian process", load=_gp),
    "mlp": PredictorKind(help="neural networks", load=_mlp, losses=tuple(LOSSES)),
    "trees": PredictorKind(help="boosted trees", load=_trees),
    # Several times as slow as ``mlp``, and on no table clearly better (benchmarks/results/predictors.md).
    "graph": PredictorKind(help="graph networks over the blocks", load=_graph, losses=tuple(LOSSES), compared=False),
}
AUTO = "auto"  # the kind of highest cross-validated Kendall tau


def loss_problem(kind: str, loss: str) -> str | None:
    """Why the kind cannot be fitted by the loss, with what can be; None when it can."""
    able = [name for name, known in KINDS.items() if loss in known.losses]
    if kind in (*able, AUTO):
        return None
    return f"kind {kind!r} has no loss {loss!r}; take kind {' or '.join(map(repr, able))}, or leave loss out"
