"""What every search gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ofa.supernet.space import Subnet

TOP = 20  # networks that a result names at most


@dataclass(frozen=True)
class SearchResult:
    """The best network found, and all that were evaluated on the way; every number is predicted.

    Attributes:
        accuracy, costs: of ``best``; costs (those of limits and objectives) by the cost's name.
        front: the evaluated networks that no other beats in accuracy and the objectives' costs together, as
            ``{"subnet", "accuracy", "costs"}``, cheapest in the first objective first; without objectives
            the best alone.
        top: the evaluated networks of highest accuracy, best first, at most 20.
        history: per generation ``{"generation", "accuracy", "evaluated", "feasible"}``: the best accuracy and the
            number of networks so far, and the fraction of this generation's candidates that met the limits. Of
            ``"differentiable"`` per epoch: see ``ofa.strategies.differentiable``.
        evaluated: number of distinct networks.
    """

    best: Subnet
    front: list[dict[str, Any]]
    top: list[Subnet]
    history: list[dict[str, float]]
    accuracy: float
    costs: dict[str, float]
    evaluated: int

    def __repr__(self) -> str:
        """A line: a front may have hundreds of networks, and a notebook shows this."""
        costs = "".join(f", {name} {value:.6g}" for name, value in self.costs.items())
        best = str(self.best)
        if isinstance(self.best, Subnet):
            depths = "-".join(map(str, self.best.depths))
            best = f"{self.best.id} of {self.best.resolution} pixels, depths {depths}"
        return (
            f"<SearchResult: {best}, accuracy {self.accuracy:.4g}{costs} (predicted); "
            f"front of {len(self.front)}, {self.evaluated} networks evaluated in {len(self.history)} generations>"
        )
